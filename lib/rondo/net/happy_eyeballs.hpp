// Connecting by name: IPv6 and IPv4 race each other (RFC 8305).
#pragma once

#include <rondo/net/connect_error.hpp>
#include <rondo/net/endpoint.hpp>
#include <rondo/net/stream_socket.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/task/task.hpp>
#include <rondo/task/timer.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace rondo::inline v0 {

/// How tcp_connect() chooses among several addresses. Every field has a default.
struct connect_options {
    /// From one attempt to the next while none has ended. RFC 8305, section 8: from 100 ms to 2 s,
    /// and never below 10 ms; other values throw argument_error.
    clock::duration attempt_delay = std::chrono::milliseconds(250);
    /// Addresses of this version alone.
    std::optional<ip_version> version = {};
};

/// Completes when the first of several attempts has connected; returns that socket. The endpoints
/// are tried by turns of IPv6 and IPv4, in their order else; the next attempt begins when one has
/// failed, or after the delay, while the others go on. When this completes, they are cancelled,
/// joined and closed. Throws connect_error when all have failed (socket_error where there was one
/// endpoint only). Cancelled, it throws, unless there is a connection already.
task<tcp_socket> tcp_connect(std::vector<endpoint> candidates, connect_options options = {});

/// As tcp_connect(candidates), for what a user types: `example.com:80`, `localhost:http`,
/// `[::1]:80`. Throws what resolve() throws, too.
task<tcp_socket> tcp_connect(std::string host_port, connect_options options = {});

/// The order in which tcp_connect() tries `candidates`: by turns of IPv6 and IPv4, beginning with
/// the version of the first one.
std::vector<endpoint> connect_order(const std::vector<endpoint>& candidates);

}  // namespace rondo::inline v0
