#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>
#include <support/thrown_by.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>

using namespace rondo;
using namespace std::chrono_literals;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr auto canceled = std::errc::operation_canceled;
constexpr auto timed_out = std::errc::timed_out;

task<std::unique_ptr<int>> owned_after(int turns) {
    co_await some_turns(turns);
    co_return std::make_unique<int>(3);
}
task<> fail() {
    throw std::runtime_error("failed by itself");
    co_return;
}

task<> in_time() {
    scheduler& loop = co_await this_scheduler();
    const std::unique_ptr<int> three = co_await with_timeout(1h, owned_after(3));
    CHECK(*three == 3);
    co_await with_deadline(rondo::clock::now() + 1h, yield());
    bool failed = false;
    try {
        co_await with_timeout(1h, fail());
    } catch (const std::runtime_error&) {
        failed = true;
    }
    CHECK(failed);
    CHECK(loop.stats().timers == 0);
}

TEST_CASE("What ends in time passes a deadline, as value or exception, and leaves no timer",
          "[with_timeout]") {
    test::run(in_time);
}

task<> too_late() {
    const auto begin = rondo::clock::now();
    std::error_code e = co_await thrown_by(with_timeout(2ms, sleep_for(1h)));
    CHECK(e == timed_out);
    CHECK(rondo::clock::now() - begin >= 2ms);
    e = co_await thrown_by(with_deadline(begin, sleep_for(1h)));
    CHECK(e == timed_out);
    e = co_await thrown_by(with_timeout(-1h, sleep_for(1h)));
    CHECK(e == timed_out);
}

TEST_CASE("A deadline that passes gives timed_out, one in the past too", "[with_timeout]") {
    test::run(too_late);
}

// Notes what a wait of its own kind ends with.
task<> wait_and_note(std::error_code& inside) {
    inside = co_await thrown_by(sleep_for(1h));
    if (inside) detail::throw_canceled();
}

task<> nested_deadlines() {
    std::error_code inside;
    std::error_code at_inner;
    auto with_inner = [&](std::chrono::milliseconds patience) -> task<> {
        at_inner = co_await thrown_by(with_timeout(patience, wait_and_note(inside)));
        co_await yield();
    };
    // The inner one passes: what is around it goes on.
    std::error_code at_outer = co_await thrown_by(with_timeout(1h, with_inner(1ms)));
    CHECK(inside == canceled);
    CHECK(at_inner == timed_out);
    CHECK(at_outer == std::error_code());
    // The outer one passes: to the inner one it is a cancellation from around.
    at_outer = co_await thrown_by(with_timeout(1ms, with_inner(1h)));
    CHECK(inside == canceled);
    CHECK(at_inner == canceled);
    CHECK(at_outer == timed_out);
    // Both in the same turn: the outermost that passed reports.
    at_outer = co_await thrown_by(with_timeout(0ms, with_inner(0ms)));
    CHECK(at_inner == canceled);
    CHECK(at_outer == timed_out);
}

TEST_CASE("Of nested deadlines the right one reports", "[with_timeout][cancellation]") {
    test::run(nested_deadlines);
}

task<> cancelled_from_around() {
    cancel_scope scope;
    auto canceller = [&]() -> task<> {
        co_await some_turns(2);
        scope.cancel();
    };
    auto inside = [&]() -> task<> {
        const auto e = co_await thrown_by(with_timeout(1h, sleep_for(1h)));
        CHECK(e == canceled);
    };
    co_await when_all(scope.run(inside()), canceller());
}

TEST_CASE("A cancellation from around a deadline stays operation_canceled",
          "[with_timeout][cancellation]") {
    test::run(cancelled_from_around);
}

task<> value_in_spite_of_it() {
    auto stubborn = []() -> task<int> {
        const std::error_code e = co_await thrown_by(sleep_for(1h));
        CHECK(e == canceled);
        co_return 9;
    };
    const int nine = co_await with_timeout(1ms, stubborn());
    CHECK(nine == 9);
}

TEST_CASE("A value that came in spite of the deadline is delivered",
          "[with_timeout][cancellation]") {
    test::run(value_in_spite_of_it);
}

task<> failure_during_the_cancellation() {
    auto failing = []() -> task<> {
        const std::error_code e = co_await thrown_by(sleep_for(1h));
        CHECK(e == canceled);
        throw std::runtime_error("the clean-up failed");
    };
    co_await with_timeout(1ms, failing());
}

TEST_CASE("Another failure after the deadline is not hidden by it", "[with_timeout]") {
    CHECK_THROWS_AS(test::run(failure_during_the_cancellation), std::runtime_error);
}

task<> shielded_work_ends_first() {
    bool ended = false;
    auto work = [&]() -> task<> {
        co_await some_turns(50);
        ended = true;
    };
    const std::error_code e = co_await thrown_by(with_timeout(0ms, shield(work())));
    CHECK(ended);
    CHECK(e == std::error_code());
}

TEST_CASE("A deadline waits for what is shielded from it", "[with_timeout]") {
    test::run(shielded_work_ends_first);
}

task<> forever_is_not_the_past() {
    std::error_code e = co_await thrown_by(with_timeout(std::chrono::nanoseconds::max(),
                                                        some_turns()));
    CHECK(e == std::error_code());
    e = co_await thrown_by(with_timeout(std::chrono::hours::max(), some_turns()));
    CHECK(e == std::error_code());
    e = co_await thrown_by(with_deadline(rondo::clock::time_point::max(), some_turns()));
    CHECK(e == std::error_code());
    // The real one still passes.
    e = co_await thrown_by(with_timeout(std::chrono::hours::max(),
                                        with_timeout(1ms, sleep_for(1h))));
    CHECK(e == timed_out);
}

TEST_CASE("A timeout longer than the clock can tell never passes", "[with_timeout]") {
    test::run(forever_is_not_the_past);
}

static_assert(std::is_base_of_v<std::system_error, operation_timed_out>);

task<> send_cut_short() {
    test::tcp_pair pair = co_await test::narrow_pair();
    const std::string data = test::pattern(16'000'000);
    std::error_code error;
    std::size_t transferred = 0;
    try {
        co_await with_timeout(20ms, pair.a.send(data));
    } catch (const operation_timed_out& cut) {
        error = cut.code();
        transferred = cut.transferred();
    }
    CHECK(error == timed_out);
    if (!test::faulty()) CHECK(transferred > 0);
    pair.a.shutdown(shutdown_mode::send);
    const std::string got = co_await test::read_to_end(pair.b);
    CHECK(got.size() == transferred);
    CHECK((got == data.substr(0, transferred)));
}

TEST_CASE("A send that its deadline cuts short tells how much the peer will read",
          "[with_timeout][tcp]") {
    test::run(send_cut_short);
}

}  // namespace
