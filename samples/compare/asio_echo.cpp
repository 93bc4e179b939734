// The echo server with Asio's coroutines, for `./samples/run compare`: one for each connection.
//
//     build/release/samples/compare_asio_epoll 127.0.0.1:0    prints where it listens
//     build/release/samples/compare_asio_uring 127.0.0.1:0    the same source on Asio's io_uring
//
// Written as Asio's own examples are: each connection has a buffer in its coroutine. Errors come as
// values, so that a client that hangs up costs no exception.
#include <asio.hpp>

#include <sys/resource.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace {

using asio::ip::tcp;

constexpr std::size_t buffer_size = 16384;  // as echo_threads and echo_one_at_a_time have it

// As all variants: the soft limit of 1024 would end them at as many connections.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

tcp::endpoint parse(const std::string& where) {
    const auto colon = where.rfind(':');
    if (colon == std::string::npos) throw std::invalid_argument("not ADDRESS:PORT: " + where);
    const auto address = asio::ip::make_address(where.substr(0, colon));
    const int port = std::stoi(where.substr(colon + 1));
    if (port < 0 || port > 65535) throw std::invalid_argument("no port: " + where);
    return {address, static_cast<unsigned short>(port)};
}

asio::awaitable<void> echo(tcp::socket peer) {
    std::array<char, buffer_size> buffer;
    std::error_code error;
    peer.set_option(tcp::no_delay(true), error);
    for (;;) {
        auto token = asio::redirect_error(asio::use_awaitable, error);
        const std::size_t n = co_await peer.async_read_some(asio::buffer(buffer), token);
        if (error) co_return;
        co_await asio::async_write(peer, asio::buffer(buffer, n), token);
        if (error) co_return;
    }
}

asio::awaitable<void> serve(tcp::acceptor& listener) {
    for (;;) {
        tcp::socket peer = co_await listener.async_accept(asio::use_awaitable);
        asio::co_spawn(listener.get_executor(), echo(std::move(peer)), asio::detached);
    }
}

void run(const std::string& where) {
    raise_descriptor_limit();
    asio::io_context loop(1);  // one thread, which Asio makes use of
    tcp::acceptor listener(loop, parse(where));
    listener.listen(tcp::socket::max_listen_connections);
    asio::signal_set signals(loop, SIGINT, SIGTERM);
    signals.async_wait([&loop](std::error_code, int) { loop.stop(); });
    const auto local = listener.local_endpoint();
    std::printf("listening on %s:%d\n", local.address().to_string().c_str(), local.port());
    std::fflush(stdout);
    asio::co_spawn(loop, serve(listener), [](std::exception_ptr failure) {
        if (failure) std::rethrow_exception(failure);
    });
    loop.run();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s ADDRESS:PORT\n", argv[0]);
        return 2;
    }
    try {
        run(argv[1]);
        return 0;
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "%s: %s\n", argv[0], failure.what());
        return 1;
    }
}
