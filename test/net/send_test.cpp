#include <rondo/net/send_operation.hpp>

#include <rondo/net/tcp.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>
#include <support/transport.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using namespace std::string_literals;

namespace {

// Reads `size` bytes of stream 0 while others send; returns how many were wrong.
task<std::size_t> count_wrong(stream_socket& from, std::size_t size) {
    std::size_t received = 0;
    std::size_t wrong = 0;
    while (received < size) {
        const chunk next = co_await from.recv();
        if (!next) break;
        for (const std::byte b : next.bytes()) wrong += b != pattern_byte(0, received++);
    }
    co_return wrong + (size - received);
}

}  // namespace

TEST_CASE("send takes whatever holds bytes; a literal goes without its NUL",
          "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        co_await pair.a.send("literal,");
        co_await pair.a.send(std::string_view("view,"));
        const std::string string = "string\0,"s;
        co_await pair.a.send(string);
        std::array<std::byte, 2> bytes = {std::byte{'h'}, std::byte{'i'}};
        co_await pair.a.send(std::span<std::byte>(bytes));
        co_await pair.a.send(std::span<const std::byte>(bytes));
        pair.a.shutdown(shutdown_mode::send);
        const std::string got = co_await read_to_end(pair.b);
        CHECK(got == "literal,view,string\0,hihi"s);
    });
}

TEST_CASE("a chunk is sent on as it came", "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        co_await pair.a.send("there and back");
        std::size_t echoed = 0;
        while (echoed < 14) {
            const chunk received = co_await pair.b.recv();
            co_await pair.b.send(received);
            echoed += received.size();
        }
        const std::string got = co_await read_exactly(pair.a, 14);
        CHECK(got == "there and back");
    });
}

TEST_CASE("sending nothing completes and sends nothing", "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        for (int i = 0; i < 100; ++i) {
            co_await pair.a.send("");
            co_await pair.a.send(std::span<const const_buffer>());
            co_await pair.a.send("", std::string_view());
        }
        co_await pair.a.send("something");
        pair.a.shutdown(shutdown_mode::send);
        const std::string got = co_await read_to_end(pair.b);
        CHECK(got == "something");
    });
}

TEST_CASE("several buffers are sent as if they were one", "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        const std::string body = "body";
        co_await pair.a.send("head", "", body, std::string_view("!"));
        const std::string got = co_await read_exactly(pair.b, 9);
        CHECK(got == "headbody!");
    });
}

TEST_CASE("any number of buffers is sent, empty ones among them", "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        for (const std::size_t count : {1u, 15u, 16u, 17u, 32u, 33u, 100u}) {
            std::vector<std::string> parts;
            std::string expected;
            for (std::size_t i = 0; i < count; ++i) {
                parts.push_back(i % 3 == 2 ? "" : pattern(1 + i * 7, 0, expected.size()));
                expected += parts.back();
            }
            const std::vector<const_buffer> buffers(parts.begin(), parts.end());
            co_await pair.a.send(buffers);
            const std::string got = co_await read_exactly(pair.b, expected.size());
            CHECK(got == expected);
        }
    });
}

TEST_CASE("a gather send larger than the socket buffers goes on where it stopped",
          "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await narrow_pair(over);
        const std::size_t parts = 40;
        const std::size_t part = faulty() ? 3'001 : 30'001;
        const std::string data = pattern(parts * part);
        std::vector<const_buffer> buffers;
        for (std::size_t i = 0; i < parts; ++i) {
            buffers.push_back(std::string_view(data).substr(i * part, part));
            buffers.push_back(std::string_view());
        }
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await pair.a.send(buffers); });
            const std::size_t wrong = co_await count_wrong(pair.b, data.size());
            CHECK(wrong == 0);
        });
    });
}

TEST_CASE("64 MiB are sent by one send", "[net][send]") {
    test::run([]() -> task<> {
        tcp_pair pair = co_await connected_pair();
        const std::size_t size = std::size_t{64} << 20;
        const std::string data = pattern(size);
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await pair.a.send(data); });
            const std::size_t wrong = co_await count_wrong(pair.b, size);
            CHECK(wrong == 0);
        });
    });
}

TEST_CASE("a large send to a slow reader is all there, through narrow buffers",
          "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await narrow_pair(over);
        const std::string data = pattern(faulty() ? 100'000 : 1'000'000);
        bool sent = false;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                co_await pair.a.send(data);
                sent = true;
            });
            co_await some_turns();
            CHECK_FALSE(sent);
            const std::size_t wrong = co_await count_wrong(pair.b, data.size());
            CHECK(wrong == 0);
        });
        CHECK(sent);
    });
}

TEST_CASE("send_some returns how much the kernel took", "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await narrow_pair(over);
        const std::string data = pattern(1'000'000);
        const std::size_t first = co_await pair.a.send_some(data);
        CHECK(first > 0);
        CHECK(first < data.size());
        std::size_t sent = first;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const std::size_t end = 50'000 > first ? 50'000 : first;
                while (sent < end) {
                    const std::size_t n =
                        co_await pair.a.send_some(std::string_view(data).substr(sent, end - sent));
                    CHECK(n > 0);
                    sent += n;
                }
                pair.a.shutdown(shutdown_mode::send);
            });
            const std::string got = co_await read_to_end(pair.b);
            CHECK(got == data.substr(0, sent));
        });
    });
}

TEST_CASE("a cancelled send tells how much went out, and exactly that arrives",
          "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await narrow_pair(over);
        const std::string data = pattern(10'000'000);
        std::size_t transferred = 0;
        bool cancelled = false;
        cancel_scope scope;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                try {
                    co_await scope.run(pair.a.send(data));
                } catch (const operation_canceled& error) {
                    cancelled = true;
                    transferred = error.transferred();
                }
            });
            co_await some_turns();
            scope.cancel();
        });
        CHECK(cancelled);
        CHECK(transferred > 0);
        pair.a.shutdown(shutdown_mode::send);
        const std::string got = co_await read_to_end(pair.b);
        CHECK(got.size() == transferred);
        CHECK((got == data.substr(0, transferred)));
    });
}

TEST_CASE("a cancelled gather send tells how much went out, and exactly that arrives",
          "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await narrow_pair(over);
        const std::string data = pattern(4'000'000);
        std::vector<const_buffer> buffers;
        buffers.push_back(std::string_view(data).substr(0, 1'000'000));
        buffers.push_back(std::string_view(data).substr(1'000'000));
        std::size_t transferred = 0;
        bool cancelled = false;
        cancel_scope scope;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                try {
                    co_await scope.run(pair.a.send(buffers));
                } catch (const operation_canceled& error) {
                    cancelled = true;
                    transferred = error.transferred();
                }
            });
            co_await some_turns();
            scope.cancel();
        });
        CHECK(cancelled);
        pair.a.shutdown(shutdown_mode::send);
        const std::string got = co_await read_to_end(pair.b);
        CHECK(got.size() == transferred);
        CHECK((got == data.substr(0, transferred)));
    });
}

TEST_CASE("a send to a peer that reset fails with verb and what to check", "[net][send][tcp]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        pair.peer.reset();
        std::string text;
        std::error_code error;
        for (int i = 0; i < 3 && text.empty(); ++i) {
            try {
                co_await pair.socket.send("to nobody");
            } catch (const socket_error& failure) {
                text = failure.what();
                error = failure.code();
            }
        }
        CHECK((error == std::errc::connection_reset || error == std::errc::broken_pipe));
        CHECK(text.starts_with("send"));
    });
}

TEST_CASE("a send that waits is ended by the peer's reset, and tells what went out",
          "[net][send][tcp]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        const std::string data = pattern(32'000'000);
        std::error_code error;
        std::size_t transferred = 0;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                try {
                    co_await pair.socket.send(data);
                } catch (const socket_error& failure) {
                    error = failure.code();
                    transferred = failure.transferred();
                }
            });
            co_await some_turns();
            pair.peer.reset();
        });
        CHECK((error == std::errc::connection_reset || error == std::errc::broken_pipe));
        CHECK(transferred < data.size());
    });
}

TEST_CASE("a send in a cancelled scope sends nothing", "[net][send][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        cancel_scope scope;
        scope.cancel();
        for (int i = 0; i < 3; ++i) {
            const auto sent = co_await as_result(scope.run(pair.a.send("nothing")));
            CHECK(sent.error() == std::errc::operation_canceled);
            const auto none = co_await as_result(scope.run(pair.a.send("")));
            CHECK(none.error() == std::errc::operation_canceled);
            const auto many = co_await as_result(scope.run(pair.a.send("no", "thing")));
            CHECK(many.error() == std::errc::operation_canceled);
            const auto some = co_await as_result(scope.run(pair.a.send_some("nothing")));
            CHECK(some.error() == std::errc::operation_canceled);
        }
        pair.a.shutdown(shutdown_mode::send);
        const std::string got = co_await read_to_end(pair.b);
        CHECK(got.empty());
    });
}
