#include <rondo/net/quiesce.hpp>
#include <rondo/net/socket_error.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/net/tcp_info.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <tuple>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

unique_fd open_tcp(ip_version version) {
    const int family = version == ip_version::v4 ? AF_INET : AF_INET6;
    // Non-blocking on both engines: the ring does not care, epoll needs it.
    unique_fd made(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!made) throw_socket_error("socket", errno);
    return made;
}

void bind_tcp(int descriptor, const endpoint& local) {
    const socket_address name(local);
    if (::bind(descriptor, name.data(), name.size()) != 0) {
        throw_socket_error("bind", errno, &local);
    }
}

task<> abort_connection(owned_receive_state state) {
    // Closing sends a reset then. It cannot fail on a socket, and closing is right in any case.
    std::ignore = linger(std::chrono::seconds(0)).apply(state->descriptor());
    co_await close_quiet(std::move(state));
}

}  // namespace detail

tcp_info tcp_socket::info() const {
    tcp_info made = tcp_info::of(descriptor());
    made.unread += state_->undelivered_bytes();
    return made;
}

endpoint tcp_socket::local_endpoint() const { return detail::local_endpoint_of(descriptor()); }
endpoint tcp_socket::remote_endpoint() const { return detail::remote_endpoint_of(descriptor()); }

namespace {

detail::unique_fd open_listener(ip_version version) {
    detail::unique_fd opened = detail::open_tcp(version);
    if (version == ip_version::v6) {
        // So that [::]:80 and 0.0.0.0:80 can be listened on side by side.
        const int on = 1;
        ::setsockopt(opened.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    return opened;
}

}  // namespace

tcp_listener::tcp_listener(ip_version version) : stream_listener(open_listener(version)) {}

endpoint tcp_listener::local_endpoint() const { return detail::local_endpoint_of(descriptor()); }

task<tcp_socket> tcp_connect(endpoint remote) {
    tcp_socket made(remote.address().is_v4() ? ip_version::v4 : ip_version::v6);
    co_await made.connect(remote);
    co_return made;
}

}  // namespace rondo::inline v0
