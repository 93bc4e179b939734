// Two connected streams of each kind, under one name: for tests that run over all of them.
#pragma once

#include <rondo/net/unix.hpp>
#include <rondo/stream/pipe.hpp>

#include <support/tcp_pair.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace rondo::test {

/// Each kind has two functions; what they return has members `a` and `b`. Narrow ones take few
/// kilobytes before a send waits.
struct over_tcp {
    static auto connect() { return connected_pair(); }
    static auto connect_narrow() { return narrow_pair(); }
};

struct unix_pair {
    explicit unix_pair(std::pair<unix_socket, unix_socket> ends) noexcept
        : a(std::move(ends.first)), b(std::move(ends.second)) {}

    unix_socket a;
    unix_socket b;
};
struct over_unix {
    static task<unix_pair> connect() {
        unix_pair made(unix_socket::pair());
        co_return made;
    }
    static task<unix_pair> connect_narrow() {
        unix_pair made(unix_socket::pair());
        made.a.set(send_buffer{4096});
        made.b.set(send_buffer{4096});
        co_return made;
    }
};

struct over_pipe {
    static task<rondo::pipe> connect() {
        rondo::pipe made;
        co_return made;
    }
    static task<rondo::pipe> connect_narrow() {
        rondo::pipe made(1000);
        co_return made;
    }
};

/// Reads by recv(buffer) until `size` bytes have come or the stream has ended.
template <typename Stream>
task<std::string> receive_text(Stream& from, std::size_t size = std::string::npos) {
    std::string all;
    std::string part(4096, '\0');
    while (all.size() < size) {
        const std::size_t room = std::min(part.size(), size - all.size());
        const std::size_t n =
            co_await from.recv(std::as_writable_bytes(std::span(part).first(room)));
        if (n == 0) break;
        all.append(part, 0, n);
    }
    co_return all;
}

}  // namespace rondo::test
