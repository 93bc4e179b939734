// How a tcp_serve() ends: the two phases of a stop, and a cancellation.
#include <rondo/net/serve.hpp>

#include <rondo/io/signal.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>
#include <support/test_server.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <csignal>
#include <span>
#include <string>
#include <system_error>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

const endpoint any_port(ip_address::v4_loopback(), 0);

bool refuses(const endpoint& where) {
    try {
        raw_peer::connect_to(where);
    } catch (const std::system_error& error) {
        return error.code() == std::errc::connection_refused;
    }
    return false;
}

// The other side has let go of the connection, in whichever way.
bool dropped(raw_peer& peer) { return peer.was_reset() || peer.at_end(); }

}  // namespace

TEST_CASE("a stop of an idle server ends it at once and frees its port", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        endpoint where;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(server, any_port, test::echo); });
            where = co_await listening(server);
            co_await some_turns();
            const bool anyone = server.stop.request();
            CHECK(anyone);
        });
        CHECK(server.ended);
        const tcp_listener again = tcp_listener::listen(where);
        CHECK(again.local_endpoint() == where);
    });
}

TEST_CASE("a stop that was requested before a server starts ends it", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        server.stop.request();
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(server, any_port, test::echo); });
            co_return;
        });
        CHECK(server.ended);
        CHECK(server.stats.accepted == 0);
    });
}

TEST_CASE("a stop delivers what was received, then the end, and sending still works",
          "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto handler = [](tcp_socket peer) -> task<> {
                    const std::string all = co_await read_to_end(peer);
                    co_await peer.send("got " + std::to_string(all.size()));
                };
                co_await serve(server, any_port, handler);
            });
            const endpoint where = co_await listening(server);
            raw_peer client = raw_peer::connect_to(where);
            client.send("12345");
            co_await eventually([&] { return server.stats.serving == 1; });
            client.send("67890");
            server.stop.request();
            const bool answered = co_await eventually([&] { return client.reads("got 10"); });
            CHECK(answered);
        });
        CHECK(server.ended);
    });
}

TEST_CASE("a stop still serves who has connected before it, as far as there is room",
          "[net][serve][tcp]") {
    const std::size_t limit = GENERATE(2u, 80u, 1000u);  // one by one, and by multishot
    test::run([limit]() -> task<> {
        test_server server;
        serve_options options;
        options.max_connections = limit;
        std::size_t answered = 0;
        std::size_t refused = 0;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto handler = [](tcp_socket peer) -> task<> {
                    const std::string all = co_await read_to_end(peer);
                    co_await peer.send("got " + all);
                };
                co_await serve(server, any_port, handler, options);
            });
            const endpoint where = co_await listening(server);
            std::vector<raw_peer> early;
            for (int i = 0; i < 20; ++i) {
                early.push_back(raw_peer::connect_to(where));
                early.back().send("question");
            }
            server.stop.request();
            for (raw_peer& peer : early) {
                bool here = false;
                const bool decided = co_await eventually([&] {
                    here = here || peer.reads("got question");
                    return here || dropped(peer);
                });
                CHECK(decided);
                ++(here ? answered : refused);
            }
        });
        CHECK(server.ended);
        CHECK(server.failures.empty());
        CHECK(answered == std::min<std::size_t>(limit, 20));
        CHECK(answered + refused == 20);
        CHECK(server.stats.accepted == answered);
    });
}

TEST_CASE("a stop takes no new connection", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        co_await with_task_group([&](task_group& group) -> task<> {
            bool go_on = false;
            group.spawn([&]() -> task<> {
                const auto handler = [&go_on](tcp_socket peer) -> task<> {
                    co_await eventually([&] { return go_on; });
                    co_await peer.send("bye");
                };
                co_await serve(server, any_port, handler);
            });
            const endpoint where = co_await listening(server);
            raw_peer served = raw_peer::connect_to(where);
            co_await eventually([&] { return server.stats.serving == 1; });
            server.stop.request();
            co_await some_turns();
            CHECK_FALSE(server.ended);  // somebody is still served
            const std::uint64_t accepted = server.stats.accepted;
            try {
                raw_peer late = raw_peer::connect_to(where);
                co_await some_turns();
            } catch (const std::system_error&) {
                // Refused: as well.
            }
            CHECK(server.stats.accepted == accepted);
            go_on = true;
            const bool said = co_await eventually([&] { return served.reads("bye"); });
            CHECK(said);
        });
        CHECK(server.ended);
        CHECK(server.stats.accepted == 1);
    });
}

TEST_CASE("stopped under load a server echoes every byte it has received", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        struct counts {
            std::size_t received = 0;
            std::size_t echoed = 0;
        };
        test_server server;
        std::size_t server_received = 0;
        constexpr std::size_t clients = 40;
        std::vector<counts> of(clients);
        std::size_t busy = 0;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto handler = [&server_received](tcp_socket peer) -> task<> {
                    while (const chunk data = co_await peer.recv()) {
                        server_received += data.size();
                        co_await peer.send(data);
                    }
                };
                co_await serve(server, any_port, handler);
            });
            const endpoint where = co_await listening(server);
            for (std::size_t i = 0; i < clients; ++i) {
                group.spawn([&, i]() -> task<> {
                    tcp_socket client = co_await tcp_connect(where);
                    for (bool open = true; open;) {
                        const std::string message = pattern(1 + i * 200, i, of[i].echoed);
                        const auto sent = co_await as_result(client.send(message));
                        std::size_t back = 0;
                        while (back < message.size()) {
                            auto part = co_await as_result(client.recv());
                            open = sent && part && *part;
                            if (!part || !*part) break;
                            CHECK(part->text() == message.substr(back, part->size()));
                            back += part->size();
                        }
                        of[i].echoed += back;
                        if (of[i].echoed > 2000 && back == message.size()) ++busy;
                    }
                });
            }
            co_await eventually([&] { return busy > 5 * clients; });
            server.stop.request();
        });
        CHECK(server.ended);
        CHECK(server.failures.empty());
        std::size_t client_received = 0;
        for (const counts& each : of) client_received += each.echoed;
        CHECK(client_received == server_received);
    });
}

TEST_CASE("a server stopped at its limit refuses newcomers while it drains",
          "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        serve_options options;
        options.max_connections = 1;
        bool go_on = false;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto handler = [&](tcp_socket peer) -> task<> {
                    co_await eventually([&] { return go_on; });
                    co_await peer.send("bye");
                };
                co_await serve(server, "localhost:0", handler, options);
            });
            co_await listening(server);
            raw_peer served = raw_peer::connect_to(server.endpoints[0]);
            co_await eventually([&] { return server.stats.serving == 1; });
            std::vector<raw_peer> backlog;
            for (std::size_t i = 0; i < 4; ++i) {
                backlog.push_back(raw_peer::connect_to(server.endpoints[i % 2]));
            }
            co_await some_turns();
            server.stop.request();
            for (const endpoint& where : server.endpoints) {
                const bool refused = co_await eventually([&] { return refuses(where); });
                CHECK(refused);
            }
            CHECK_FALSE(server.ended);  // somebody is still served
            go_on = true;
            const bool said = co_await eventually([&] { return served.reads("bye"); });
            CHECK(said);
            for (raw_peer& peer : backlog) {
                const bool gone = co_await eventually([&] { return dropped(peer); });
                CHECK(gone);
            }
        });
        CHECK(server.ended);
        CHECK(server.stats.accepted == 1);
    });
}

TEST_CASE("a cancelled server ends its handlers and throws operation_canceled",
          "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        cancel_scope scope;
        std::error_code outcome;
        int unwound = 0;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto handler = [&unwound](tcp_socket peer) -> task<> {
                    const auto ended = co_await as_result(peer.recv());
                    unwound += ended.error() == std::errc::operation_canceled;
                };
                auto result =
                    co_await as_result(scope.run(serve(server, any_port, handler)));
                outcome = result.error();
            });
            const endpoint where = co_await listening(server);
            std::vector<raw_peer> peers;
            for (int i = 0; i < 5; ++i) peers.push_back(raw_peer::connect_to(where));
            co_await eventually([&] { return server.stats.serving == 5; });
            co_await some_turns();
            scope.cancel();
            co_await eventually([&] { return static_cast<bool>(outcome); });
            for (raw_peer& peer : peers) CHECK(peer.at_end());
        });
        CHECK(outcome == std::errc::operation_canceled);
        CHECK(unwound == 5);
        CHECK(server.stats.serving == 0);
        CHECK(server.failures.empty());  // a cancellation is no failure
    });
}

TEST_CASE("SIGTERM drains a server, and run_main returns 0", "[net][serve]") {
    child_process child([] {
        serve_options options;
        options.on_listening = [](std::span<const endpoint> where) {
            say(std::to_string(where[0].port()));
        };
        return run_main(tcp_serve(any_port, test::echo, options));
    });
    const auto port = static_cast<std::uint16_t>(std::stoi(child.read_line()));
    test::run([&]() -> task<> {
        tcp_socket client =
            co_await tcp_connect(endpoint(ip_address::v4_loopback(), port));
        co_await client.send("before");
        const std::string echoed = co_await test::read_exactly(client, 6);
        CHECK(echoed == "before");
        child.signal(SIGTERM);
        const std::string rest = co_await read_to_end(client);
        CHECK(rest.empty());
    });
    CHECK(child.wait() == 0);
    CHECK(child.error_text().empty());
}
