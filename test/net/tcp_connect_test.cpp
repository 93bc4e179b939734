#include <rondo/net/tcp.hpp>

#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/with_timeout.hpp>

#include <support/deaf_port.hpp>
#include <support/eventually.hpp>
#include <support/full_listener.hpp>
#include <support/harness.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <string>

using namespace rondo;
using namespace rondo::test;

namespace {

task<std::string> failure_of_connect(endpoint remote) {
    try {
        tcp_socket made = co_await tcp_connect(remote);
    } catch (const socket_error& error) {
        co_return error.what();
    }
    co_return std::string();
}

}  // namespace

TEST_CASE("connect and accept make a connection on IPv4 and IPv6", "[net][tcp]") {
    test::run([]() -> task<> {
        for (const ip_address& address : {ip_address::v4_loopback(), ip_address::v6_loopback()}) {
            tcp_listener listener = tcp_listener::listen(endpoint(address, 0));
            tcp_socket socket = co_await tcp_connect(listener.local_endpoint());
            tcp_socket accepted = co_await accept_one(listener);
            co_await socket.send("hello");
            const std::string got = co_await read_exactly(accepted, 5);
            CHECK(got == "hello");
            CHECK(socket.remote_endpoint() == listener.local_endpoint());
        }
    });
}

TEST_CASE("connect keeps the local end it was bound to", "[net][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        tcp_socket socket(ip_version::v4);
        socket.bind(endpoint::parse("127.0.0.2:0").value());
        const endpoint local = socket.local_endpoint();
        co_await socket.connect(listener.local_endpoint());
        const tcp_socket accepted = co_await accept_one(listener);
        CHECK(accepted.remote_endpoint() == local);
    });
}

TEST_CASE("a refused connection says so in one sentence", "[net][tcp]") {
    test::run([]() -> task<> {
        const deaf_port deaf;
        const std::string text = co_await failure_of_connect(deaf.where());
        CHECK(text == "connect " + deaf.where().to_string() +
                          ": Connection refused (nothing listens there; see ss -ltn)");
    });
}

TEST_CASE("an unreachable network says so in one sentence", "[net][tcp]") {
    test::run([]() -> task<> {
        // TCP has no way to a broadcast address, whatever the routes are.
        const std::string text =
            co_await failure_of_connect(endpoint::parse("255.255.255.255:9").value());
        CHECK(text == "connect 255.255.255.255:9: Network is unreachable "
                      "(no route to it; see ip route get 255.255.255.255)");
    });
}

TEST_CASE("as_result() gives a failed connect as a value", "[net][tcp]") {
    test::run([]() -> task<> {
        const deaf_port deaf;
        tcp_socket socket(ip_version::v4);
        const auto tried = co_await as_result(socket.connect(deaf.where()));
        CHECK_FALSE(tried);
        CHECK(tried.error() == std::errc::connection_refused);
    });
}

TEST_CASE("a connect without an answer is cancelled, and its socket can be destroyed",
          "[net][tcp]") {
    test::run([]() -> task<> {
        full_listener full;
        for (int i = 0; i < 5; ++i) {
            cancel_scope scope;
            std::error_code error;
            int descriptor = -1;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    tcp_socket socket(ip_version::v4);
                    descriptor = socket.descriptor();
                    auto tried = co_await as_result(scope.run(socket.connect(full.where())));
                    error = tried.error();
                });
                co_await some_turns(i);
                scope.cancel();
            });
            CHECK(error == std::errc::operation_canceled);
            CHECK_FALSE(is_open(descriptor));
        }
    });
}

TEST_CASE("a connect without an answer times out under with_timeout", "[net][tcp]") {
    test::run([]() -> task<> {
        full_listener full;
        tcp_socket socket(ip_version::v4);
        const auto tried = co_await as_result(
            with_timeout(std::chrono::milliseconds(1), socket.connect(full.where())));
        CHECK(tried.error() == std::errc::timed_out);
    });
}

TEST_CASE("a connect in a cancelled scope does not begin", "[net][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        tcp_socket socket(ip_version::v4);
        cancel_scope scope;
        scope.cancel();
        const auto tried =
            co_await as_result(scope.run(socket.connect(listener.local_endpoint())));
        CHECK(tried.error() == std::errc::operation_canceled);
        CHECK_THROWS_AS(socket.remote_endpoint(), socket_error);
    });
}

TEST_CASE("close() ends a connect that another task awaits", "[net][tcp]") {
    test::run([]() -> task<> {
        full_listener full;
        tcp_socket socket(ip_version::v4);
        std::error_code error;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto tried = co_await as_result(socket.connect(full.where()));
                error = tried.error();
            });
            co_await some_turns();
            co_await socket.close();
            CHECK(error);
        });
        CHECK(error == std::errc::operation_canceled);
    });
}
