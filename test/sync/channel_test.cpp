// The rules of channels, held by both kinds: on one thread the one between threads has the same.
#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/sync/channel.hpp>
#include <rondo/sync/shared_channel.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/when_any.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace rondo;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr auto canceled = std::errc::operation_canceled;
constexpr auto closed = std::errc::broken_pipe;

using owned = std::unique_ptr<int>;

owned make(int number) { return std::make_unique<int>(number); }

// Both kinds in turn: `program` is a template over the channel.
template <typename Program>
void run_both(Program program) {
    test::run([&] { return program(std::type_identity<channel<owned>>()); });
    test::run([&] { return program(std::type_identity<shared_channel<owned>>()); });
}

// --- values arrive -----------------------------------------------------------------------------

template <typename Channel>
task<> values_in_order(std::size_t capacity) {
    Channel channel(capacity);
    const auto sender = [&]() -> task<> {
        for (int i = 0; i != 200; ++i) co_await channel.send(make(i));
        channel.close();
    };
    const auto receiver = [&]() -> task<> {
        int expected = 0;
        while (auto value = co_await channel.recv()) {
            CHECK(**value == expected);
            ++expected;
        }
        CHECK(expected == 200);
        const auto after_the_end = co_await channel.recv();
        CHECK_FALSE(after_the_end);
    };
    co_await when_all(sender(), receiver());
    CHECK(channel.is_closed());
    CHECK(channel.size() == 0);
}

TEST_CASE("Values arrive once and in order, whatever the capacity", "[sync][channel]") {
    for (const std::size_t capacity : {0u, 1u, 2u, 7u, 1000u}) {
        run_both([&]<typename C>(std::type_identity<C>) { return values_in_order<C>(capacity); });
    }
}

template <typename Channel>
task<> a_full_channel_waits() {
    Channel channel(2);
    int sent = 0;
    const auto sender = [&]() -> task<> {
        for (int i = 0; i != 4; ++i) {
            co_await channel.send(make(i));
            ++sent;
        }
    };
    const auto receiver = [&]() -> task<> {
        co_await some_turns();
        CHECK(sent == 2);
        CHECK(channel.size() == 2);
        const auto first = co_await channel.recv();
        CHECK(**first == 0);
        co_await some_turns();
        CHECK(sent == 3);
        CHECK(channel.size() == 2);
        for (int i = 1; i != 4; ++i) {
            const auto value = co_await channel.recv();
            CHECK(**value == i);
        }
    };
    co_await when_all(sender(), receiver());
    CHECK(sent == 4);
}

TEST_CASE("A send waits while the channel is full", "[sync][channel]") {
    run_both([]<typename C>(std::type_identity<C>) { return a_full_channel_waits<C>(); });
}

template <typename Channel>
task<> rendezvous() {
    Channel channel(0);
    std::string log;
    const auto sender = [&]() -> task<> {
        log += "a";
        co_await channel.send(make(1));
        log += "c";
    };
    const auto receiver = [&]() -> task<> {
        co_await some_turns();
        log += "b";
        const auto value = co_await channel.recv();
        CHECK(**value == 1);
    };
    co_await when_all(sender(), receiver());
    CHECK(log == "abc");
    CHECK_FALSE(channel.try_send(make(2)));
    CHECK_FALSE(channel.try_recv());
}

TEST_CASE("With a capacity of 0 a send waits for its receiver", "[sync][channel]") {
    run_both([]<typename C>(std::type_identity<C>) { return rendezvous<C>(); });
}

template <typename Channel>
task<> fair_to_all() {
    Channel channel(1);
    std::vector<int> seen;
    std::vector<int> who;
    const auto sender = [&](int number) -> task<> {
        for (int i = 0; i != 3; ++i) co_await channel.send(make(number));
    };
    const auto receiver = [&](int number) -> task<> {
        while (auto value = co_await channel.recv()) {
            seen.push_back(**value);
            who.push_back(number);
        }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        for (int i = 0; i != 3; ++i) group.spawn(sender, i);
        co_await some_turns();
        co_await with_task_group([&](task_group& receivers) -> task<> {
            for (int i = 0; i != 3; ++i) receivers.spawn(receiver, i);
            const bool all = co_await test::eventually([&] { return seen.size() == 9; });
            CHECK(all);
            // All three wait now, the first to have come first.
            seen.clear();
            who.clear();
            for (int i = 0; i != 6; ++i) {
                co_await channel.send(make(i));
                co_await some_turns(3);
            }
            CHECK(seen == std::vector{0, 1, 2, 3, 4, 5});
            CHECK(std::vector(who.begin(), who.begin() + 3) ==
                  std::vector(who.begin() + 3, who.end()));
            CHECK((who[0] != who[1] && who[1] != who[2] && who[0] != who[2]));
            channel.close();
        });
    });
}

template <typename Channel>
task<> senders_take_turns() {
    Channel channel(1);
    std::vector<int> seen;
    const auto sender = [&](int number) -> task<> {
        for (int i = 0; i != 3; ++i) co_await channel.send(make(number));
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        for (int i = 0; i != 3; ++i) group.spawn(sender, i);
        co_await some_turns();
        for (int i = 0; i != 9; ++i) {
            const auto value = co_await channel.recv();
            seen.push_back(**value);
            co_await some_turns(3);
        }
    });
    // The first sender's second value waited before the others came.
    CHECK(seen == std::vector{0, 0, 1, 2, 0, 1, 2, 1, 2});
}

TEST_CASE("Senders and receivers that wait are served in their order", "[sync][channel]") {
    run_both([]<typename C>(std::type_identity<C>) { return fair_to_all<C>(); });
    run_both([]<typename C>(std::type_identity<C>) { return senders_take_turns<C>(); });
}

template <typename Channel>
task<> a_fast_pair_starves_nobody() {
    Channel channel(1000);
    bool over = false;
    int others = 0;
    const auto other = [&]() -> task<> {
        while (!over) {
            ++others;
            co_await yield();
        }
    };
    const auto fast = [&]() -> task<> {
        for (int i = 0; i != 1000; ++i) co_await channel.send(make(i));
        for (int i = 0; i != 1000; ++i) {
            const auto value = co_await channel.recv();
            if (!value) FAIL("the channel has ended");
        }
        over = true;
    };
    co_await when_all(fast(), other());
    CHECK(others > 2000 / 64);
}

TEST_CASE("Sends and receives that need not wait still let others run", "[sync][channel]") {
    run_both([]<typename C>(std::type_identity<C>) { return a_fast_pair_starves_nobody<C>(); });
}

template <typename Channel>
task<> without_waiting() {
    Channel channel(2);
    CHECK_FALSE(channel.try_recv());
    owned third = make(3);
    CHECK(channel.try_send(make(1)));
    CHECK(channel.try_send(make(2)));
    CHECK_FALSE(channel.try_send(std::move(third)));
    CHECK(*third == 3);
    const auto first = channel.try_recv();
    REQUIRE(first);
    CHECK(**first == 1);
    CHECK(channel.try_send(std::move(third)));
    CHECK_FALSE(third);
    channel.close();
    CHECK_FALSE(channel.try_send(make(4)));
    CHECK(channel.size() == 2);
    CHECK(channel.capacity() == 2);
    co_return;
}

TEST_CASE("try_send and try_recv do what needs no waiting, and leave a refused value alone",
          "[sync][channel]") {
    run_both([]<typename C>(std::type_identity<C>) { return without_waiting<C>(); });
}

task<> copies() {
    channel<std::string> channel(4);
    const std::string kept = "kept, and too long for the small string buffer";
    co_await channel.send(kept);
    co_await channel.send("converted on the way");
    CHECK(channel.try_send(kept));
    std::vector<std::string> values;
    const auto count = co_await channel.receive_all(values);
    CHECK(count == 3);
    CHECK(values == std::vector<std::string>{kept, "converted on the way", kept});
}

TEST_CASE("A value that the caller keeps is copied", "[sync][channel]") { test::run(copies); }

// --- all there is ------------------------------------------------------------------------------

template <typename Channel>
task<> everything_at_once() {
    Channel channel(3);
    std::vector<owned> values;
    std::vector<std::size_t> counts;
    const auto receiver = [&]() -> task<> {
        int expected = 0;
        while (auto count = co_await channel.receive_all(values)) {
            CHECK(count == values.size());
            counts.push_back(count);
            for (const owned& value : values) CHECK(*value == expected++);
        }
        CHECK(values.empty());
        CHECK(expected == 9);
    };
    const auto sender = [&](int number) -> task<> { co_await channel.send(make(number)); };
    const auto senders = [&]() -> task<> {
        co_await some_turns();
        // It waits: the first wakes it, and what comes before it runs goes along.
        CHECK(channel.try_send(make(0)));
        CHECK(channel.try_send(make(1)));
        CHECK(channel.try_send(make(2)));
        co_await some_turns();
        // The last three wait for room.
        co_await with_task_group([&](task_group& group) -> task<> {
            for (int i = 3; i != 9; ++i) group.spawn(sender, i);
            co_return;
        });
        co_await some_turns();
        channel.close();
    };
    co_await when_all(receiver(), senders());
    CHECK(counts == std::vector<std::size_t>{3, 6});
}

TEST_CASE("receive_all waits for one value and takes all there is", "[sync][channel]") {
    run_both([]<typename C>(std::type_identity<C>) { return everything_at_once<C>(); });
}

task<> no_new_memory() {
    channel<int> channel(8);
    std::vector<int> values;
    const int* place = nullptr;
    for (int round = 0; round != 20; ++round) {
        for (int i = 0; i != 8; ++i) co_await channel.send(i);
        const auto count = co_await channel.receive_all(values);
        CHECK(count == 8);
        if (round != 0) CHECK(values.data() == place);
        place = values.data();
    }
}

TEST_CASE("receive_all fills the same memory again and again", "[sync][channel]") {
    test::run(no_new_memory);
}

// --- the end -----------------------------------------------------------------------------------

template <typename Channel>
task<> closing() {
    Channel channel(1);
    const auto sender = [&]() -> task<> {
        co_await channel.send(make(1));
        owned second = make(2);
        std::string text;
        try {
            co_await channel.send(std::move(second));
        } catch (const channel_closed& error) {
            text = error.what();
            CHECK(error.code() == closed);
        }
        CHECK(text.find("the channel is closed") != std::string::npos);
        // It has not gone in.
        REQUIRE(second);
        CHECK(*second == 2);
        const auto again = co_await as_result(channel.send(std::move(second)));
        CHECK(again.error() == closed);
        REQUIRE(second);
    };
    const auto closer = [&]() -> task<> {
        co_await some_turns();
        channel.close();
        channel.close();
        const auto rest = co_await channel.recv();
        REQUIRE(rest);
        CHECK(**rest == 1);
        const auto end = co_await as_result(channel.recv());
        CHECK(end.has_value());
        std::vector<owned> values;
        const auto none = co_await channel.receive_all(values);
        CHECK(none == 0);
    };
    co_await when_all(sender(), closer());
}

TEST_CASE("After close() what is there is received, and sends fail with their value kept",
          "[sync][channel]") {
    run_both([]<typename C>(std::type_identity<C>) { return closing<C>(); });
}

template <typename Channel>
task<> closing_ends_receivers() {
    Channel channel(1);
    int ended = 0;
    const auto receiver = [&]() -> task<> {
        const auto value = co_await channel.recv();
        if (!value) ++ended;
    };
    const auto taker = [&]() -> task<> {
        std::vector<owned> values;
        const auto count = co_await channel.receive_all(values);
        if (count == 0) ++ended;
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn(receiver);
        group.spawn(taker);
        co_await some_turns();
        channel.close();
    });
    CHECK(ended == 2);
}

TEST_CASE("close() ends the receivers that wait", "[sync][channel]") {
    run_both([]<typename C>(std::type_identity<C>) { return closing_ends_receivers<C>(); });
}

// --- cancelled ---------------------------------------------------------------------------------

template <typename Channel>
task<> cancelled_recv_takes_nothing() {
    Channel channel(2);
    cancel_scope scope;
    int cut = 0;
    const auto receiver = [&]() -> task<> {
        const auto first = co_await as_result(channel.recv());
        CHECK(first.error() == canceled);
        // Level-triggered: there is a value, and it stays.
        CHECK(channel.try_send(make(7)));
        const std::error_code second = co_await thrown_by(channel.recv());
        CHECK(second == canceled);
        std::vector<owned> values;
        const std::error_code third = co_await thrown_by(channel.receive_all(values));
        CHECK(third == canceled);
        const std::error_code fourth = co_await thrown_by(channel.send(make(8)));
        CHECK(fourth == canceled);
        CHECK(channel.size() == 1);
        ++cut;
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        scope.cancel();
        CHECK(cut == 0);
    };
    co_await when_all(scope.run(receiver()), canceller());
    CHECK(cut == 1);
    const auto left = channel.try_recv();
    REQUIRE(left);
    CHECK(**left == 7);
}

TEST_CASE("A cancelled recv takes nothing", "[sync][channel][cancellation]") {
    run_both([]<typename C>(std::type_identity<C>) { return cancelled_recv_takes_nothing<C>(); });
}

template <typename Channel>
task<> given_before_cancelled() {
    Channel channel(2);
    cancel_scope scope;
    int got = 0;
    const auto receiver = [&]() -> task<> {
        const auto value = co_await channel.recv();
        REQUIRE(value);
        got = **value;
        const std::error_code next = co_await thrown_by(channel.recv());
        CHECK(next == canceled);
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        CHECK(channel.try_send(make(5)));
        scope.cancel();
        CHECK(channel.size() == 0);
    };
    co_await when_all(scope.run(receiver()), canceller());
    CHECK(got == 5);
}

TEST_CASE("A value given to a receiver before its cancellation is returned by it",
          "[sync][channel][cancellation]") {
    run_both([]<typename C>(std::type_identity<C>) { return given_before_cancelled<C>(); });
}

template <typename Channel>
task<> cancelled_send_keeps_its_value() {
    Channel channel(1);
    cancel_scope early;
    cancel_scope late;
    CHECK(channel.try_send(make(0)));
    const auto cut = [&]() -> task<> {
        owned value = make(1);
        const std::error_code e = co_await thrown_by(channel.send(std::move(value)));
        CHECK(e == canceled);
        REQUIRE(value);
        CHECK(*value == 1);
    };
    bool went_in = false;
    const auto sent = [&]() -> task<> {
        owned value = make(2);
        co_await channel.send(std::move(value));
        CHECK_FALSE(value);
        went_in = true;
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        early.cancel();
        const auto first = channel.try_recv();
        REQUIRE(first);
        CHECK(**first == 0);
        late.cancel();
    };
    co_await when_all(early.run(cut()), late.run(sent()), canceller());
    CHECK(went_in);
    const auto second = channel.try_recv();
    REQUIRE(second);
    CHECK(**second == 2);
}

TEST_CASE("A cancelled send tells whether its value went in", "[sync][channel][cancellation]") {
    run_both([]<typename C>(std::type_identity<C>) { return cancelled_send_keeps_its_value<C>(); });
}

template <typename Channel>
task<> nothing_lost_nothing_twice(std::uint32_t seed) {
    Channel channel(seed % 4);
    std::mt19937 random(seed);
    constexpr int count = 300;
    std::vector<int> seen(count, 0);
    int refused = 0;
    const auto pause = [&]() -> task<> { co_await some_turns(static_cast<int>(random() % 3)); };
    // Both ends are cut short at random moments, and go on with what they still have.
    const auto sender = [&]() -> task<> {
        for (int i = 0; i != count; ++i) {
            owned value = make(i);
            while (value) {
                const auto happened = co_await when_any(channel.send(std::move(value)), pause());
                if (std::get<0>(happened).has_value() != (value == nullptr)) ++refused;
            }
        }
        channel.close();
    };
    const auto receiver = [&]() -> task<> {
        for (;;) {
            auto happened = co_await when_any(channel.recv(), pause());
            auto& received = std::get<0>(happened);
            if (!received) continue;
            if (!*received) co_return;
            ++seen[static_cast<std::size_t>(***received)];
        }
    };
    const auto taker = [&]() -> task<> {
        std::vector<owned> values;
        for (;;) {
            const auto happened = co_await when_any(channel.receive_all(values), pause());
            const auto& received = std::get<0>(happened);
            if (!received) continue;
            if (*received == 0) co_return;
            for (const owned& value : values) ++seen[static_cast<std::size_t>(*value)];
        }
    };
    co_await when_all(sender(), receiver(), receiver(), taker());
    CHECK(refused == 0);
    CHECK(seen == std::vector<int>(count, 1));
}

TEST_CASE("No value is lost or doubled when both ends are cancelled again and again",
          "[sync][channel][cancellation]") {
    for (const std::uint32_t seed : {1u, 2u, 3u, 4u}) {
        run_both([&]<typename C>(std::type_identity<C>) {
            return nothing_lost_nothing_twice<C>(seed);
        });
    }
}

// --- misuse ------------------------------------------------------------------------------------

template <typename Channel>
task<> destroy_while_awaited() {
    std::optional<Channel> made(std::in_place, 1u);
    // What waits holds no handle of its own.
    Channel* const channel = &*made;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([channel]() -> task<> {
            const auto value = co_await channel->recv();
            if (value) FAIL("nobody has sent anything");
        });
        co_await some_turns();
        made.reset();
    });
}

TEST_CASE("Destroying a channel that is awaited is misuse", "[sync][channel]") {
    const auto aborted = test::in_child([] {
        test::run(destroy_while_awaited<channel<owned>>);
        return 0;
    });
    CHECK(aborted.error_text.find("rondo: misuse: a channel is destroyed while a task waits") !=
          std::string::npos);
    const auto shared = test::in_child([] {
        test::run(destroy_while_awaited<shared_channel<owned>>);
        return 0;
    });
    CHECK(shared.error_text.find("rondo: misuse: a channel is destroyed while a task waits") !=
          std::string::npos);
}

}  // namespace
