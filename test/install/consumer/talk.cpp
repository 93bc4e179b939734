// A little of every layer: a server and its client over TCP, lines, a time-out, two threads, the
// test kit. Prints what came back.
#include <rondo/rondo.hpp>
#include <rondo/testing/socket_pair.hpp>

#include <fmt/core.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

using namespace std::chrono_literals;

rondo::task<> answer_one(rondo::tcp_listener& listener) {
    auto peer = co_await listener.accept();
    while (auto data = co_await peer.recv()) co_await peer.send(data);
}

template <typename Socket>
rondo::task<std::string> ask(Socket server) {
    co_await server.send("hello\r\n");
    server.shutdown(rondo::shutdown_mode::send);
    rondo::buffered_reader lines(server);
    auto line = co_await rondo::with_timeout(10s, lines.read_line());
    co_return line ? std::string(*line) : std::string();
}

rondo::task<std::string> over_tcp() {
    auto listener = rondo::tcp_listener::listen({rondo::ip_address::v4_loopback(), 0});
    auto server = co_await rondo::tcp_connect(listener.local_endpoint());
    auto both = co_await rondo::when_all(answer_one(listener), ask(std::move(server)));
    co_return std::get<1>(both);
}

rondo::task<std::string> over_a_pair() {
    auto pair = rondo::testing::unix_socket_pair();
    co_await pair.a.send("hello\n");
    co_return co_await ask(std::move(pair.b));
}

int main() {
    const std::string first = rondo::run(over_tcp());
    std::atomic<int> good = 0;
    rondo::run({.threads = 2}, [&good]() -> rondo::task<> {
        const std::string line = co_await over_a_pair();
        if (line == "hello") good.fetch_add(1);
    });
    const auto where = rondo::endpoint::parse("[::1]:80");
    fmt::print("{} from {} and {} threads\n", first, where.value(), good.load());
    return first == "hello" && good == 2 ? 0 : 1;
}
