// Pairs of connected sockets for tests of what holds over TCP and over Unix sockets alike.
#pragma once

#include <rondo/net/stream_socket.hpp>

#include <support/raw_peer.hpp>

#include <utility>

namespace rondo::test {

enum class transport { tcp, unix_stream };

struct stream_pair {
    stream_pair(stream_socket first, stream_socket second) noexcept
        : a(std::move(first)), b(std::move(second)) {}

    stream_socket a;
    stream_socket b;
};

task<stream_pair> connected_pair(transport over);

/// The same with buffers of few kilobytes in the kernel, so that little fills them.
task<stream_pair> narrow_pair(transport over);

struct raw_stream_pair {
    stream_socket socket;
    raw_peer peer;
};
/// A connected socket that no scheduler has seen yet, and its peer.
raw_stream_pair connected_to_raw_peer(transport over);

}  // namespace rondo::test
