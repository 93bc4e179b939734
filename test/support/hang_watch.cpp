// A listener of the suite: a test case that hangs is named, and ends the suite soon.
#include <catch2/catch_test_case_info.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <system_error>

namespace rondo::test {

namespace {

// Seconds: far above the longest case (some 10 s under ThreadSanitizer), far below what ctest gives
// a suite. RONDO_TEST_PATIENCE sets another.
constexpr time_t usual_patience = 150;

// What the handler needs: it may call only what signal-safety(7) lists.
std::string message;

constexpr const char* show_threads =
    "for t in /proc/$PPID/task/*; do"
    " echo \"  thread $(cat $t/comm) waits in $(cat $t/wchan), system call $(cat $t/syscall)\";"
    " for c in $(cat $t/children); do [ $c = $$ ] ||"
    "  echo \"    its child $(tr '\\0' ' ' < /proc/$c/cmdline)waits in $(cat /proc/$c/wchan)\";"
    " done; done >&2";

void hung(int) {
    std::size_t written = 0;
    while (written < message.size()) {
        const ssize_t n = ::write(STDERR_FILENO, &message[written], message.size() - written);
        if (n <= 0) break;
        written += static_cast<std::size_t>(n);
    }
    const pid_t shell = ::fork();
    if (shell == 0) {
        ::execl("/bin/sh", "sh", "-c", show_threads, static_cast<char*>(nullptr));
        ::_exit(127);
    }
    ::waitpid(shell, nullptr, 0);
    // The runner's own handler tells the last assertion that was reached.
    ::raise(SIGABRT);
}

// By a timer of the kernel, not by a thread: tests fork and enter namespaces, which takes a process
// of one thread. A child inherits no such timer.
class hang_watch final : public Catch::EventListenerBase {
public:
    using Catch::EventListenerBase::EventListenerBase;

    void testCaseStarting(const Catch::TestCaseInfo& about) override {
        if (patience_ == 0) make_timer();
        set_timer(0);
        message = "\nhung: \"" + about.name + "\" has not ended for " + std::to_string(patience_) +
                  " s\n";
        set_timer(patience_);
    }

    void testCaseEnded(const Catch::TestCaseStats&) override { set_timer(0); }

private:
    static void check(bool done, const char* call) {
        if (!done) throw std::system_error(errno, std::generic_category(), call);
    }

    void make_timer() {
        struct sigaction action {};
        action.sa_handler = hung;
        check(::sigaction(SIGALRM, &action, nullptr) == 0, "sigaction");
        sigevent event{};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = SIGALRM;
        check(::timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0, "timer_create");
        const char* other = std::getenv("RONDO_TEST_PATIENCE");
        patience_ = other != nullptr ? std::stol(other) : usual_patience;
    }

    void set_timer(time_t seconds) const {
        itimerspec at{};
        at.it_value.tv_sec = seconds;
        check(::timer_settime(timer_, 0, &at, nullptr) == 0, "timer_settime");
    }

    timer_t timer_{};
    time_t patience_ = 0;  // until there is a timer
};
CATCH_REGISTER_LISTENER(hang_watch)

}  // namespace

}  // namespace rondo::test
