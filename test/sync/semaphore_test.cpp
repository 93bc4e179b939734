#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/sync/semaphore.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <string>
#include <utility>

using namespace rondo;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr auto canceled = std::errc::operation_canceled;

task<> a_bound_on_what_runs() {
    semaphore limit(3);
    int running = 0;
    int most = 0;
    const auto worker = [&]() -> task<> {
        auto permit = co_await limit.hold();
        most = std::max(most, ++running);
        co_await some_turns(2);
        --running;
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        for (int i = 0; i != 20; ++i) group.spawn(worker);
        co_return;
    });
    CHECK(most == 3);
    CHECK(limit.available() == 3);
}

TEST_CASE("A semaphore bounds how many are inside", "[sync][semaphore]") {
    test::run(a_bound_on_what_runs);
}

task<> the_order_of_the_asking() {
    semaphore permits(0);
    std::string log;
    const auto taker = [&](char name, std::size_t count) -> task<> {
        co_await permits.acquire(count);
        log += name;
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn(taker, 'a', 3u);
        group.spawn(taker, 'b', 1u);
        co_await some_turns();
        permits.release(2);
        co_await some_turns();
        // Enough for b, who does not overtake a; nor does anybody else.
        CHECK(log.empty());
        CHECK_FALSE(permits.try_acquire());
        permits.release();
        co_await some_turns();
        CHECK(log == "a");
        permits.release(4);
    });
    CHECK(log == "ab");
    CHECK(permits.available() == 3);
    CHECK(permits.try_acquire(3));
    CHECK_FALSE(permits.try_acquire());
}

TEST_CASE("Who wants many permits is not overtaken by who wants few", "[sync][semaphore]") {
    test::run(the_order_of_the_asking);
}

task<> cancelled_makes_way() {
    semaphore permits(1);
    cancel_scope scope;
    int cut_short = 0;
    int came_next = 0;
    const auto greedy = [&]() -> task<> {
        const auto taken = co_await as_result(permits.acquire(2));
        CHECK(taken.error() == canceled);
        const std::error_code again = co_await thrown_by(permits.hold());
        CHECK(again == canceled);
        ++cut_short;
    };
    const auto modest = [&]() -> task<> {
        auto one = co_await permits.hold();
        ++came_next;
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        CHECK(came_next == 0);
        scope.cancel();
    };
    co_await when_all(scope.run(greedy()), modest(), canceller());
    CHECK(cut_short == 1);
    CHECK(came_next == 1);
    CHECK(permits.available() == 1);
}

TEST_CASE("A cancelled acquire takes no permit and makes way for those behind it",
          "[sync][semaphore][cancellation]") {
    test::run(cancelled_makes_way);
}

task<> given_before_cancelled() {
    semaphore permits(0);
    cancel_scope scope;
    bool got_it = false;
    const auto waiter = [&]() -> task<> {
        auto one = co_await permits.hold();
        got_it = static_cast<bool>(one);
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        permits.release();
        scope.cancel();
        CHECK(permits.available() == 0);
    };
    co_await when_all(scope.run(waiter()), canceller());
    CHECK(got_it);
    CHECK(permits.available() == 1);
}

TEST_CASE("Permits given before the cancellation are held, and given back in the end",
          "[sync][semaphore][cancellation]") {
    test::run(given_before_cancelled);
}

task<> permits_move() {
    semaphore permits(5);
    auto three = co_await permits.hold(3);
    CHECK(three.count() == 3);
    auto moved = std::move(three);
    CHECK_FALSE(three);
    CHECK(permits.available() == 2);
    moved.release();
    moved.release();
    CHECK(permits.available() == 5);
    moved = co_await permits.hold(1);
    moved = semaphore_permits();
    CHECK(permits.available() == 5);
}

TEST_CASE("Permits move and are given back once", "[sync][semaphore]") {
    test::run(permits_move);
}

}  // namespace
