// A part of a test in a process of its own: for what ends a process, and for signals.
#pragma once

#include <rondo/detail/unique_fd.hpp>

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>

namespace rondo::test {

/// Forks at construction; the child runs `program` and ends with what it returns.
class child_process {
public:
    explicit child_process(const std::function<int()>& program);
    child_process(const child_process&) = delete;
    child_process& operator=(const child_process&) = delete;
    /// Ends the child if it still runs.
    ~child_process();

    pid_t id() const noexcept { return id_; }
    void signal(int number) const noexcept;

    /// Waits for a line on the child's standard output; returns it without its end, or what has
    /// come when the output ends.
    std::string read_line();

    /// Reads standard error until it holds `text`; false where it ends without.
    bool wait_for_error(std::string_view text);

    /// Waits for the end. Returns the exit code, or minus the signal that ended the child.
    int wait();

    /// What the child wrote to standard error; after wait().
    const std::string& error_text() const noexcept { return error_text_; }

private:
    bool read_errors();

    pid_t id_ = -1;
    detail::unique_fd output_;
    detail::unique_fd errors_;
    std::string error_text_;
};

/// Runs `program` in a child and waits for it.
struct child_result {
    int code;  ///< as child_process::wait()
    std::string error_text;
};
child_result in_child(const std::function<int()>& program);

/// To be called in a child: writes a line to standard output at once.
void say(const std::string& line);

}  // namespace rondo::test
