// What UDP and Unix datagram sockets share.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/datagram_operation.hpp>
#include <rondo/net/socket_option.hpp>
#include <rondo/task/task.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

namespace detail {

struct abandon_datagrams {
    void operator()(datagram_state* state) const noexcept { state->abandon(); }
};
using owned_datagram_state = std::unique_ptr<datagram_state, abandon_datagrams>;

struct released_datagrams {
    unique_fd descriptor;
    std::vector<raw_datagram> received;
};

owned_datagram_state take_datagram_descriptor(unique_fd descriptor, std::size_t name_room);
task<> close_datagrams(owned_datagram_state state);
task<released_datagrams> release_datagrams(owned_datagram_state state);
std::uint64_t count_dropped(int descriptor);

}  // namespace detail

/// A socket whose messages keep their borders, and may be lost, doubled or out of order where a
/// network is between. It moves; it belongs to the scheduler it was first used on. Any number of
/// tasks may receive and send on it at a time: a datagram goes to the one that has waited longest,
/// and none is ever mixed with another. Operations throw socket_error, or operation_canceled in a
/// cancelled scope; what arrives meanwhile is there for the next receive.
///
/// A consumer that does not keep up is bounded: past 128 undelivered datagrams what comes waits in
/// the kernel, up to receive_buffer, and what does not fit there is lost; dropped() counts it.
///
/// Destroyed, it never blocks and never leaks: what was sent is delivered as far as the network
/// does, what arrived and was not received is lost, and the descriptor is closed.
template <typename Address>
class datagram_socket {
public:
    using address_type = Address;
    using datagram_type = basic_datagram<Address>;

    /// Completes when a datagram is there; returns its size, its sender, and what did not fit.
    /// Size 0 is an empty datagram, not an end. `buffer` must live until then. May overlap with
    /// any other operation. Cancelled, it throws, unless a datagram had come. After a recv_from()
    /// without a buffer a datagram is cut as it is there.
    detail::receive_from_operation<Address> recv_from(std::span<std::byte> buffer) noexcept {
        return detail::receive_from_operation<Address>(*state_, buffer);
    }

    /// Completes when a datagram is there; returns it on lease, in a buffer of the scheduler's, cut
    /// if it is longer than one (buffer_pool_options; 16 KiB, less 16 bytes and the sender's name).
    /// The first call arms a receive that stays armed, also over a cancellation, which throws; what
    /// comes meanwhile is there for the next receive of either kind.
    detail::receive_datagram_operation<Address> recv_from() noexcept {
        return detail::receive_datagram_operation<Address>(*state_, "recv_from");
    }

    /// As recv_from(), for a connected socket, where all comes from one peer. A datagram that
    /// nobody was there for makes the next receive or send throw ECONNREFUSED, once.
    detail::receive_datagram_operation<Address> recv() noexcept {
        return detail::receive_datagram_operation<Address>(*state_, "recv");
    }
    /// As recv_from(buffer), for a connected socket. Returns the count of bytes, 0 for an empty
    /// datagram; what does not fit is lost, and only recv_from() tells.
    detail::receive_count_operation<Address> recv(std::span<std::byte> buffer) noexcept {
        return detail::receive_count_operation<Address>(*state_, buffer);
    }

    /// Completes when the kernel has taken the datagram, as a rule at once (not: when the peer has
    /// it). `data` must live until then. May overlap with any other operation. All or nothing:
    /// EMSGSIZE when it is too long to be one, ENOBUFS when the interface's queue is full; where
    /// the socket's own buffer is full, it waits. Cancelled, it throws and has sent nothing.
    detail::send_to_operation<Address, detail::send_single> send_to(const_buffer data,
                                                                    const Address& to) noexcept {
        return {*state_, data, to};
    }
    /// As send_to(const_buffer), for several buffers as one datagram; those past 1023 are copied,
    /// as the kernel takes no more. The list need not live on.
    detail::send_to_operation<Address, detail::send_gathered> send_to(
        std::span<const const_buffer> buffers, const Address& to) {
        return {*state_, buffers, to};
    }
    /// As send_to(const_buffer), to the connected peer.
    detail::send_connected_operation<Address, detail::send_single> send(
        const_buffer data) noexcept {
        return {*state_, data};
    }
    /// As send_to(), for several buffers as one datagram to the connected peer.
    detail::send_connected_operation<Address, detail::send_gathered> send(
        std::span<const const_buffer> buffers) {
        return {*state_, buffers};
    }

    /// Completes when what other tasks await on this socket has been cancelled and has ended, and
    /// the descriptor is closed. The destructor does the same in the background. Never throws.
    task<> close() { return detail::close_datagrams(std::move(state_)); }

    /// What release() returns.
    struct released {
        detail::unique_fd descriptor;
        std::vector<datagram_type> received;  ///< arrived and not yet received
    };
    /// As close(), but returns the descriptor, non-blocking, with what was not yet received: the
    /// way to move a socket to another scheduler or library.
    task<released> release() { return release_from(std::move(state_)); }

    /// From now on no more is received than has arrived: when all of that was delivered, every
    /// receive throws operation_canceled. Sending goes on. For an orderly end of a server.
    void finish_receiving() { state_->finish(); }

    template <socket_option Option>
    void set(const Option& option) {
        detail::set_or_throw(descriptor(), option);
    }
    template <socket_option Option>
    Option get() const {
        return get_option<Option>(descriptor());
    }

    /// Datagrams that the kernel has dropped on arrival because the receive buffer was full, or
    /// that were damaged (SO_MEMINFO, socket(7)). Throws socket_error.
    std::uint64_t dropped() const { return detail::count_dropped(descriptor()); }

    bool is_open() const noexcept { return state_ != nullptr; }
    int descriptor() const noexcept { return state_->descriptor(); }

    /// For the library's servers and tests.
    datagram_state& state() noexcept { return *state_; }

protected:
    datagram_socket() noexcept = default;
    datagram_socket(detail::unique_fd descriptor, std::size_t name_room)
        : state_(detail::take_datagram_descriptor(std::move(descriptor), name_room)) {}
    datagram_socket(datagram_socket&&) noexcept = default;
    datagram_socket& operator=(datagram_socket&&) noexcept = default;
    ~datagram_socket() = default;

    detail::owned_datagram_state state_;

private:
    static task<released> release_from(detail::owned_datagram_state state) {
        auto raw = co_await detail::release_datagrams(std::move(state));
        released all;
        all.descriptor = std::move(raw.descriptor);
        for (raw_datagram& each : raw.received) all.received.emplace_back(std::move(each));
        co_return all;
    }
};

}  // namespace rondo::inline v0
