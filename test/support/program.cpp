#include <support/program.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>

extern char** environ;

namespace rondo::test {

namespace {

constexpr int patience = 30'000;  // milliseconds

void check(bool done, const char* call) {
    if (!done) throw std::system_error(errno, std::generic_category(), call);
}

struct pair {
    detail::unique_fd ours;
    detail::unique_fd theirs;
};

// Not pipes: writing to a program that has ended is then no SIGPIPE.
pair make_pair() {
    std::array<int, 2> ends{};
    check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0, "socketpair");
    check(::fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0, "fcntl");
    return {detail::unique_fd(ends[0]), detail::unique_fd(ends[1])};
}

// Appends what can be read; closes at the end.
void drain(detail::unique_fd& from, std::string& to) {
    std::array<char, 65536> buffer;
    const ssize_t n = ::read(from.get(), buffer.data(), buffer.size());
    if (n > 0) {
        to.append(buffer.data(), static_cast<std::size_t>(n));
    } else if (n == 0 || errno == ECONNRESET) {
        from.reset();
    }
}

}  // namespace

program::program(const std::vector<std::string>& command) {
    pair in = make_pair();
    pair out = make_pair();
    pair err = make_pair();
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);

    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in.theirs.get(), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out.theirs.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, err.theirs.get(), STDERR_FILENO);
    errno = ::posix_spawnp(&process_, arguments[0], &actions, nullptr, arguments.data(), environ);
    const int failed = errno;
    ::posix_spawn_file_actions_destroy(&actions);
    errno = failed;
    check(failed == 0, arguments[0]);
    in_ = std::move(in.ours);
    out_ = std::move(out.ours);
    err_ = std::move(err.ours);
}

program::~program() {
    if (process_ < 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
}

void program::exchange() {
    if (input_ends_ && unwritten_.empty()) in_.reset();
    // poll(2) passes over descriptors below 0.
    std::array<pollfd, 3> streams{{{out_.get(), POLLIN, 0},
                                   {err_.get(), POLLIN, 0},
                                   {unwritten_.empty() ? -1 : in_.get(), POLLOUT, 0}}};
    if (::poll(streams.data(), streams.size(), patience) <= 0) too_long("says nothing");
    if (streams[0].revents != 0) drain(out_, outcome_.out);
    if (streams[1].revents != 0) drain(err_, outcome_.err);
    if (streams[2].revents != 0) {
        const ssize_t n =
            ::send(in_.get(), unwritten_.data(), unwritten_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            unwritten_.erase(0, static_cast<std::size_t>(n));
        } else if (errno != EAGAIN) {
            unwritten_.clear();  // nobody reads it any more
        }
    }
}

std::string program::read_line() {
    for (;;) {
        const std::size_t end = outcome_.out.find('\n', delivered_);
        if (end != std::string::npos) {
            std::string line = outcome_.out.substr(delivered_, end - delivered_);
            delivered_ = end + 1;
            return line;
        }
        if (!out_) throw std::runtime_error("the output has ended; errors: " + outcome_.err);
        exchange();
    }
}

bool program::wait_for_error(std::string_view text) {
    while (outcome_.err.find(text) == std::string::npos) {
        if (!err_) return false;
        exchange();
    }
    return true;
}

void program::signal(int number) { check(::kill(process_, number) == 0, "kill"); }

void program::stop() {
    signal(SIGSTOP);
    check(::waitpid(process_, nullptr, WUNTRACED) == process_, "waitpid");
}

outcome program::finish() {
    input_ends_ = true;
    while (out_ || err_) exchange();
    // By number: glibc 2.36 declares pidfd_open(2) for C alone.
    const detail::unique_fd end(static_cast<int>(::syscall(SYS_pidfd_open, process_, 0)));
    check(static_cast<bool>(end), "pidfd_open");
    pollfd ended{end.get(), POLLIN, 0};
    if (::poll(&ended, 1, patience) <= 0) too_long("does not end");
    int status = 0;
    check(::waitpid(process_, &status, 0) == process_, "waitpid");
    process_ = -1;
    if (WIFEXITED(status)) outcome_.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) outcome_.signal = WTERMSIG(status);
    return std::move(outcome_);
}

void program::too_long(const char* what) const {
    throw std::runtime_error(std::string("the program ") + what + "; output: " + outcome_.out +
                             "; errors: " + outcome_.err);
}

outcome run_program(const std::vector<std::string>& command, std::string_view input) {
    program running(command);
    running.write(input);
    return running.finish();
}

}  // namespace rondo::test
