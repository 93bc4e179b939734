#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/sync/event.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <catch2/catch_test_macros.hpp>

#include <string>

using namespace rondo;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr auto canceled = std::errc::operation_canceled;

task<> all_who_wait_go_on() {
    event ready;
    std::string log;
    const auto waiter = [&](char name) -> task<> {
        co_await ready.wait();
        log += name;
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        for (const char name : {'a', 'b', 'c'}) group.spawn(waiter, name);
        co_await some_turns();
        CHECK(log.empty());
        ready.set();
        // Who waited was promised to go on; who comes later was not.
        ready.reset();
        group.spawn(waiter, 'd');
        co_await some_turns();
        CHECK(log == "abc");
        ready.set();
    });
    CHECK(log == "abcd");
}

TEST_CASE("event.set() lets all go on that wait, in their order, also if it is reset at once",
          "[sync][event]") {
    test::run(all_who_wait_go_on);
}

task<> a_set_event_is_not_waited_for() {
    event ready(true);
    CHECK(ready.is_set());
    bool other_ran = false;
    const auto other = [&]() -> task<> {
        other_ran = true;
        co_return;
    };
    const auto waiter = [&]() -> task<> {
        co_await ready.wait();
        CHECK_FALSE(other_ran);
        // Many in a row still let others run.
        for (int i = 0; i != 100; ++i) co_await ready.wait();
        CHECK(other_ran);
    };
    co_await when_all(waiter(), other());
}

TEST_CASE("Waiting for an event that is set goes on at once, but starves nobody",
          "[sync][event]") {
    test::run(a_set_event_is_not_waited_for);
}

task<> cancelled_waits() {
    event ready;
    cancel_scope scope;
    int cut = 0;
    const auto waiter = [&]() -> task<> {
        const auto first = co_await as_result(ready.wait());
        CHECK(first.error() == canceled);
        ready.set();
        // Level-triggered: also where there is nothing to wait for.
        const std::error_code second = co_await thrown_by(ready.wait());
        CHECK(second == canceled);
        ++cut;
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        scope.cancel();
        CHECK(cut == 0);
    };
    co_await when_all(scope.run(waiter()), canceller());
    CHECK(cut == 1);
    ready.reset();
}

TEST_CASE("A cancelled wait for an event leaves by way of the ready queue",
          "[sync][event][cancellation]") {
    test::run(cancelled_waits);
}

task<> set_before_cancelled() {
    event ready;
    cancel_scope scope;
    bool went_on = false;
    const auto waiter = [&]() -> task<> {
        co_await ready.wait();
        went_on = true;
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        ready.set();
        scope.cancel();
    };
    co_await when_all(scope.run(waiter()), canceller());
    CHECK(went_on);
}

TEST_CASE("An event that was set before the cancellation was waited for successfully",
          "[sync][event][cancellation]") {
    test::run(set_before_cancelled);
}

}  // namespace
