#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/sync/broadcast.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <catch2/catch_test_macros.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

using namespace rondo;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr auto canceled = std::errc::operation_canceled;

task<> everybody_gets_everything() {
    broadcast<std::string> news(8);
    std::string logs[3];
    const auto listener = [&](broadcast_receiver<std::string> receiver, int number) -> task<> {
        while (auto line = co_await receiver.recv()) {
            CHECK(line.missed() == 0);
            logs[number] += *line;
        }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        for (int i = 0; i != 3; ++i) group.spawn(listener, news.subscribe(), i);
        CHECK(news.receivers() == 3);
        for (const char* line : {"a", "b", "c"}) {
            CHECK(news.send(line) == 3);
            co_await some_turns();
        }
        news.send("d");
        news.send("e");
        news.close();
        CHECK(news.is_closed());
    });
    for (const std::string& log : logs) CHECK(log == "abcde");
    CHECK(news.receivers() == 0);
    std::string refused;
    try {
        news.send("f");
    } catch (const channel_closed& error) {
        refused = error.what();
    }
    CHECK_FALSE(refused.empty());
}

TEST_CASE("A broadcast gives every value to every receiver, then the end", "[sync][broadcast]") {
    test::run(everybody_gets_everything);
}

task<> slow_and_late() {
    broadcast<int> ticks(4);
    auto slow = ticks.subscribe();
    for (int i = 0; i != 10; ++i) ticks.send(i);
    auto late = ticks.subscribe();
    ticks.send(10);
    auto first = co_await slow.recv();
    REQUIRE(first);
    CHECK(*first == 7);
    CHECK(first.missed() == 7);
    auto second = co_await slow.recv();
    REQUIRE(second);
    CHECK(*second == 8);
    CHECK(second.missed() == 0);
    auto now = co_await late.recv();
    REQUIRE(now);
    CHECK(*now == 10);
    CHECK(now.missed() == 0);
    for (int i = 11; i != 20; ++i) ticks.send(i);
    std::vector<int> values{-1};
    const auto rest = co_await slow.receive_all(values);
    REQUIRE(rest);
    CHECK(rest.received() == 4);
    CHECK(rest.missed() == 7);  // 9 to 15
    CHECK(values == std::vector{16, 17, 18, 19});
    ticks.close();
    const auto end = co_await slow.receive_all(values);
    CHECK_FALSE(end);
    CHECK(values.empty());
    // What was sent before the end is still there for who has not seen it.
    auto left = co_await late.recv();
    REQUIRE(left);
    CHECK(*left == 16);
    CHECK(left.missed() == 5);
}

TEST_CASE("A slow receiver is told how many it missed, and a late one begins with what comes",
          "[sync][broadcast]") {
    test::run(slow_and_late);
}

task<> overwritten_before_it_runs() {
    broadcast<int> ticks(2);
    auto receiver = ticks.subscribe();
    const auto listener = [&]() -> task<> {
        auto tick = co_await receiver.recv();
        CHECK(*tick == 3);
        CHECK(tick.missed() == 3);
    };
    const auto sender = [&]() -> task<> {
        co_await some_turns();
        // The first wakes it, and is gone when it runs.
        for (int i = 0; i != 5; ++i) ticks.send(i);
    };
    co_await when_all(listener(), sender());
}

TEST_CASE("What is overwritten between wake-up and resumption counts as missed",
          "[sync][broadcast]") {
    test::run(overwritten_before_it_runs);
}

task<> cancelled_receivers() {
    broadcast<int> ticks(4);
    auto receiver = ticks.subscribe();
    cancel_scope scope;
    cancel_scope late;
    int cut = 0;
    const auto listener = [&]() -> task<> {
        const auto first = co_await as_result(receiver.recv());
        CHECK(first.error() == canceled);
        ticks.send(1);
        std::vector<int> values;
        const std::error_code second = co_await thrown_by(receiver.receive_all(values));
        CHECK(second == canceled);
        ++cut;
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        scope.cancel();
        CHECK(cut == 0);
    };
    co_await when_all(scope.run(listener()), canceller());
    CHECK(cut == 1);
    auto kept = co_await receiver.recv();
    REQUIRE(kept);
    CHECK(*kept == 1);
    // Woken before the cancellation: it gets what woke it.
    int got = 0;
    const auto winner = [&]() -> task<> {
        auto tick = co_await receiver.recv();
        got = *tick;
    };
    const auto sender = [&]() -> task<> {
        co_await some_turns();
        ticks.send(2);
        late.cancel();
    };
    co_await when_all(late.run(winner()), sender());
    CHECK(got == 2);
}

TEST_CASE("A cancelled receiver of a broadcast misses nothing",
          "[sync][broadcast][cancellation]") {
    test::run(cancelled_receivers);
}

task<> shared_values() {
    broadcast<std::shared_ptr<const std::string>> lines(2);
    const auto line = std::make_shared<const std::string>("one string for all");
    {
        auto a = lines.subscribe();
        auto b = lines.subscribe();
        lines.send(line);
        auto first = co_await a.recv();
        auto second = co_await b.recv();
        CHECK(first->get() == second->get());
    }
    // Kept for who falls behind, until it is overwritten.
    CHECK(line.use_count() == 2);
    lines.send(nullptr);
    lines.send(nullptr);
    CHECK(line.use_count() == 1);
}

TEST_CASE("A broadcast of pointers copies no text", "[sync][broadcast]") {
    test::run(shared_values);
}

task<> twice_at_once() {
    broadcast<int> ticks(1);
    auto receiver = ticks.subscribe();
    const auto listener = [&]() -> task<> {
        auto tick = co_await receiver.recv();
        if (tick) FAIL("nobody has sent anything");
    };
    co_await when_all(listener(), listener());
}

task<> destroyed_too_early() {
    std::optional<broadcast<int>> ticks(std::in_place, 1u);
    const auto receiver = ticks->subscribe();
    ticks.reset();
    co_return;
}

TEST_CASE("Two tasks at one receiver, and receivers without their broadcast, are misuse",
          "[sync][broadcast]") {
    const auto twice = test::in_child([] {
        test::run(twice_at_once);
        return 0;
    });
    CHECK(twice.error_text.find("two tasks wait for the same receiver") != std::string::npos);
    const auto early = test::in_child([] {
        test::run(destroyed_too_early);
        return 0;
    });
    CHECK(early.error_text.find("a broadcast is destroyed before its receivers") !=
          std::string::npos);
}

}  // namespace
