#include <rondo/net/tcp.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>
#include <rondo/testing/faulty_engine.hpp>
#include <rondo/testing/scripted_stream.hpp>
#include <rondo/testing/socket_pair.hpp>
#include <rondo/testing/virtual_time.hpp>

#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <string>

using namespace std::chrono_literals;
using rondo::testing::run_in_virtual_time;

// The whole kit at once, by its public names.
TEST_CASE("the test kit's parts go together", "[testing][virtual_time]") {
    const bool answered = rondo::testing::run_in_virtual_time([]() -> rondo::task<bool> {
        auto pair = rondo::testing::tcp_socket_pair();
        co_await pair.a.send("x");
        auto data = co_await pair.b.recv();
        co_return data.text() == "x";
    });
    CHECK(answered);
}

TEST_CASE("virtual time: sleeps end in the order of their deadlines, without waiting",
          "[testing][virtual_time]") {
    std::string order;
    const auto began = std::chrono::steady_clock::now();
    run_in_virtual_time([&]() -> rondo::task<> {
        auto after = [&](std::chrono::hours delay, char mark) -> rondo::task<> {
            co_await rondo::sleep_for(delay);
            order += mark;
        };
        co_await rondo::when_all(after(3h, 'c'), after(1h, 'a'), after(2h, 'b'));
    });
    CHECK(order == "abc");
    CHECK(std::chrono::steady_clock::now() - began < 1min);
}

TEST_CASE("virtual time passes by what was slept, to the nanosecond", "[testing][virtual_time]") {
    const auto passed = run_in_virtual_time([]() -> rondo::task<rondo::clock::duration> {
        rondo::context& here = co_await rondo::this_context();
        const auto began = here.loop().now();
        co_await rondo::sleep_for(36h);
        co_await rondo::sleep_for(1ns);
        co_return here.loop().now() - began;
    });
    CHECK(passed == 36h + 1ns);
}

TEST_CASE("virtual time stands still while sockets have something to deliver",
          "[testing][virtual_time][tcp]") {
    const auto passed = run_in_virtual_time([]() -> rondo::task<rondo::clock::duration> {
        rondo::context& here = co_await rondo::this_context();
        auto pair = co_await rondo::test::connected_pair();
        const auto began = here.loop().now();
        for (int i = 0; i < 100; ++i) {
            co_await pair.a.send("ping");
            auto data = co_await rondo::with_timeout(1s, pair.b.recv());
            CHECK(data.text() == "ping");
        }
        co_return here.loop().now() - began;
    });
    CHECK(passed == 0s);
}

TEST_CASE("virtual time leaps to a time-out that nothing else prevents",
          "[testing][virtual_time][tcp]") {
    run_in_virtual_time([]() -> rondo::task<> {
        auto pair = co_await rondo::test::connected_pair();
        bool late = false;
        try {
            co_await rondo::with_timeout(24h, pair.b.recv());
        } catch (const rondo::operation_timed_out&) {
            late = true;
        }
        CHECK(late);
    });
}
