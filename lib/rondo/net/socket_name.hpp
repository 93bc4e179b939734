// The two ends of a socket, asked of the kernel.
#pragma once

#include <rondo/net/endpoint.hpp>
#include <rondo/net/socket_error.hpp>

#include <cstddef>
#include <optional>
#include <string>

namespace rondo::inline v0 {
class receive_state;
}

namespace rondo::inline v0::detail {

/// getsockname(2). Throws socket_error.
endpoint local_endpoint_of(int descriptor);
/// getpeername(2). Throws socket_error.
endpoint remote_endpoint_of(int descriptor);
/// The same for a Unix socket. Throws socket_error.
unix_address local_address_of(int descriptor);
unix_address remote_address_of(int descriptor);

/// Keeps what getpeername(2) says in the state. Where it fails nothing is kept, nor for a Unix
/// socket, whose peer's name the kernel does not forget.
void remember_peer(receive_state& state) noexcept;
void remember_peer(receive_state& state, const socket_address& name) noexcept;
/// The kept name, or what getpeername(2) says now. For a Unix socket whose peer is unnamed its own
/// name, which is that of the server.
socket_place peer_of(const receive_state& state) noexcept;

/// The peer's name for dump_tasks(): "127.0.0.1:8000", "a peer without a name".
std::string peer_text(const receive_state& state);
/// The same of this end.
std::string local_text(int descriptor);

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
