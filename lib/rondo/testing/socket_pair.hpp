// Two connected sockets, for tests of what speaks over one.
#pragma once

#include <rondo/net/stream_socket.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/task/task.hpp>

namespace rondo::inline v0::testing {

/// Both ends of a connection, in one process; no scheduler has seen them yet. Kept apart as two
/// members, so that each can be moved to a task of its own.
template <typename Socket>
struct socket_pair {
    Socket a;
    Socket b;
};

/// Over a Unix socket: no port, no name, no delay, and a reset only by closing with data unread.
/// Throws socket_error.
socket_pair<unix_socket> unix_socket_pair();

/// Over TCP on 127.0.0.1: `a` has connected, `b` was accepted. For what needs endpoints, options of
/// TCP or real resets. Throws socket_error.
socket_pair<tcp_socket> tcp_socket_pair();

}  // namespace rondo::inline v0::testing
