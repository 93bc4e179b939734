#include <rondo/net/serve.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/log.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/with_timeout.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>
#include <support/test_server.hpp>

#include <catch2/catch_test_macros.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <iterator>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

const endpoint any_port(ip_address::v4_loopback(), 0);

// One message there and back; false where the connection has ended before.
task<bool> echoes(tcp_socket& socket, std::string message) {
    const auto sent = co_await as_result(socket.send(message));
    if (!sent) co_return false;
    auto back = co_await as_result(read_exactly(socket, message.size()));
    co_return back && *back == message;
}

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

std::string message_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& error) {
        return error.what();
    }
}

}  // namespace

// --- listening -------------------------------------------------------------------------------

TEST_CASE("localhost is served on both families, with port 0 on the same port",
          "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(server, "localhost:0", test::echo); });
            co_await listening(server);
            REQUIRE(server.endpoints.size() == 2);
            CHECK(server.endpoints[0].address() == ip_address::v6_loopback());
            CHECK(server.endpoints[1].address() == ip_address::v4_loopback());
            CHECK(server.endpoints[0].port() != 0);
            CHECK(server.endpoints[0].port() == server.endpoints[1].port());
            for (const endpoint& each : server.endpoints) {
                tcp_socket client = co_await tcp_connect(each);
                const bool echoed = co_await echoes(client, "hello");
                CHECK(echoed);
            }
            server.stop.request();
        });
        CHECK(server.ended);
        CHECK(server.stats.accepted == 2);
        CHECK(server.stats.serving == 0);
        CHECK(server.failures.empty());
    });
}

TEST_CASE("a server takes an endpoint or a listener too", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server first;
        test_server second;
        tcp_listener listener = listen_on_loopback();
        const endpoint local = listener.local_endpoint();
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(first, any_port, test::echo); });
            group.spawn([&]() -> task<> {
                co_await serve(second, std::move(listener), test::echo);
            });
            const endpoint chosen = co_await listening(first);
            CHECK(chosen.port() != 0);
            const endpoint given = co_await listening(second);
            CHECK(given == local);
            for (const endpoint& each : {chosen, given}) {
                tcp_socket client = co_await tcp_connect(each);
                const bool echoed = co_await echoes(client, "hello");
                CHECK(echoed);
            }
            first.stop.request();
            second.stop.request();
        });
    });
}

TEST_CASE("a server that finds its port busy throws one sentence", "[net][serve][tcp]") {
    const tcp_listener busy = listen_on_loopback();
    const std::string where = busy.local_endpoint().to_string();
    std::string text;
    try {
        test::run([&]() -> task<> { co_await tcp_serve(where, test::echo); });
    } catch (const socket_error& error) {
        text = error.what();
    }
    CHECK(text == "bind " + where +
                      ": Address already in use (another socket has this address; see ss -tulnp)");
}

TEST_CASE("a server's address that does not parse throws one sentence", "[net][serve][tcp]") {
    for (const char* wrong : {"localhost", "127.0.0.1:99999", "nowhere.example:80", ""}) {
        std::string text;
        try {
            test::run([wrong]() -> task<> { co_await tcp_serve(wrong, test::echo); });
        } catch (const argument_error& error) {
            text = error.what();
        }
        CHECK(text.starts_with("listen"));
        CHECK(text.find('\n') == std::string::npos);
        CHECK(text.find(wrong) != std::string::npos);
    }
}

// --- failures --------------------------------------------------------------------------------

TEST_CASE("a handler's exception ends its connection alone and reaches the hook",
          "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto handler = [](tcp_socket peer) -> task<> {
                    while (const chunk data = co_await peer.recv()) {
                        if (data.text().starts_with('!')) throw std::runtime_error("as asked");
                        co_await peer.send(data);
                    }
                };
                co_await serve(server, any_port, handler);
            });
            const endpoint where = co_await listening(server);
            tcp_socket good = co_await tcp_connect(where);
            for (int i = 0; i < 5; ++i) {
                tcp_socket bad = co_await tcp_connect(where);
                co_await bad.send("!");
                auto ended = co_await as_result(read_to_end(bad));
                CHECK((!ended || ended->empty()));
                const bool echoed = co_await echoes(good, "still there");
                CHECK(echoed);
            }
            server.stop.request();
        });
        CHECK(server.stats.accepted == 6);
        CHECK(server.stats.failed == 5);
        REQUIRE(server.failures.size() == 5);
        CHECK(message_of(server.failures[0]) == "as asked");
    });
}

TEST_CASE("a hook that throws does not end the server", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        std::string logged;
        const log_function previous =
            set_log([&](std::string_view message) { logged += message; });
        serve_options options;
        options.on_failure = [](std::exception_ptr) { throw std::runtime_error("the hook"); };
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto handler = [](tcp_socket) -> task<> {
                    co_await yield();
                    throw std::runtime_error("the handler");
                };
                co_await serve(server, any_port, handler, options);
            });
            const endpoint where = co_await listening(server);
            for (int i = 0; i < 3; ++i) {
                tcp_socket client = co_await tcp_connect(where);
                auto ended = co_await as_result(read_to_end(client));
                CHECK((!ended || ended->empty()));
            }
            server.stop.request();
        });
        set_log(previous);
        CHECK(server.stats.failed == 3);
        CHECK(logged.find("hook for failed connections has thrown") != std::string::npos);
    });
}

TEST_CASE("the failure of an accepted connection names its peer", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        std::string peer_name;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(server, any_port, test::echo); });
            const endpoint where = co_await listening(server);
            raw_peer peer = raw_peer::connect_to(where);
            peer_name = peer.local_endpoint().to_string();
            co_await eventually([&] { return server.stats.serving == 1; });
            co_await some_turns();
            peer.reset();
            co_await eventually([&] { return !server.failures.empty(); });
            server.stop.request();
        });
        REQUIRE(server.failures.size() == 1);
        const std::string text = message_of(server.failures[0]);
        CHECK(text.starts_with("recv"));
        CHECK(text.find(peer_name) != std::string::npos);
        CHECK(text.find("Connection reset by peer") != std::string::npos);
    });
}

TEST_CASE("without a hook a failed connection is logged, a reset one is not",
          "[net][serve][tcp]") {
    std::string logged;
    const log_function previous =
        set_log([&](std::string_view message) { logged += std::string(message) + "\n"; });
    test::run([]() -> task<> {
        graceful_stop stop;
        serve_stats stats;
        std::optional<endpoint> where;
        serve_options options;
        options.stats = &stats;
        options.on_listening = [&](std::span<const endpoint> locals) { where = locals[0]; };
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                context& here = co_await this_context();
                here.set_stop(stop);
                const auto handler = [](tcp_socket peer) -> task<> {
                    const chunk data = co_await peer.recv();
                    throw std::runtime_error("out of luck");
                };
                co_await tcp_serve(any_port, handler, options);
            });
            co_await eventually([&] { return where.has_value(); });
            raw_peer reset = raw_peer::connect_to(*where);
            co_await eventually([&] { return stats.accepted == 1; });
            co_await some_turns();
            reset.reset();
            co_await eventually([&] { return stats.failed == 1; });
            raw_peer unlucky = raw_peer::connect_to(*where);
            unlucky.send("x");
            co_await eventually([&] { return stats.failed == 2; });
            stop.request();
        });
    });
    set_log(previous);
    CHECK(logged.find("a connection failed: out of luck\n") != std::string::npos);
    CHECK(logged.find("reset") == std::string::npos);
}

// --- the limit -------------------------------------------------------------------------------

TEST_CASE("never more connections are served than the limit says, and newcomers wait their turn",
          "[net][serve][tcp]") {
    for (const std::size_t limit : {std::size_t{1}, std::size_t{3}, std::size_t{70}}) {
        test::run([limit]() -> task<> {
            test_server server;
            serve_options options;
            options.max_connections = limit;
            const std::size_t clients = limit + 20;
            std::size_t echoed = 0;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    co_await serve(server, "localhost:0", test::echo, options);
                });
                co_await listening(server);
                for (std::size_t i = 0; i < clients; ++i) {
                    group.spawn([&server, &echoed, limit, i]() -> task<> {
                        tcp_socket client = co_await tcp_connect(server.endpoints[i % 2]);
                        for (int round = 0; round < 3; ++round) {
                            const bool back = co_await echoes(client, pattern(100, i));
                            CHECK(back);
                            CHECK(server.stats.serving <= limit);
                        }
                        co_await eventually([&] { return server.stats.most_serving == limit; });
                        ++echoed;
                    });
                }
                co_await eventually([&] { return echoed == clients; });
                server.stop.request();
            });
            CHECK(echoed == clients);
            CHECK(server.stats.accepted == clients);
            CHECK(server.stats.most_serving == limit);
            CHECK(server.failures.empty());
        });
    }
}

TEST_CASE("a newcomer at the limit is served as soon as another ends", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        serve_options options;
        options.max_connections = 2;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(server, any_port, test::echo, options); });
            const endpoint where = co_await listening(server);
            raw_peer first = raw_peer::connect_to(where);
            raw_peer second = raw_peer::connect_to(where);
            raw_peer third = raw_peer::connect_to(where);
            third.send("third");
            co_await eventually([&] { return server.stats.serving == 2; });
            co_await some_turns();
            CHECK(server.stats.accepted == 2);
            CHECK(third.read().empty());
            CHECK(server.stats.reached_limit == 1);
            first.close();
            const bool served = co_await eventually([&] { return third.reads("third"); });
            CHECK(served);
            server.stop.request();
        });
        CHECK(server.stats.most_serving == 2);
        CHECK(server.stats.reached_limit == 2);
    });
}

TEST_CASE("a server cancelled at its limit starts nobody beyond it", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        serve_options options;
        options.max_connections = 1;
        cancel_scope scope;
        std::error_code outcome;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                auto result = co_await as_result(
                    scope.run(serve(server, "localhost:0", test::echo, options)));
                outcome = result.error();
            });
            co_await listening(server);
            // One is served, and on each family one more waits for its turn.
            std::vector<raw_peer> peers;
            peers.push_back(raw_peer::connect_to(server.endpoints[0]));
            co_await eventually([&] { return server.stats.serving == 1; });
            peers.push_back(raw_peer::connect_to(server.endpoints[0]));
            peers.push_back(raw_peer::connect_to(server.endpoints[1]));
            co_await some_turns();
            scope.cancel();
            co_await eventually([&] { return static_cast<bool>(outcome); });
        });
        CHECK(outcome == std::errc::operation_canceled);
        CHECK(server.stats.most_serving == 1);
    });
}

TEST_CASE("a server cancelled at its limit runs no handler for who waits", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server server;
        serve_options options;
        options.max_connections = 1;
        cancel_scope scope;
        std::error_code outcome;
        int entered = 0;
        bool cleaned_up = false;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto handler = [&](tcp_socket) -> task<> {
                    ++entered;
                    co_await shield(eventually([&] { return cleaned_up; }));
                };
                auto result =
                    co_await as_result(scope.run(serve(server, any_port, handler, options)));
                outcome = result.error();
            });
            const endpoint where = co_await listening(server);
            const raw_peer served = raw_peer::connect_to(where);
            co_await eventually([&] { return entered == 1; });
            const raw_peer waits = raw_peer::connect_to(where);
            co_await some_turns();
            scope.cancel();
            co_await some_turns();
            CHECK_FALSE(outcome);  // somebody is still served
            cleaned_up = true;
            co_await eventually([&] { return static_cast<bool>(outcome); });
        });
        CHECK(outcome == std::errc::operation_canceled);
        CHECK(entered == 1);
        CHECK(server.stats.accepted == 1);
    });
}

TEST_CASE("a limit of 0 serves nobody, and a deadline ends the server", "[net][serve][tcp]") {
    test::run([]() -> task<> {
        std::optional<raw_peer> waits;
        serve_stats stats;
        serve_options options;
        options.max_connections = 0;
        options.stats = &stats;
        options.on_listening = [&](std::span<const endpoint> where) {
            waits = raw_peer::connect_to(where[0]);
            waits->send("hello");
        };
        const auto outcome = co_await as_result(with_timeout(
            std::chrono::milliseconds(20), tcp_serve(any_port, test::echo, options)));
        CHECK(outcome.error() == std::errc::timed_out);
        REQUIRE(waits);
        CHECK(waits->read().empty());
        CHECK(stats.accepted == 0);
    });
}

// Without faults: they delay the end of an accept for longer than the test waits for it.
TEST_CASE("at its limit a server with two listeners holds no further connection",
          "[net][serve]") {
    test::run([]() -> task<> {
        test_server server;
        serve_options options;
        options.max_connections = 1;
        constexpr std::size_t clients = 7;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                co_await serve(server, "localhost:0", test::echo, options);
            });
            co_await listening(server);
            REQUIRE(server.endpoints.size() == 2);
            co_await some_turns();
            const std::size_t before = open_descriptors();
            std::vector<raw_peer> peers;
            peers.push_back(raw_peer::connect_to(server.endpoints[0]));
            co_await eventually([&] { return server.stats.serving == 1; });
            co_await some_turns();
            while (peers.size() < clients) {
                peers.push_back(raw_peer::connect_to(server.endpoints[peers.size() % 2]));
            }
            co_await some_turns();
            CHECK(open_descriptors() == before + clients + 1);
            std::size_t echoed = 0;
            for (raw_peer& peer : peers) {
                group.spawn([&]() -> task<> {
                    peer.send("hello");
                    const bool back = co_await eventually([&] { return peer.reads("hello"); });
                    CHECK(back);
                    CHECK(server.stats.serving <= 1);
                    peer.close();
                    ++echoed;
                });
            }
            co_await eventually([&] { return echoed == clients; });
            server.stop.request();
        });
        CHECK(server.stats.accepted == clients);
        CHECK(server.stats.most_serving == 1);
        CHECK(server.failures.empty());
    });
}

TEST_CASE("of two servers with the same stats one ends while the other goes on",
          "[net][serve][tcp]") {
    test::run([]() -> task<> {
        test_server stays;
        cancel_scope scope;
        std::optional<endpoint> where;
        std::error_code outcome;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(stays, any_port, test::echo); });
            group.spawn([&]() -> task<> {
                serve_options options;
                options.stats = &stays.stats;
                options.on_listening = [&](std::span<const endpoint> locals) {
                    where = locals[0];
                };
                const auto result =
                    co_await as_result(scope.run(tcp_serve(any_port, test::echo, options)));
                outcome = result.error();
            });
            const endpoint first = co_await listening(stays);
            co_await eventually([&] { return where.has_value(); });
            tcp_socket client = co_await tcp_connect(first);
            const raw_peer other = raw_peer::connect_to(*where);
            co_await eventually([&] { return stays.stats.serving == 2; });
            scope.cancel();
            const bool ended =
                co_await eventually([&] { return static_cast<bool>(outcome); });
            CHECK(ended);
            CHECK(stays.stats.serving == 1);
            const bool echoed = co_await echoes(client, "still there");
            CHECK(echoed);
            stays.stop.request();
        });
        CHECK(outcome == std::errc::operation_canceled);
        CHECK(stays.ended);
        CHECK(stays.stats.accepted == 2);
    });
}

// --- descriptors run out ---------------------------------------------------------------------

namespace {

// In a child, where Catch's macros have nobody to tell.
void require_that(bool kept, const char* sentence) {
    if (!kept) throw std::runtime_error(sentence);
}

task<> run_out_of_descriptors() {
    test_server server;
    constexpr std::size_t clients = 30;
    // Room for the listener, the clients, and for half as many at the server's side. Set before
    // anything is armed: the kernel keeps the limit with the request.
    const int next = ::dup(0);
    ::close(next);
    const rlim_t room = static_cast<rlim_t>(next) + 1 + clients + clients / 2;
    const rlimit limit = {room, room};
    ::setrlimit(RLIMIT_NOFILE, &limit);
    std::vector<raw_peer> peers;
    // Before the server accepts, which takes descriptors at any time.
    const auto connect_all = [&](std::span<const endpoint> where) {
        for (std::size_t i = 0; i < clients; ++i) {
            peers.push_back(raw_peer::connect_to(where.front()));
            peers.back().send("hello");
        }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> {
            serve_options options;
            options.on_listening = connect_all;
            co_await serve(server, any_port, test::echo, options);
        });
        const bool paused = co_await eventually([&] { return server.stats.backed_off > 0; });
        require_that(paused, "the server has not backed off");
        require_that(server.stats.serving < clients, "the limit was too high for the test");
        for (raw_peer& peer : peers) {
            const bool echoed = co_await eventually([&] { return peer.reads("hello"); });
            require_that(echoed, "a connection was not served");
            peer.close();
        }
        server.stop.request();
    });
    require_that(server.stats.accepted == clients, "not all were accepted");
    require_that(server.stats.failed == 0, "a connection has failed");
}

}  // namespace

TEST_CASE("out of descriptors a server backs off, counts it, and recovers", "[net][serve]") {
    const child_result outcome = in_child([] {
        rondo::run({}, run_out_of_descriptors);
        return 0;
    });
    INFO(outcome.error_text);
    CHECK(outcome.code == 0);
    CHECK(outcome.error_text.find("accepting pauses: Too many open files (see ulimit -n)") !=
          std::string::npos);
}
