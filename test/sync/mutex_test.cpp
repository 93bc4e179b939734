#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/sync/mutex.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <string>
#include <utility>

using namespace rondo;
using namespace std::chrono_literals;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr auto canceled = std::errc::operation_canceled;

task<> one_at_a_time() {
    rondo::mutex door;
    std::string log;
    const auto visitor = [&](char name) -> task<> {
        for (int i = 0; i != 2; ++i) {
            auto inside = co_await door.lock();
            log += name;
            co_await some_turns(3);
            log += name;
        }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        for (const char name : {'a', 'b', 'c'}) group.spawn(visitor, name);
        co_return;
    });
    // Who comes back queues behind those who wait.
    CHECK(log == "aabbccaabbcc");
    CHECK_FALSE(door.is_locked());
}

TEST_CASE("A mutex lets one in at a time, in the order of the asking", "[sync][mutex]") {
    test::run(one_at_a_time);
}

task<> guards_move_and_unlock_early() {
    rondo::mutex door;
    auto first = co_await door.lock();
    auto second = std::move(first);
    CHECK_FALSE(first);
    CHECK(second);
    auto refused = door.try_lock();
    CHECK_FALSE(refused);
    second.unlock();
    CHECK_FALSE(second);
    auto third = door.try_lock();
    CHECK(third);
    third = mutex_guard();
    CHECK_FALSE(door.is_locked());
}

TEST_CASE("A mutex guard moves, unlocks early, and try_lock tells whether it holds",
          "[sync][mutex]") {
    test::run(guards_move_and_unlock_early);
}

task<> cancelled_lock_holds_nothing() {
    rondo::mutex door;
    cancel_scope scope;
    int cut_short = 0;
    int came_next = 0;
    auto held = co_await door.lock();
    const auto cut = [&]() -> task<> {
        const std::error_code e = co_await thrown_by(door.lock());
        CHECK(e == canceled);
        held.unlock();
        // Free now, and still refused in a cancelled scope.
        const auto again = co_await as_result(door.lock());
        CHECK(again.error() == canceled);
        ++cut_short;
    };
    const auto next = [&]() -> task<> {
        auto mine = co_await door.lock();
        ++came_next;
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        scope.cancel();
    };
    co_await when_all(scope.run(cut()), next(), canceller());
    CHECK(cut_short == 1);
    CHECK(came_next == 1);
    CHECK_FALSE(door.is_locked());
}

TEST_CASE("A cancelled lock holds nothing, and those behind it get their turn",
          "[sync][mutex][cancellation]") {
    test::run(cancelled_lock_holds_nothing);
}

task<> handed_over_before_cancelled() {
    rondo::mutex door;
    cancel_scope scope;
    bool got_it = false;
    auto held = co_await door.lock();
    const auto waiter = [&]() -> task<> {
        auto mine = co_await door.lock();
        got_it = static_cast<bool>(mine);
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        held.unlock();
        scope.cancel();
        CHECK(door.is_locked());
    };
    co_await when_all(scope.run(waiter()), canceller());
    CHECK(got_it);
    CHECK_FALSE(door.is_locked());
}

TEST_CASE("A mutex that was handed over before the cancellation is held, and unlocked in the end",
          "[sync][mutex][cancellation]") {
    test::run(handed_over_before_cancelled);
}

task<> lock_as_a_value() {
    rondo::mutex door;
    {
        auto locked = co_await as_result(door.lock());
        REQUIRE(locked);
        CHECK(*locked);
        const std::error_code late = co_await thrown_by(with_timeout(1ms, door.lock()));
        CHECK(late == std::errc::timed_out);
    }
    CHECK_FALSE(door.is_locked());
}

TEST_CASE("lock() works as a value and within a deadline", "[sync][mutex]") {
    test::run(lock_as_a_value);
}

}  // namespace
