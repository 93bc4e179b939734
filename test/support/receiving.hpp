// What many tests of sockets do with received bytes.
#pragma once

#include <rondo/net/stream_socket.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>

namespace rondo::test {

inline std::span<std::byte> writable(std::string& text) {
    return std::as_writable_bytes(std::span(text));
}

/// Reads by recv() until there are `size` bytes or the stream ends.
inline task<std::string> read_exactly(stream_socket& from, std::size_t size) {
    std::string all;
    while (all.size() < size) {
        const chunk next = co_await from.recv();
        if (!next) break;
        all += next.text();
    }
    co_return all;
}

/// Reads by recv() to the end of the stream.
inline task<std::string> read_to_end(stream_socket& from) {
    std::string all;
    while (const chunk next = co_await from.recv()) all += next.text();
    co_return all;
}

/// The same by recv(buffer), `step` bytes at a time.
inline task<std::string> read_exactly_into_buffer(stream_socket& from, std::size_t size,
                                                  std::size_t step) {
    std::string all;
    std::string part(step, '\0');
    while (all.size() < size) {
        const auto room = writable(part).first(std::min(step, size - all.size()));
        const std::size_t n = co_await from.recv(room);
        if (n == 0) break;
        all.append(part, 0, n);
    }
    co_return all;
}

}  // namespace rondo::test
