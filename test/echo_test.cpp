#include <rondo/io/scheduler.hpp>
#include <rondo/net/serve.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/test_server.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

// The two-line echo server against clients of every kind. All of it must also run on queues of
// four entries and eight completions.

using namespace rondo;
using namespace rondo::test;

namespace {

const endpoint any_port(ip_address::v4_loopback(), 0);

// Runs `clients(endpoint)` against an echo server and checks that it ends as it should.
template <typename Clients>
void against_echo_server(Clients clients, std::size_t failures = 0) {
    test::run([&]() -> task<> {
        test_server server;
        scheduler& here = co_await this_scheduler();
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(server, any_port, test::echo); });
            const endpoint where = co_await listening(server);
            co_await clients(where);
            server.stop.request();
        });
        CHECK(server.ended);
        CHECK(server.stats.serving == 0);
        CHECK(server.stats.failed == failures);
        const bool back = co_await eventually([&] { return here.stats().buffers_held == 0; });
        CHECK(back);
    });
}

// Sends `size` bytes of stream `id` in messages of `step` and checks the echo as it comes; the
// next message does not wait for the echo of the last.
task<> pipelined(endpoint where, std::size_t id, std::size_t size, std::size_t step) {
    tcp_socket client = co_await tcp_connect(where);
    std::size_t received = 0;
    std::size_t wrong = 0;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> {
            for (std::size_t sent = 0; sent < size;) {
                const std::string next = pattern(std::min(step, size - sent), id, sent);
                co_await client.send(next);
                sent += next.size();
            }
            client.shutdown(shutdown_mode::send);
        });
        while (const chunk data = co_await client.recv()) {
            for (const std::byte b : data.bytes()) wrong += b != pattern_byte(id, received++);
        }
    });
    CHECK(received == size);
    CHECK(wrong == 0);
}

// One message after the other, each awaited before the next.
task<> in_turns(endpoint where, std::size_t id, std::size_t size, int rounds) {
    tcp_socket client = co_await tcp_connect(where);
    const std::string message = pattern(size, id);
    for (int i = 0; i < rounds; ++i) {
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await client.send(message); });
            const std::string back = co_await read_exactly(client, size);
            CHECK((back == message));
        });
    }
}

}  // namespace

TEST_CASE("messages from one byte to one MiB are echoed as they were", "[echo][net][tcp]") {
    against_echo_server([](endpoint where) -> task<> {
        const std::size_t largest = faulty() ? 65'536 : 1'048'576;
        for (const std::size_t size : {1u, 2u, 63u, 64u, 1'000u, 4'096u, 16'383u, 16'384u, 16'385u,
                                       65'536u, 200'000u, 1'048'576u}) {
            if (size <= largest) co_await in_turns(where, size, size, 3);
        }
    });
}

TEST_CASE("from one to two hundred connections are echoed at a time", "[echo][net][tcp]") {
    for (const std::size_t connections : {1u, 2u, 7u, 33u, 200u}) {
        against_echo_server([connections](endpoint where) -> task<> {
            co_await with_task_group([&](task_group& group) -> task<> {
                for (std::size_t i = 0; i < connections; ++i) {
                    group.spawn(in_turns, where, i, 64 + i, 5);
                }
                co_return;
            });
        });
    }
}

TEST_CASE("pipelined messages of all sizes are echoed in order", "[echo][net][tcp]") {
    against_echo_server([](endpoint where) -> task<> {
        const std::size_t size = faulty() ? 50'000 : 1'000'000;
        co_await with_task_group([&](task_group& group) -> task<> {
            std::size_t id = 0;
            for (const std::size_t step : {37u, 1'000u, 4'096u, 65'536u, 1'000'000u}) {
                const std::size_t bytes = step < 1'000 ? size / 10 : size;
                group.spawn(pipelined, where, id++, bytes, step);
            }
            co_return;
        });
    });
}

TEST_CASE("peers that send a byte at a time are echoed among fast ones", "[echo][net][tcp]") {
    against_echo_server([](endpoint where) -> task<> {
        co_await with_task_group([&](task_group& group) -> task<> {
            for (std::size_t id = 0; id < 5; ++id) {
                group.spawn([where, id]() -> task<> {
                    raw_peer peer = raw_peer::connect_to(where);
                    const std::string text = pattern(200, id);
                    std::string got;
                    for (const char& byte : text) {
                        peer.send(std::string_view(&byte, 1));
                        co_await next_turn();
                        got += peer.read();
                    }
                    peer.finish();
                    const bool ended = co_await eventually([&] {
                        got += peer.read();
                        return peer.at_end();
                    });
                    CHECK(ended);
                    CHECK(got == text);
                });
            }
            group.spawn(pipelined, where, 99, std::size_t{200'000}, std::size_t{10'000});
            co_return;
        });
    });
}

TEST_CASE("peers that never read hold up nobody else, and hold little memory",
          "[echo][net][tcp]") {
    against_echo_server([](endpoint where) -> task<> {
        std::vector<raw_peer> deaf;
        for (int i = 0; i < 4; ++i) deaf.push_back(raw_peer::connect_to(where));
        // Until the buffers of both directions are full: the server's send waits.
        for (int full = 0; full < 200;) {
            std::size_t sent = 0;
            for (raw_peer& each : deaf) sent += each.send_some(std::string(65536, 'd'));
            full = sent == 0 ? full + 1 : 0;
            co_await next_turn();
        }
        scheduler& here = co_await this_scheduler();
        const std::size_t held = here.stats().buffers_held * here.buffers().buffer_size();
        // Otherwise all that a receive buffer of the kernel holds may come in one turn.
        if (here.carrier().has(feature::receive_limit)) CHECK(held <= deaf.size() * 512 * 1024);
        co_await with_task_group([&](task_group& group) -> task<> {
            for (std::size_t id = 0; id < 10; ++id) {
                group.spawn(in_turns, where, id, std::size_t{1000}, 10);
            }
            co_return;
        });
        // They leave without having read: the server's sends fail, its tasks end.
        for (raw_peer& each : deaf) each.reset();
    }, 4);
}

TEST_CASE("peers that reset end their own connections alone", "[echo][net][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(server, any_port, test::echo); });
            const endpoint where = co_await listening(server);
            co_await with_task_group([&](task_group& inner) -> task<> {
                inner.spawn(in_turns, where, std::size_t{1}, std::size_t{3000}, 30);
                for (std::size_t i = 0; i < 30; ++i) {
                    raw_peer peer = raw_peer::connect_to(where);
                    if (i % 3 != 0) peer.send(pattern(i * 100));
                    for (std::size_t turns = 0; turns < i % 4; ++turns) co_await next_turn();
                    peer.reset();
                }
            });
            // The last of them may still be on its way through the backlog.
            const bool ended = co_await eventually([&] { return server.stats.serving == 0; });
            CHECK(ended);
            server.stop.request();
        });
        CHECK(server.ended);
        for (const std::exception_ptr& failure : server.failures) {
            std::error_code code;
            try {
                std::rethrow_exception(failure);
            } catch (const socket_error& error) {
                code = error.code();
            }
            CHECK((code == std::errc::connection_reset || code == std::errc::broken_pipe));
        }
    });
}

TEST_CASE("after a half-close the echo still comes, and then the end", "[echo][net][tcp]") {
    against_echo_server([](endpoint where) -> task<> {
        for (const std::size_t size : {0u, 1u, 5'000u, 60'000u}) {
            raw_peer peer = raw_peer::connect_to(where);
            const std::string text = pattern(size, size);
            if (size != 0) peer.send(text);
            peer.finish();
            std::string got;
            const bool ended = co_await eventually([&] {
                got += peer.read();
                return peer.at_end();
            });
            CHECK(ended);
            CHECK((got == text));
        }
    });
}

TEST_CASE("connections that come and go are echoed one after the other", "[echo][net][tcp]") {
    against_echo_server([](endpoint where) -> task<> {
        const int rounds = faulty() ? 50 : 300;
        co_await with_task_group([&](task_group& group) -> task<> {
            for (std::size_t id = 0; id < 4; ++id) {
                group.spawn([where, id, rounds]() -> task<> {
                    for (int i = 0; i < rounds; ++i) co_await in_turns(where, id, 100, 1);
                });
            }
            co_return;
        });
    });
}

TEST_CASE("buffers of one byte, and a pool of one, still echo", "[echo][net][tcp]") {
    for (const std::size_t buffer_size : {1u, 7u, 4096u}) {
        run_options options = test::options();
        options.buffers.buffer_size = buffer_size;
        options.buffers.initial = 1;
        options.buffers.most = buffer_size == 4096 ? 1 : 16;
        rondo::run(options, []() -> task<> {
            test_server server;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> { co_await serve(server, any_port, test::echo); });
                const endpoint where = co_await listening(server);
                co_await with_task_group([&](task_group& inner) -> task<> {
                    for (std::size_t id = 0; id < 3; ++id) {
                        inner.spawn(pipelined, where, id, std::size_t{3000}, std::size_t{300});
                    }
                    co_return;
                });
                server.stop.request();
            });
            CHECK(server.failures.empty());
        });
    }
}
