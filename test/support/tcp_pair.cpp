#include <support/tcp_pair.hpp>

#include <rondo/task/result.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>

namespace rondo::test {

namespace {

bool passes(const std::error_code& error) {
    switch (error.value()) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
            return true;
        default:
            return false;
    }
}

// Small segments belong to small buffers: where a window has no room for one of loopback's, which
// have 64 KiB, the kernel waits for its probe timer.
void narrow(int descriptor) {
    const int segment = 1024;
    const int buffer = 8 * segment;
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    ::setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    ::setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
}

}  // namespace

tcp_listener listen_on_loopback() {
    return tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0));
}

task<tcp_socket> accept_one(tcp_listener& listener) {
    for (;;) {
        auto accepted = co_await as_result(listener.accept());
        if (accepted || !passes(accepted.error())) co_return std::move(accepted.value());
    }
}

task<tcp_pair> connected_pair(tcp_listener& listener) {
    tcp_socket a(ip_version::v4);
    co_await a.connect(listener.local_endpoint());
    tcp_socket b = co_await accept_one(listener);
    tcp_pair made(std::move(a), std::move(b));
    co_return made;
}

task<tcp_pair> connected_pair() {
    tcp_listener listener = listen_on_loopback();
    tcp_pair made = co_await connected_pair(listener);
    co_await listener.close();
    co_return made;
}

task<tcp_pair> narrow_pair() {
    tcp_listener listener = listen_on_loopback();
    // What connects later inherits it; set afterwards it would not shrink the window.
    narrow(listener.descriptor());
    tcp_socket a(ip_version::v4);
    narrow(a.descriptor());
    co_await a.connect(listener.local_endpoint());
    tcp_socket b = co_await accept_one(listener);
    co_await listener.close();
    tcp_pair made(std::move(a), std::move(b));
    co_return made;
}

}  // namespace rondo::test
