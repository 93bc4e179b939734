#include <rondo/net/socket_error.hpp>
#include <rondo/testing/socket_pair.hpp>

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace rondo::inline v0::testing {

namespace {

// Blocking, so that it is connected on return: a listening socket lets it in by itself.
detail::unique_fd connect_to(const endpoint& remote) {
    detail::unique_fd made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!made) throw_socket_error("socket", errno);
    const socket_address name(remote);
    if (::connect(made.get(), name.data(), name.size()) != 0) {
        throw_socket_error("connect", errno, &remote);
    }
    if (::fcntl(made.get(), F_SETFL, O_NONBLOCK) != 0) throw_socket_error("fcntl", errno);
    return made;
}

}  // namespace

socket_pair<unix_socket> unix_socket_pair() {
    auto ends = unix_socket::pair();
    return {std::move(ends.first), std::move(ends.second)};
}

socket_pair<tcp_socket> tcp_socket_pair() {
    const tcp_listener listener = tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0));
    const endpoint local = listener.local_endpoint();
    tcp_socket a(connect_to(local));
    // Anybody may connect to the port meanwhile: theirs are dropped.
    for (;;) {
        detail::unique_fd accepted(
            ::accept4(listener.descriptor(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!accepted) throw_socket_error("accept", errno, &local);
        tcp_socket b(std::move(accepted));
        if (b.remote_endpoint() == a.local_endpoint()) return {std::move(a), std::move(b)};
    }
}

}  // namespace rondo::inline v0::testing
