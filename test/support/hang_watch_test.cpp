#include <support/child_process.hpp>
#include <support/harness.hpp>

#include <rondo/task/sleep.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>

using Catch::Matchers::ContainsSubstring;
using namespace rondo;
using namespace std::chrono_literals;

TEST_CASE("child: hangs", "[.child]") {
    CHECK(true);
    test::run([]() -> task<> { co_await sleep_for(1h); });
}

TEST_CASE("A test that hangs is named with its threads and ends the suite", "[hang_watch]") {
    test::child_process suite([]() -> int {
        ::setenv("RONDO_TEST_PATIENCE", "1", 1);
        // The runner's handler, which is not ours, allocates, and the program is at its end.
        ::setenv("TSAN_OPTIONS", "report_signal_unsafe=0", 1);
        ::dup2(STDERR_FILENO, STDOUT_FILENO);
        ::execl("/proc/self/exe", "rondo_tests", "child: hangs", static_cast<char*>(nullptr));
        return 99;
    });
    const int code = suite.wait();
    CHECK(code != 0);
    CHECK(code != 99);
    CHECK_THAT(suite.error_text(),
               ContainsSubstring("hung: \"child: hangs\" has not ended for 1 s\n  thread ") &&
                   ContainsSubstring("SIGABRT"));
}
