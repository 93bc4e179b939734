// Bytes of a known pattern over any connected socket.
#pragma once

#include <rondo/net/stream_socket.hpp>
#include <rondo/task/when_all.hpp>

#include <seeds/play.hpp>

namespace rondo::test {

/// Sends `total` bytes of the stream `key` in pieces and ways drawn, and ends the stream.
task<> send_stream(play& here, stream_socket& to, std::uint64_t key, std::size_t total);

/// Receives to the end of the stream, in ways drawn; returns how many bytes came, all right.
task<std::size_t> check_stream(play& here, stream_socket& from, std::uint64_t key);

/// Sends back what comes.
task<> echo_back(play& here, stream_socket peer);

/// Sends `total` bytes and checks that they come back.
task<> converse(play& here, stream_socket& with, std::uint64_t key, std::size_t total);

}  // namespace rondo::test
