#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <string>
#include <vector>

using namespace rondo;
using namespace std::chrono_literals;

namespace {

task<> sleep_at_least() {
    auto before = rondo::clock::now();
    co_await sleep_for(3ms);
    CHECK(rondo::clock::now() - before >= 3ms);
    // Longer than what is left of this millisecond, and not a multiple of any unit.
    const auto deadline = rondo::clock::now() + 1'234'567ns;
    co_await sleep_until(deadline);
    CHECK(rondo::clock::now() >= deadline);
    before = rondo::clock::now();
    co_await sleep_for(std::chrono::duration<double>(0.0015));
    CHECK(rondo::clock::now() - before >= 1500us);
}

TEST_CASE("A sleep ends when its time has come, never before", "[sleep]") {
    test::run(sleep_at_least);
}

task<> sleep_with_past_deadline() {
    bool other_ran = false;
    auto other = [&]() -> task<> {
        other_ran = true;
        co_return;
    };
    auto sleeper = [&]() -> task<> {
        co_await sleep_until(rondo::clock::now() - 1h);
        CHECK(other_ran);
        other_ran = false;
        co_await sleep_for(-1h);
    };
    co_await when_all(sleeper(), other());
}

TEST_CASE("A deadline in the past completes by way of the loop", "[sleep]") {
    test::run(sleep_with_past_deadline);
}

task<> sleep_in_order(std::vector<int>& woken) {
    auto sleeper = [&](int rank) -> task<> {
        co_await sleep_for(rank * 1ms);
        woken.push_back(rank);
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        for (const int rank : {4, 1, 3, 5, 2}) group.spawn(sleeper, rank);
        co_return;
    });
}

TEST_CASE("Sleepers wake in the order of their deadlines", "[sleep]") {
    std::vector<int> woken;
    test::run([&] { return sleep_in_order(woken); });
    CHECK(woken == std::vector<int>{1, 2, 3, 4, 5});
}

task<> cancelled_sleep_disarms() {
    scheduler& loop = co_await this_scheduler();
    cancel_scope scope;
    auto canceller = [&]() -> task<> {
        co_await yield();
        CHECK(loop.stats().timers == 1);
        scope.cancel();
        CHECK(loop.stats().timers == 0);
    };
    const auto before = rondo::clock::now();
    const auto both = co_await when_all(as_result(scope.run(sleep_for(1h))), canceller());
    CHECK(std::get<0>(both).error() == std::errc::operation_canceled);
    CHECK(rondo::clock::now() - before < 1min);
}

TEST_CASE("A cancelled sleep ends at once and leaves no timer", "[sleep][cancellation]") {
    test::run(cancelled_sleep_disarms);
}

task<> take_turns(std::string& log) {
    auto writer = [&](char name) -> task<> {
        for (int i = 0; i != 3; ++i) {
            log += name;
            co_await yield();
        }
    };
    co_await when_all(writer('a'), writer('b'), writer('c'));
}

TEST_CASE("yield lets all run that are ready, in turn", "[yield]") {
    std::string log;
    test::run([&] { return take_turns(log); });
    CHECK(log == "abcabcabc");
}

task<> outcomes_as_values() {
    const auto slept = co_await as_result(sleep_for(0s));
    CHECK(slept.has_value());
    const auto yielded = co_await as_result(yield());
    CHECK(yielded.has_value());
}

TEST_CASE("sleep and yield that complete have no error", "[sleep][yield]") {
    test::run(outcomes_as_values);
}

template <typename Sleep>
task<> sleeps_until_cancelled(Sleep sleep) {
    scheduler& loop = co_await this_scheduler();
    cancel_scope scope;
    bool ended = false;
    auto sleeper = [&]() -> task<> {
        const auto slept = co_await as_result(scope.run(sleep()));
        CHECK(slept.error() == std::errc::operation_canceled);
        ended = true;
    };
    auto canceller = [&]() -> task<> {
        co_await test::some_turns();
        CHECK_FALSE(ended);
        scope.cancel();
    };
    co_await when_all(sleeper(), canceller());
    CHECK(loop.stats().timers == 0);
}

TEST_CASE("A sleep longer than the clock can tell lasts until it is cancelled",
          "[sleep][cancellation]") {
    test::run([]() -> task<> {
        co_await sleeps_until_cancelled([] { return sleep_for(std::chrono::hours::max()); });
        co_await sleeps_until_cancelled([] { return sleep_for(std::chrono::nanoseconds::max()); });
        co_await sleeps_until_cancelled(
            [] { return sleep_until(rondo::clock::time_point::max()); });
    });
}

}  // namespace
