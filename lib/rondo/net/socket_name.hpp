// The two ends of a socket, asked of the kernel.
#pragma once

#include <rondo/net/endpoint.hpp>

#include <cstddef>
#include <optional>

namespace rondo::inline v0::detail {

/// getsockname(2). Throws socket_error.
endpoint local_endpoint_of(int descriptor);
/// getpeername(2). Throws socket_error.
endpoint remote_endpoint_of(int descriptor);
/// The same, nothing where the kernel does not know (any more).
std::optional<endpoint> find_remote_endpoint(int descriptor) noexcept;

/// Throws what an operation on a connected socket failed with: operation_canceled, or a
/// socket_error that names the verb and the peer.
[[noreturn]] void throw_failed(const char* verb, int descriptor, int error,
                               std::size_t transferred = 0);

}  // namespace rondo::inline v0::detail
