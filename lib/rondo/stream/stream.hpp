// What the algorithms over streams ask of a stream.
#pragma once

#include <rondo/const_buffer.hpp>
#include <rondo/shutdown_mode.hpp>
#include <rondo/task/awaitable.hpp>

#include <concepts>
#include <cstddef>
#include <span>

namespace rondo::inline v0 {

/// `co_await s.recv(buffer)` returns how many bytes came: at least one, or 0 at the end of the
/// stream, and 0 again when asked again. At most one receive at a time. A cancelled one loses
/// nothing.
template <typename S>
concept readable_stream = requires(S& s, std::span<std::byte> buffer) {
    requires std::same_as<await_result_t<decltype(s.recv(buffer))>, std::size_t>;
};

/// Received bytes that stand where the stream has put them, until the lease is destroyed or
/// assigned to. False and without bytes at the end of the stream. rondo::chunk is one.
template <typename L>
concept byte_lease = std::movable<L> && std::default_initializable<L> && requires(const L& lease) {
    static_cast<bool>(lease);
    { lease.bytes() } -> std::convertible_to<std::span<const std::byte>>;
};

/// A readable stream with a `recv()` of leases, in the same order as `recv(buffer)`: sockets have
/// it. Who has a lease should give it back before waiting for more.
template <typename S>
concept lease_stream = readable_stream<S> && requires(S& s) {
    requires byte_lease<await_result_t<decltype(s.recv())>>;
};

/// `co_await s.send(data)` sends all of it or throws; an error tells how much by transferred().
/// At most one send at a time.
template <typename S>
concept writable_stream = requires(S& s, const_buffer data) {
    requires std::same_as<await_result_t<decltype(s.send(data))>, void>;
};

/// A writable stream that sends several buffers as if they were one.
template <typename S>
concept gather_stream = writable_stream<S> && requires(S& s, std::span<const const_buffer> list) {
    requires std::same_as<await_result_t<decltype(s.send(list))>, void>;
};

/// Both ways, independent of each other: sockets, the ends of a pipe, a scripted_stream.
template <typename S>
concept stream = readable_stream<S> && writable_stream<S>;

/// A stream whose sending side can end while the other goes on.
template <typename S>
concept half_close_stream = stream<S> && requires(S& s) { s.shutdown(shutdown_mode::send); };

}  // namespace rondo::inline v0
