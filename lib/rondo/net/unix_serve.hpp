// A server on a Unix socket: one isolated task per connection.
#pragma once

#include <rondo/net/stream_listener.hpp>
#include <rondo/net/stream_server.hpp>
#include <rondo/net/stream_socket.hpp>
#include <rondo/net/unix.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
#include <optional>
#include <utility>

namespace rondo::inline v0 {

/// As serve_options, for unix_serve().
struct unix_serve_options {
    std::size_t max_connections = std::numeric_limits<std::size_t>::max();
    int backlog = unix_listener::default_backlog;
    std::optional<mode_t> permissions = {};  ///< of the file, see unix_listen_options
    /// Connections get unix_socket::end_on_reset().
    bool end_on_reset = false;
    /// Called when the server listens, with its address.
    std::function<void(const unix_address&)> on_listening = {};
    std::function<void(std::exception_ptr)> on_failure = {};
    serve_stats* stats = nullptr;
};

namespace detail {

/// One unix_serve() call.
class unix_server final : public stream_server {
public:
    using socket_type = unix_socket;

    unix_server(context& here, unix_serve_options options);

    void open(const unix_address& local);
    void open(unix_listener listener);
    void close_listeners() noexcept;

private:
    unix_serve_options options_;
    unix_listener listener_;
};

}  // namespace detail

/// As tcp_serve(), on a Unix socket: listens on `where`, a unix_address or its text, or an open
/// unix_listener, and runs `handler(unix_socket)` for every connection. Two things differ. Once a
/// graceful stop has begun, what a client still sends fails there (EPIPE), since on a Unix socket
/// shutdown(SHUT_RD) is felt by the peer. What it had sent before is served. And on several threads
/// (run_options::threads) the second call for an address ends with EADDRINUSE: tcp_serve()
/// alone shares its address.
template <typename Where, typename Handler>
    requires std::invocable<Handler&, unix_socket>
task<> unix_serve(Where where, Handler handler, unix_serve_options options = {}) {
    context& here = co_await this_context();
    detail::unix_server server(here, std::move(options));
    server.open(std::move(where));
    co_await detail::serve_all(server, handler);
}

}  // namespace rondo::inline v0
