// Between threads, each with a loop of its own; what holds on one thread is in channel_test.
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/sanitizer.hpp>

#include <rondo/io/run.hpp>
#include <rondo/sync/shared_channel.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_any.hpp>

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

using namespace rondo;
using rondo::test::some_turns;

namespace {

using owned = std::unique_ptr<int>;

// Catch2's assertions, and the faults that the harness injects, belong to the test's thread.
template <typename Function>
std::thread with_loop(Function function) {
    return std::thread([function = std::move(function)] { rondo::run(run_options(), function); });
}

task<> send_range(shared_channel<owned> channel, int first, int count) {
    for (int i = 0; i != count; ++i) co_await channel.send(std::make_unique<int>(first + i));
}

void values_cross(std::size_t capacity) {
    constexpr int count = 2000;
    shared_channel<owned> channel(capacity);
    std::vector<int> seen;
    std::thread sender = with_loop([channel]() -> task<> {
        co_await send_range(channel, 0, count);
        channel.close();
    });
    test::run([&]() -> task<> {
        while (auto value = co_await channel.recv()) seen.push_back(**value);
    });
    sender.join();
    std::vector<int> expected(count);
    std::iota(expected.begin(), expected.end(), 0);
    CHECK(seen == expected);
}

TEST_CASE("Values cross threads once and in order", "[sync][shared_channel]") {
    for (const std::size_t capacity : {0u, 1u, 16u, 5000u}) values_cross(capacity);
}

TEST_CASE("Many threads share both ends of a channel", "[sync][shared_channel]") {
    constexpr int count = 500;
    shared_channel<owned> channel(4);
    std::atomic<int> sum = 0;
    std::atomic<int> received = 0;
    std::vector<std::thread> senders;
    std::vector<std::thread> receivers;
    for (int i = 0; i != 3; ++i) {
        senders.push_back(
            with_loop([channel, i] { return send_range(channel, i * count, count); }));
        receivers.push_back(with_loop([channel, &sum, &received]() -> task<> {
            while (auto value = co_await channel.recv()) {
                sum += **value;
                ++received;
            }
        }));
    }
    for (std::thread& sender : senders) sender.join();
    channel.close();
    for (std::thread& receiver : receivers) receiver.join();
    CHECK(received == 3 * count);
    CHECK(sum == 3 * count * (3 * count - 1) / 2);
}

TEST_CASE("A thread without a loop sends and receives without waiting", "[sync][shared_channel]") {
    shared_channel<owned> there(1);
    shared_channel<owned> back(1);
    std::thread doubler = with_loop([there, back]() -> task<> {
        while (auto value = co_await there.recv()) {
            co_await back.send(std::make_unique<int>(2 * **value));
        }
    });
    for (int i = 0; i != 200; ++i) {
        owned value = std::make_unique<int>(i);
        while (!there.try_send(std::move(value))) std::this_thread::yield();
        std::optional<owned> answer;
        while (!answer) {
            answer = back.try_recv();
            if (!answer) std::this_thread::yield();
        }
        REQUIRE(**answer == 2 * i);
    }
    there.close();
    doubler.join();
}

// A loop that ends as soon as it was woken, while the other thread may still be waking it.
TEST_CASE("A loop may end at once after a value from another thread", "[sync][shared_channel]") {
    for (int round = 0; round != 100; ++round) {
        shared_channel<owned> channel(0);
        std::thread receiver = with_loop([channel]() -> task<> {
            const auto value = co_await channel.recv();
            if (!value) std::terminate();
        });
        test::run([&] { return send_range(channel, round, 1); });
        receiver.join();
    }
}

// On a busy machine both threads may share a processor: each lets the other find it waiting now and
// then. Were it always, nothing would be cancelled.
task<> pause(std::mt19937& random) {
    if (random() % 8 == 0) std::this_thread::yield();
    co_await some_turns(static_cast<int>(random() % 3));
}

// What waits is cancelled while another thread may have taken it already.
TEST_CASE("Cancellations race with the other thread and lose no value",
          "[sync][shared_channel][cancellation]") {
    constexpr int count = test::thread_sanitized() ? 60 : 300;
    for (const std::uint32_t capacity : {0u, 3u}) {
        shared_channel<owned> channel(capacity);
        std::atomic<int> contradictions = 0;
        std::thread sender = with_loop([channel, &contradictions]() -> task<> {
            std::mt19937 random(1);
            for (int i = 0; i != count; ++i) {
                owned value = std::make_unique<int>(i);
                while (value) {
                    const auto happened =
                        co_await when_any(channel.send(std::move(value)), pause(random));
                    if (std::get<0>(happened).has_value() != (value == nullptr)) ++contradictions;
                }
            }
            channel.close();
        });
        std::vector<int> seen(count, 0);
        test::run([&]() -> task<> {
            std::mt19937 random(2);
            for (;;) {
                auto happened = co_await when_any(channel.recv(), pause(random));
                auto& received = std::get<0>(happened);
                if (!received) continue;
                if (!*received) co_return;
                ++seen[static_cast<std::size_t>(***received)];
            }
        });
        sender.join();
        CHECK(contradictions == 0);
        CHECK(seen == std::vector<int>(count, 1));
    }
}

}  // namespace
