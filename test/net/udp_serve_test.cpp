#include <rondo/net/udp_serve.hpp>

#include <rondo/io/signal.hpp>
#include <rondo/log.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/when_all.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_udp.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <csignal>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using namespace std::chrono_literals;

namespace {

const endpoint any(ip_address::v4_loopback(), 0);

task<> echo(udp_socket& socket, datagram data) { co_await socket.send_to(data, data.from()); }

// Runs a server while `client(endpoints)` runs, then stops it as Ctrl-C would.
template <typename Where, typename Handler, typename Client>
task<> with_server(Where where, Handler handler, Client client, udp_serve_options options = {}) {
    std::vector<endpoint> locals;
    options.on_listening = [&](std::span<const endpoint> all) {
        locals.assign(all.begin(), all.end());
    };
    const auto talk = [&]() -> task<> {
        const bool listening = co_await eventually([&] { return !locals.empty(); });
        CHECK(listening);
        co_await client(locals);
        std::raise(SIGINT);
    };
    co_await when_all(until_interrupted(udp_serve(std::move(where), handler, options)), talk());
}

task<bool> answers(raw_udp& peer, std::size_t count, std::vector<std::string>& got) {
    const bool all = co_await eventually([&] {
        for (std::string& each : peer.receive_all()) got.push_back(std::move(each));
        return got.size() >= count;
    });
    co_return all;
}

}  // namespace

TEST_CASE("udp_serve hands each datagram to its handler, on every address of localhost",
          "[net][udp]") {
    test::run([]() -> task<> {
        co_await with_server(
            std::string("localhost:0"), echo, [](std::vector<endpoint>& locals) -> task<> {
                for (const endpoint& each : locals) {
                    CHECK(each.port() == locals.front().port());
                    raw_udp peer(each.address());
                    for (int i = 0; i < 100; ++i) peer.send_to(std::to_string(i), each);
                    std::vector<std::string> got;
                    const bool all = co_await answers(peer, 100, got);
                    CHECK(all);
                }
            });
    });
}

TEST_CASE("no more handlers run at a time than are asked for", "[net][udp]") {
    test::run([]() -> task<> {
        int running = 0;
        int most = 0;
        const auto handler = [&](udp_socket& socket, datagram data) -> task<> {
            most = std::max(most, ++running);
            co_await some_turns(10);
            --running;
            co_await socket.send_to(data, data.from());
        };
        udp_serve_options options;
        options.handlers = 3;
        co_await with_server(any, handler, [](std::vector<endpoint>& locals) -> task<> {
            raw_udp peer;
            for (int i = 0; i < 30; ++i) peer.send_to("x", locals.front());
            std::vector<std::string> got;
            const bool all = co_await answers(peer, 30, got);
            CHECK(all);
        }, options);
        CHECK(most == 3);
    });
}

TEST_CASE("a handler's exception ends the handling of its datagram alone", "[net][udp]") {
    using handler_type = task<> (*)(udp_socket&, datagram);
    const handler_type coroutine = [](udp_socket& socket, datagram data) -> task<> {
        if (data.text() == "bad") throw std::runtime_error("a bad datagram");
        co_await socket.send_to(data, data.from());
    };
    const handler_type function = [](udp_socket& socket, datagram data) -> task<> {
        if (data.text() == "bad") throw std::runtime_error("a bad datagram");
        return echo(socket, std::move(data));
    };
    const handler_type given = GENERATE_COPY(coroutine, function);
    test::run([given]() -> task<> {
        std::vector<std::string> failures;
        const handler_type handler = given;
        udp_serve_options options;
        options.on_failure = [&](std::exception_ptr failure) {
            try {
                std::rethrow_exception(failure);
            } catch (const std::exception& error) {
                failures.push_back(error.what());
            }
        };
        co_await with_server(any, handler, [](std::vector<endpoint>& locals) -> task<> {
            raw_udp peer;
            for (const char* text : {"bad", "good", "bad", "good"}) {
                peer.send_to(text, locals.front());
            }
            std::vector<std::string> got;
            const bool all = co_await answers(peer, 2, got);
            CHECK(all);
            CHECK(got == std::vector<std::string>{"good", "good"});
        }, options);
        CHECK(failures == std::vector<std::string>(2, "a bad datagram"));
    });
}

TEST_CASE("what had arrived when the stop was asked for is handled", "[net][udp]") {
    test::run([]() -> task<> {
        raw_udp peer;
        std::vector<std::string> got;
        const auto handler = [](udp_socket& socket, datagram data) -> task<> {
            co_await some_turns(1);
            co_await socket.send_to(data, data.from());
        };
        udp_serve_options options;
        options.handlers = 2;
        co_await with_server(any, handler, [&](std::vector<endpoint>& locals) -> task<> {
            // All of it is in the socket before the server looks.
            for (int i = 0; i < 50; ++i) peer.send_to(std::to_string(i), locals.front());
            co_return;
        }, options);
        got = peer.receive_all();
        CHECK(got.size() == 50);
    });
}

TEST_CASE("a cancelled server throws after its handlers have ended", "[net][udp][cancellation]") {
    test::run([]() -> task<> {
        bool started = false;
        bool ended = false;
        const auto handler = [&](udp_socket&, datagram) -> task<> {
            started = true;
            const auto slept = co_await as_result(sleep_for(1h));
            CHECK(slept.error() == std::errc::operation_canceled);
            ended = true;
        };
        udp_socket socket = udp_socket::bind(any);
        const endpoint where = socket.local_endpoint();
        raw_udp peer;
        peer.send_to("x", where);
        cancel_scope scope;
        const auto serve = [&]() -> task<> {
            auto serving = udp_serve(std::move(socket), handler);
            const auto outcome = co_await as_result(scope.run(std::move(serving)));
            CHECK(outcome.error() == std::errc::operation_canceled);
            CHECK(ended);
        };
        const auto cancel = [&]() -> task<> {
            const bool seen = co_await eventually([&] { return started; });
            CHECK(seen);
            scope.cancel();
        };
        co_await when_all(serve(), cancel());
    });
}

TEST_CASE("a server that cannot bind says so", "[net][udp]") {
    test::run([]() -> task<> {
        const raw_udp taken;
        const auto outcome = co_await as_result(udp_serve(taken.local_endpoint(), echo));
        CHECK(outcome.error() == std::errc::address_in_use);
        const auto nonsense = co_await as_result(udp_serve(std::string("nonsense"), echo));
        CHECK(nonsense.error() == std::errc::invalid_argument);
    });
}
