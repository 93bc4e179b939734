#include <support/child_process.hpp>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

namespace rondo::test {

namespace {

struct pipe_ends {
    detail::unique_fd read;
    detail::unique_fd write;
};

pipe_ends make_pipe() {
    int ends[2];
    if (::pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    return {detail::unique_fd(ends[0]), detail::unique_fd(ends[1])};
}

[[noreturn]] void become(const std::function<int()>& program, int output, int errors) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // An abort is what some tests want; it needs no core.
    const rlimit none = {0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    // The runner's handlers would report the child's end as the test's.
    for (const int number : {SIGABRT, SIGTERM, SIGINT, SIGSEGV}) ::signal(number, SIG_DFL);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(errors, STDERR_FILENO);
    int code = 99;
    try {
        code = program();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "the child's program has thrown: %s\n", failure.what());
    }
    std::fflush(nullptr);
    ::_exit(code);
}

}  // namespace

child_process::child_process(const std::function<int()>& program) {
    pipe_ends output = make_pipe();
    pipe_ends errors = make_pipe();
    std::fflush(nullptr);  // or both processes write what is buffered
    id_ = ::fork();
    if (id_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (id_ == 0) become(program, output.write.get(), errors.write.get());
    output_ = std::move(output.read);
    errors_ = std::move(errors.read);
}

child_process::~child_process() {
    if (id_ <= 0) return;
    signal(SIGKILL);
    wait();
}

void child_process::signal(int number) const noexcept { ::kill(id_, number); }

std::string child_process::read_line() {
    std::string line;
    char c = 0;
    for (;;) {
        const ssize_t n = ::read(output_.get(), &c, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || c == '\n') return line;
        line += c;
    }
}

// Some more of it; false at its end.
bool child_process::read_errors() {
    char block[256];
    for (;;) {
        const ssize_t n = ::read(errors_.get(), block, sizeof block);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        error_text_.append(block, static_cast<std::size_t>(n));
        return true;
    }
}

bool child_process::wait_for_error(std::string_view text) {
    while (error_text_.find(text) == std::string::npos) {
        if (!read_errors()) return false;
    }
    return true;
}

int child_process::wait() {
    while (read_errors()) {
    }
    int status = 0;
    while (::waitpid(id_, &status, 0) < 0 && errno == EINTR) {
    }
    id_ = -1;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

child_result in_child(const std::function<int()>& program) {
    child_process child(program);
    const int code = child.wait();
    return {code, child.error_text()};
}

void say(const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
}

}  // namespace rondo::test
