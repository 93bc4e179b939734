#include <rondo/net/receive_operation.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_any.hpp>
#include <rondo/task/with_timeout.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/transport.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <string>
#include <utility>

using namespace rondo;
using namespace rondo::test;

TEST_CASE("as_result() gives data, end and failure of both receives as values",
          "[net][receive][tcp]") {
    test::run([]() -> task<> {
        for (const bool leased : {false, true}) {
            raw_pair pair = connected_to_raw_peer();
            std::string buffer(4, '\0');
            pair.peer.send("x");
            if (leased) {
                auto data = co_await as_result(pair.socket.recv());
                REQUIRE(data);
                CHECK(data->text() == "x");
            } else {
                auto data = co_await as_result(pair.socket.recv(writable(buffer)));
                REQUIRE(data);
                CHECK(*data == 1);
                CHECK(buffer[0] == 'x');
            }
            pair.peer.finish();
            if (leased) {
                auto end = co_await as_result(pair.socket.recv());
                REQUIRE(end);
                CHECK_FALSE(*end);
            } else {
                auto end = co_await as_result(pair.socket.recv(writable(buffer)));
                REQUIRE(end);
                CHECK(*end == 0);
            }
            raw_pair second = connected_to_raw_peer();
            second.peer.reset();
            if (leased) {
                auto failed = co_await as_result(second.socket.recv());
                CHECK(failed.error() == std::errc::connection_reset);
            } else {
                auto failed = co_await as_result(second.socket.recv(writable(buffer)));
                CHECK(failed.error() == std::errc::connection_reset);
            }
        }
    });
}

TEST_CASE("recv(buffer) of a reset connection throws with verb and what to check",
          "[net][receive][tcp]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        pair.peer.reset();
        std::string buffer(4, '\0');
        std::string text;
        try {
            co_await pair.socket.recv(writable(buffer));
        } catch (const socket_error& error) {
            text = error.what();
        }
        CHECK(text.starts_with("recv"));
        CHECK(text.ends_with(": Connection reset by peer (the peer aborted the connection: "
                             "it ended early, or closed with data unread)"));
    });
}

TEST_CASE("recv(buffer) never writes beyond what it returns", "[net][receive][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        const std::string data = pattern(1000);
        pair.peer.send(data);
        std::string got;
        std::string buffer(64, '?');
        while (got.size() < data.size()) {
            buffer.assign(64, '?');
            const std::size_t n = co_await pair.socket.recv(writable(buffer).subspan(16, 32));
            REQUIRE(n > 0);
            REQUIRE(n <= 32);
            got.append(buffer, 16, n);
            CHECK(buffer.substr(0, 16) == std::string(16, '?'));
            CHECK(buffer.substr(16 + n) == std::string(48 - n, '?'));
        }
        CHECK(got == data);
    });
}

TEST_CASE("bytes that come with the deadline are delivered by one or the next receive",
          "[net][receive][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        std::string got;
        std::size_t sent = 0;
        const int rounds = faulty() ? 300 : 3000;
        for (int i = 0; i < rounds; ++i) {
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    // The deadline falls around the moment of the send.
                    const auto deadline = std::chrono::microseconds(i % 40);
                    auto data = co_await as_result(with_timeout(deadline, pair.socket.recv()));
                    if (data) got += data->text();
                });
                for (int turns = 0; turns < i % 5; ++turns) co_await next_turn();
                pair.peer.send(pattern(3, 0, sent));
                sent += 3;
            });
        }
        pair.peer.finish();
        const std::string rest = co_await read_to_end(pair.socket);
        CHECK(got.size() + rest.size() == sent);
        CHECK((got + rest == pattern(sent)));
    });
}

TEST_CASE("both branches of when_any that receive keep what they got",
          "[net][receive][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair first = connected_to_raw_peer(over);
        raw_stream_pair second = connected_to_raw_peer(over);
        std::string got_first;
        std::string got_second;
        for (std::size_t i = 0; i < 100; ++i) {
            first.peer.send(pattern(2, 1, i * 2));
            second.peer.send(pattern(2, 2, i * 2));
            auto [a, b] = co_await when_any(first.socket.recv(), second.socket.recv());
            CHECK((a || b));
            if (a) got_first += a->text();
            if (b) got_second += b->text();
        }
        first.peer.finish();
        second.peer.finish();
        const std::string rest_first = co_await read_to_end(first.socket);
        const std::string rest_second = co_await read_to_end(second.socket);
        CHECK(got_first + rest_first == pattern(200, 1));
        CHECK(got_second + rest_second == pattern(200, 2));
    });
}

TEST_CASE("a task that always finds data lets others run", "[net][receive][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        pair.peer.send("arm");
        const std::string armed = co_await read_exactly(pair.socket, 3);
        CHECK(armed == "arm");
        pair.peer.send(pattern(2000));
        co_await some_turns();
        int others = 0;
        std::size_t received = 0;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                while (received < 2000) {
                    ++others;
                    co_await yield();
                }
            });
            std::string one(1, '\0');
            while (received < 2000) {
                const std::size_t n = co_await pair.socket.recv(writable(one));
                REQUIRE(n == 1);
                ++received;
            }
        });
        CHECK(others >= 2000 / 40);
    });
}
