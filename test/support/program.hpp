// Runs another program as a user would, with its three streams in the test's hands.
#pragma once

#include <rondo/detail/unique_fd.hpp>

#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace rondo::test {

/// How a program ended and all it wrote.
struct outcome {
    int exit_code = -1;  ///< -1 where a signal ended it
    int signal = 0;      ///< 0 where it exited by itself
    std::string out;
    std::string err;
};

/// A child process. Everything waits 30 s at most and then throws, with what was written so far.
class program {
public:
    /// `command` is looked up in PATH; its first word is argv[0].
    explicit program(const std::vector<std::string>& command);
    program(const program&) = delete;
    program& operator=(const program&) = delete;
    /// Kills it if it still runs.
    ~program();

    /// Becomes its standard input while the other members wait.
    void write(std::string_view input) { unwritten_ += input; }
    /// The next line of its standard output, without the end.
    std::string read_line();
    /// Waits until its errors hold `text`; false where they end without.
    bool wait_for_error(std::string_view text);
    void signal(int number);
    pid_t id() const { return process_; }
    /// Stops it; it has stopped on return. Signals wait for SIGCONT then.
    void stop();
    /// Ends its standard input behind what was written, and waits for its end.
    outcome finish();

private:
    void exchange();
    [[noreturn]] void too_long(const char* what) const;

    pid_t process_ = -1;
    detail::unique_fd in_;
    detail::unique_fd out_;
    detail::unique_fd err_;
    bool input_ends_ = false;
    std::string unwritten_;
    std::size_t delivered_ = 0;  // bytes of the output that read_line() has returned
    outcome outcome_;
};

/// Runs `command` to its end with `input` as its standard input.
outcome run_program(const std::vector<std::string>& command, std::string_view input = {});

}  // namespace rondo::test
