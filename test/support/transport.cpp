#include <support/tcp_pair.hpp>
#include <support/transport.hpp>

#include <rondo/net/unix.hpp>

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace rondo::test {

task<stream_pair> connected_pair(transport over) {
    if (over == transport::unix_stream) {
        auto ends = unix_socket::pair();
        stream_pair made(std::move(ends.first), std::move(ends.second));
        co_return made;
    }
    tcp_pair ends = co_await connected_pair();
    stream_pair made(std::move(ends.a), std::move(ends.b));
    co_return made;
}

task<stream_pair> narrow_pair(transport over) {
    if (over == transport::unix_stream) {
        stream_pair made = co_await connected_pair(over);
        // What is sent and not yet read is charged to the sender alone.
        made.a.set(send_buffer(4096));
        made.b.set(send_buffer(4096));
        co_return made;
    }
    tcp_pair ends = co_await narrow_pair();
    stream_pair made(std::move(ends.a), std::move(ends.b));
    co_return made;
}

raw_stream_pair connected_to_raw_peer(transport over) {
    if (over == transport::unix_stream) {
        std::array<int, 2> ends{};
        const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
        if (::socketpair(AF_UNIX, type, 0, ends.data()) != 0) {
            throw std::system_error(errno, std::generic_category(), "socketpair");
        }
        detail::unique_fd near(ends[0]);
        return {stream_socket(std::move(near)), raw_peer(detail::unique_fd(ends[1]))};
    }
    raw_pair ends = connected_to_raw_peer();
    return {std::move(ends.socket), std::move(ends.peer)};
}

}  // namespace rondo::test
