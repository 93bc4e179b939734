// TCP: sockets and listeners, with the verbs of the sockets API.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/io/accept_state.hpp>
#include <rondo/net/connect_operation.hpp>
#include <rondo/net/endpoint.hpp>
#include <rondo/net/receive_operation.hpp>
#include <rondo/net/send_operation.hpp>
#include <rondo/net/socket_error.hpp>
#include <rondo/net/socket_option.hpp>
#include <rondo/task/task.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

enum class ip_version : std::uint8_t { v4, v6 };

enum class shutdown_mode : std::uint8_t { receive, send, both };  ///< shutdown(2)

/// What release() hands over.
struct released_socket {
    detail::unique_fd descriptor;
    std::vector<std::byte> received;  ///< arrived and not yet read
    std::error_code error;            ///< what ended the connection meanwhile; read it after them
};

namespace detail {

struct abandon_state {
    void operator()(auto* state) const noexcept { state->abandon(); }
};

using owned_receive_state = std::unique_ptr<receive_state, abandon_state>;
using owned_accept_state = std::unique_ptr<accept_state, abandon_state>;

task<> close_socket(owned_receive_state state);
task<> close_socket(owned_accept_state state);
task<released_socket> release_socket(owned_receive_state state);

/// socket(2), throwing.
unique_fd open_tcp(ip_version version);
void bind_tcp(int descriptor, const endpoint& local);

template <socket_option Option>
void set_or_throw(int descriptor, const Option& option) {
    if (const std::error_code failed = set_option(descriptor, option)) {
        throw_socket_error(Option::title, failed.value());
    }
}

}  // namespace detail

/// A TCP connection, or a socket on its way to be one. It moves; it belongs to the scheduler it
/// was first used on. At most one receive and one send at a time (more is misuse), and a receive
/// and a send may overlap. Operations throw socket_error, or operation_canceled in a cancelled
/// scope; a cancelled receive loses nothing.
///
/// Destroyed, it never blocks and never leaks: what was sent is delivered, the peer gets the end
/// of the stream, and the descriptor is closed, after a shutdown(2) if a receive is armed (which
/// ends duplicates of the descriptor too).
class tcp_socket {
public:
    /// A closed socket: everything but assignment and destruction is misuse.
    tcp_socket() noexcept = default;
    /// A new socket, tcp(7). Throws socket_error.
    explicit tcp_socket(ip_version version)
        : tcp_socket(detail::open_tcp(version)) {}
    /// Takes a connected (or new) descriptor, for instance a released one.
    explicit tcp_socket(detail::unique_fd descriptor);

    // --- before there is a connection ---

    /// bind(2): the local end. Port 0 lets the kernel choose.
    void bind(const endpoint& local) { detail::bind_tcp(descriptor(), local); }

    /// Completes when the connection is established. Throws what connect(2) reports. After a
    /// failure or cancellation the socket is good for nothing but closing.
    detail::connect_operation connect(const endpoint& remote) noexcept {
        return detail::connect_operation(*state_, remote);
    }

    // --- the connection ---

    /// Completes when bytes are there, at the end of the stream or on failure. Returns the count;
    /// 0 means that the peer has shut down its side. `buffer` must live until then. Cancelled, it
    /// throws, unless bytes had come: these are returned, and nothing is ever lost.
    detail::receive_bytes_operation recv(std::span<std::byte> buffer) noexcept {
        return detail::receive_bytes_operation(*state_, buffer);
    }

    /// The same on lease: returns a chunk of the scheduler's buffers, false at the end of the
    /// stream. An idle connection holds no buffer. The first call arms a receive that stays armed,
    /// also over a cancellation; what comes meanwhile is there for the next call of either recv.
    detail::receive_chunk_operation recv() noexcept {
        return detail::receive_chunk_operation(*state_);
    }

    /// Completes when the kernel has taken all of `data` (not: when the peer has it). `data` must
    /// live until then. Cut short by failure or cancellation it throws, and the error tells
    /// transferred().
    detail::send_operation send(const_buffer data) noexcept {
        return detail::send_operation(*state_, data.data(), data.size());
    }
    /// The same for a chunk: the usual way, a little shorter.
    detail::send_operation send(const chunk& data) noexcept {
        return detail::send_operation(*state_, data.data(), data.size());
    }
    /// Several buffers as if they were one.
    detail::gather_operation send(std::span<const const_buffer> buffers) noexcept {
        return detail::gather_operation(*state_, buffers);
    }
    template <std::convertible_to<const_buffer>... More>
    detail::gather_list_operation<2 + sizeof...(More)> send(const_buffer first,
                                                            const_buffer second,
                                                            const More&... more) noexcept {
        const std::array<const_buffer, 2 + sizeof...(More)> list = {first, second,
                                                                    const_buffer(more)...};
        return detail::gather_list_operation<2 + sizeof...(More)>(*state_, list);
    }

    /// Completes when the kernel has taken at least one byte; returns how many. As send() else.
    detail::send_some_operation send_some(const_buffer data) noexcept {
        return detail::send_some_operation(*state_, data);
    }

    /// shutdown(2). Throws socket_error.
    void shutdown(shutdown_mode mode);

    /// Completes when what other tasks await on this socket has been cancelled and has ended, and
    /// the descriptor is closed. The destructor does the same in the background. Never throws.
    task<> close() { return detail::close_socket(std::move(state_)); }

    /// As close(), but the descriptor is returned, non-blocking, with what was received and not
    /// yet read: the way to move a connection to another scheduler or library.
    task<released_socket> release() { return detail::release_socket(std::move(state_)); }

    /// From now on a receive reports a reset by the peer as the end of the stream instead of
    /// throwing connection_lost. For protocols that lose nothing by an end at any point: a
    /// receiver cannot tell a complete stream from one cut short any more.
    void end_on_reset(bool enabled = true) noexcept { state_->set_end_on_reset(enabled); }

    // --- about it ---

    endpoint local_endpoint() const;   ///< getsockname(2); throws socket_error
    endpoint remote_endpoint() const;  ///< getpeername(2); throws socket_error

    template <socket_option Option>
    void set(const Option& option) {
        detail::set_or_throw(descriptor(), option);
    }
    template <socket_option Option>
    Option get() const {
        return get_option<Option>(descriptor());
    }

    bool is_open() const noexcept { return state_ != nullptr; }
    int descriptor() const noexcept { return state_->descriptor(); }

    /// Asks the kernel for the peer's name now, so that errors can tell it when the connection is
    /// lost; then the kernel no longer knows. connect() and tcp_serve() do it by themselves.
    void remember_peer() noexcept { detail::remember_peer(*state_); }

    /// For the library's servers and tests.
    receive_state& state() noexcept { return *state_; }

private:
    detail::owned_receive_state state_;
};

namespace detail {

class accept_operation final : public accept_waiter {
public:
    explicit accept_operation(accept_state& state) noexcept : accept_waiter(state) {}

    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting) {
        return wait(awaiting, awaiting.promise().task_context());
    }
    tcp_socket await_resume();
    std::error_code error() noexcept;

private:
    void collect() noexcept;

    bool collected_ = false;  // result_ is final
};

}  // namespace detail

/// A listening TCP socket. It moves; it belongs to the scheduler it was first used on.
class tcp_listener {
public:
    static constexpr int default_backlog = 4096;  ///< clipped by net.core.somaxconn

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
    void listen(int backlog = default_backlog);

    /// Completes when a connection is there; returns it. Throws socket_error: EMFILE, ENFILE and
    /// ENOBUFS leave the connection in the backlog for a later call. Cancelled, it throws, and who
    /// connects meanwhile is there for the next call.
    detail::accept_operation accept() noexcept { return detail::accept_operation(*state_); }

    /// As tcp_socket::close(); connections that were accepted and not delivered are closed.
    task<> close() { return detail::close_socket(std::move(state_)); }

    endpoint local_endpoint() const;

    template <socket_option Option>
    void set(const Option& option) {
        detail::set_or_throw(descriptor(), option);
    }
    template <socket_option Option>
    Option get() const {
        return get_option<Option>(descriptor());
    }

    bool is_open() const noexcept { return state_ != nullptr; }
    int descriptor() const noexcept { return state_->descriptor(); }
    accept_state& state() noexcept { return *state_; }

private:
    detail::owned_accept_state state_;
};

/// Opens a connection to `remote`. Throws socket_error.
task<tcp_socket> tcp_connect(endpoint remote);

/// The same for what a user types: `127.0.0.1:80`, `[::1]:80`, `localhost:80`. Tries the endpoints
/// it means one after the other; throws the last failure.
task<tcp_socket> tcp_connect(std::string host_port);

}  // namespace rondo::inline v0
