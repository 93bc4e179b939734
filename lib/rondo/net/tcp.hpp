// TCP: sockets and listeners, with the verbs of the sockets API.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/accept_operation.hpp>
#include <rondo/net/connect_operation.hpp>
#include <rondo/net/endpoint.hpp>
#include <rondo/net/stream_listener.hpp>
#include <rondo/net/stream_socket.hpp>
#include <rondo/net/tcp_option.hpp>
#include <rondo/task/task.hpp>

#include <utility>

namespace rondo::inline v0 {

struct tcp_info;

namespace detail {

/// socket(2), throwing.
unique_fd open_tcp(ip_version version);
void bind_tcp(int descriptor, const endpoint& local);
task<> abort_connection(owned_receive_state state);

}  // namespace detail

/// A TCP connection, or a socket on its way to be one.
class tcp_socket : public stream_socket {
public:
    /// A closed socket: everything but assignment and destruction is misuse.
    tcp_socket() noexcept = default;
    /// A new socket, tcp(7). Throws socket_error.
    explicit tcp_socket(ip_version version)
        : tcp_socket(detail::open_tcp(version)) {}
    /// Takes a connected (or new) descriptor, for instance a released one.
    explicit tcp_socket(detail::unique_fd descriptor) : stream_socket(std::move(descriptor)) {}
    /// Takes a connection that is known to be TCP.
    explicit tcp_socket(stream_socket&& connected) noexcept : stream_socket(std::move(connected)) {}

    /// bind(2): the local end. Port 0 lets the kernel choose.
    void bind(const endpoint& local) { detail::bind_tcp(descriptor(), local); }

    /// Completes when the connection is established. Throws what connect(2) reports. After a
    /// failure or cancellation the socket is good for nothing but closing.
    detail::connect_operation connect(const endpoint& remote) noexcept {
        return detail::connect_operation(*state_, remote);
    }

    /// As close(), but the peer gets a reset instead of the end of the stream: both sides forget
    /// the connection, with what was sent and not yet delivered, and no TIME-WAIT stays behind
    /// (linger of 0 s). A duplicate of the descriptor keeps the connection, unless a
    /// send_zero_copy() had to be dropped. Never throws.
    task<> abort() { return detail::abort_connection(std::move(state_)); }

    /// The connection's state, times and queues now (net/tcp_info.hpp). `unread` counts what recv()
    /// has brought ahead, too. Throws socket_error.
    tcp_info info() const;

    endpoint local_endpoint() const;   ///< getsockname(2); throws socket_error
    endpoint remote_endpoint() const;  ///< getpeername(2); throws socket_error

    /// Asks the kernel for the peer's name now, so that errors can tell it when the connection is
    /// lost; then the kernel no longer knows. connect() and tcp_serve() do it by themselves.
    void remember_peer() noexcept { detail::remember_peer(*state_); }
};

/// A listening TCP socket.
class tcp_listener : public stream_listener {
public:
    /// A closed listener.
    tcp_listener() noexcept = default;
    /// A new socket, not yet bound.
    explicit tcp_listener(ip_version version);

    /// socket(2), the options, bind(2), listen(2). Port 0 lets the kernel choose, see
    /// local_endpoint(). An IPv6 listener takes no IPv4 connections. Throws socket_error.
    template <socket_option... Options>
    static tcp_listener listen(const endpoint& local, const Options&... options) {
        tcp_listener made(local.address().is_v4() ? ip_version::v4 : ip_version::v6);
        (made.set(options), ...);
        made.bind(local);
        made.listen();
        return made;
    }

    void bind(const endpoint& local) { detail::bind_tcp(descriptor(), local); }
    using stream_listener::listen;

    /// Completes when a connection is there; returns it. Throws socket_error: EMFILE, ENFILE and
    /// ENOBUFS leave the connection in the backlog for a later call. Cancelled, it throws, and who
    /// connects meanwhile is there for the next call.
    detail::accept_operation<tcp_socket> accept() noexcept {
        return detail::accept_operation<tcp_socket>(*state_);
    }

    endpoint local_endpoint() const;
};

/// Opens a connection to `remote`; returns it. Throws socket_error, or operation_canceled; nothing
/// is left open then. By name: net/happy_eyeballs.hpp.
task<tcp_socket> tcp_connect(endpoint remote);

}  // namespace rondo::inline v0
