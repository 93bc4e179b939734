// A TCP server: one isolated task per connection on whatever endpoints it listens.
#pragma once

#include <rondo/net/stream_listener.hpp>
#include <rondo/net/stream_server.hpp>
#include <rondo/net/stream_socket.hpp>
#include <rondo/net/tcp.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

/// How tcp_serve() serves. Every field has a default.
struct serve_options {
    /// Connections served at a time. At the limit accepting stops and newcomers wait in the
    /// backlog (one for each listener may have been accepted in the turn that reached it; it waits
    /// for its place unserved).
    std::size_t max_connections = std::numeric_limits<std::size_t>::max();
    int backlog = tcp_listener::default_backlog;
    /// Connections get no_delay{true}: what a handler sends at once is not held back until the
    /// peer has acknowledged what went before.
    bool no_delay = true;
    /// Connections get tcp_socket::end_on_reset(). A server of short connections whose clients
    /// hang up by a reset saves an exception each, about a tenth of what such a connection costs.
    bool end_on_reset = false;
    /// Called when the server listens, with the endpoints (ports chosen by the kernel filled in).
    /// On several threads, by the first of them alone.
    std::function<void(std::span<const endpoint>)> on_listening = {};
    /// Called with the exception that ended a connection's handler, cancellation left out. Where
    /// none is given, rondo::log gets a line, but for peers that reset or vanished: they are
    /// everyday.
    std::function<void(std::exception_ptr)> on_failure = {};
    /// Kept up to date while the server runs; must outlive it. Servers of one thread may share
    /// one.
    serve_stats* stats = nullptr;
};

namespace detail {

/// One tcp_serve() call.
class tcp_server final : public stream_server {
public:
    using socket_type = tcp_socket;

    tcp_server(context& here, serve_options options);

    void open(std::string_view host_port);
    void open(const endpoint& local);
    void open(tcp_listener listener);
    void close_listeners() noexcept;

private:
    void open(const std::string& name, std::span<const endpoint> wanted);
    std::vector<endpoint> open_first(std::span<const endpoint> wanted);
    bool open_all(std::span<const endpoint> wanted, bool may_retry);
    void take_up(tcp_listener& listener);
    void announce(std::span<const endpoint> locals);

    scheduler* scheduler_;
    serve_options options_;
    std::vector<tcp_listener> listeners_;
};

}  // namespace detail

/// Listens on `where` ("localhost:8000" is ::1 and 127.0.0.1; or an endpoint, or an open
/// tcp_listener) and runs `handler(tcp_socket)` for every connection, each in a task of its own. A
/// handler's exception ends its connection alone. Completes when a graceful stop was asked for and
/// all connections have ended: then accepting ends with those who have connected by then, as far as
/// there is room, and every served connection gets shutdown(SHUT_RD), so that it still reads what
/// was received, then the end of the stream, and can still send. Throws operation_canceled when
/// cancelled, after all handlers have ended, and socket_error when it cannot listen or accept. Out
/// of descriptors it backs off and goes on.
/// On several threads (run_options::threads), calls with the same `where` share its port: the first
/// one takes the address for itself alone, so that a clash shows, and the kernel spreads newcomers
/// over the threads (SO_REUSEPORT, socket(7)). Limits in the options count for each thread.
template <typename Where, typename Handler>
    requires std::invocable<Handler&, tcp_socket>
task<> tcp_serve(Where where, Handler handler, serve_options options = {}) {
    context& here = co_await this_context();
    detail::tcp_server server(here, std::move(options));
    server.open(std::move(where));
    co_await detail::serve_all(server, handler);
}

}  // namespace rondo::inline v0
