// A connected stream socket: what TCP and Unix sockets share.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/receive_operation.hpp>
#include <rondo/net/send_operation.hpp>
#include <rondo/net/socket_option.hpp>
#include <rondo/net/zero_copy_operation.hpp>
#include <rondo/shutdown_mode.hpp>
#include <rondo/task/task.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

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

task<> close_socket(owned_receive_state state);
task<released_socket> release_socket(owned_receive_state state);

}  // namespace detail

/// A connection that carries a stream of bytes, or a socket on its way to be one. It moves; it
/// belongs to the scheduler it was first used on. At most one receive and one send at a time (more
/// is misuse), and a receive and a send may overlap. Operations throw socket_error, or
/// operation_canceled in a cancelled scope; a cancelled receive loses nothing.
///
/// Destroyed, it never blocks and never leaks: what was sent is delivered, the peer gets the end
/// of the stream, and the descriptor is closed, after a shutdown(2) if a receive is armed (which
/// ends duplicates of the descriptor too).
///
/// tcp_socket and unix_socket add how they come to a connection. They convert to it, so that one
/// handler serves connections of both kinds.
class stream_socket {
public:
    /// A closed socket: everything but assignment and destruction is misuse.
    stream_socket() noexcept = default;
    /// Takes a connected (or new) descriptor, for instance a released one.
    explicit stream_socket(detail::unique_fd descriptor);

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
    /// As send(const_buffer), for a chunk: the usual way, a little shorter.
    detail::send_operation send(const chunk& data) noexcept {
        return detail::send_operation(*state_, data.data(), data.size());
    }
    /// As send(const_buffer), for several buffers as if they were one. The list must live until it
    /// completes, too; transferred() counts over all of them.
    detail::gather_operation send(std::span<const const_buffer> buffers) noexcept {
        return detail::gather_operation(*state_, buffers);
    }
    /// As send(const_buffer), for several buffers without a list of them: `send(header, body)`.
    template <std::convertible_to<const_buffer>... More>
    detail::gather_list_operation<2 + sizeof...(More)> send(const_buffer first,
                                                            const_buffer second,
                                                            const More&... more) noexcept {
        const std::array<const_buffer, 2 + sizeof...(More)> list = {first, second,
                                                                    const_buffer(more)...};
        return detail::gather_list_operation<2 + sizeof...(More)>(*state_, list);
    }

    /// Completes when the kernel has taken at least one byte; returns how many. `data` must live
    /// until then. Counts as a send. Cancelled, it throws, unless bytes were taken.
    detail::send_some_operation send_some(const_buffer data) noexcept {
        return detail::send_some_operation(*state_, data);
    }

    /// As send(), but the network card reads `data` where it lies: pays from some 16 KiB on.
    /// Returns when the kernel has let go of it, on TCP when the peer has acknowledged; so does a
    /// failure or cancellation, then throwing with transferred(). A cancelled one, by close() and
    /// release() too, waits 1 s for that, or as long as `linger` says: then it resets the
    /// connection. A plain send() where there is none such (Unix sockets, the epoll engine).
    detail::zero_copy_operation send_zero_copy(const_buffer data) noexcept {
        return detail::zero_copy_operation(*state_, data);
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

    /// setsockopt(2). Throws socket_error.
    template <socket_option Option>
    void set(const Option& option) {
        detail::set_or_throw(descriptor(), option);
    }
    /// getsockopt(2). Throws socket_error.
    template <socket_option Option>
    Option get() const {
        return get_option<Option>(descriptor());
    }

    bool is_open() const noexcept { return state_ != nullptr; }
    int descriptor() const noexcept { return state_->descriptor(); }

    /// For the library's servers and tests.
    receive_state& state() noexcept { return *state_; }

protected:
    detail::owned_receive_state state_;
};

}  // namespace rondo::inline v0
