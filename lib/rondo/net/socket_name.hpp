// The two ends of a socket, asked of the kernel.
#pragma once

#include <rondo/net/endpoint.hpp>
#include <rondo/net/socket_error.hpp>

#include <cstddef>
#include <optional>

namespace rondo::inline v0 {
class receive_state;
}

namespace rondo::inline v0::detail {

/// getsockname(2). Throws socket_error.
endpoint local_endpoint_of(int descriptor);
/// getpeername(2). Throws socket_error.
endpoint remote_endpoint_of(int descriptor);
/// The same, nothing where the kernel does not know (any more).
std::optional<endpoint> find_remote_endpoint(int descriptor) noexcept;

/// Keeps what getpeername(2) says in the state. Where it fails nothing is kept.
void remember_peer(receive_state& state) noexcept;
void remember_peer(receive_state& state, const socket_address& name) noexcept;
/// The kept name, or what getpeername(2) says now; nothing where neither is known.
std::optional<endpoint> peer_of(const receive_state& state) noexcept;

/// Throws a socket_error that names the verb and this end of the socket.
[[noreturn]] void throw_local_error(const char* verb, int descriptor, int error);
/// Throws a socket_error that names the verb and the peer.
[[noreturn]] void throw_peer_error(const char* verb, const receive_state& state, int error,
                                   std::size_t transferred);
/// A connection_lost that does.
connection_lost lost_error(const char* verb, const receive_state& state, int error,
                           std::size_t transferred);

/// Throws what an operation on a connected socket failed with: operation_canceled, connection_lost
/// or a socket_error.
[[noreturn]] void throw_failed(const char* verb, const receive_state& state, int error,
                               std::size_t transferred = 0);

}  // namespace rondo::inline v0::detail
