// Two connected TCP sockets over loopback.
#pragma once

#include <rondo/net/tcp.hpp>

#include <utility>

namespace rondo::test {

struct tcp_pair {
    tcp_pair(tcp_socket first, tcp_socket second) noexcept
        : a(std::move(first)), b(std::move(second)) {}

    tcp_socket a;  ///< the end that connected
    tcp_socket b;  ///< the end that was accepted
};

/// A listener on 127.0.0.1 and a port of the kernel's choice.
tcp_listener listen_on_loopback();

/// listener.accept(), again where descriptors or memory ran out: a faulty_engine says so at times.
task<tcp_socket> accept_one(tcp_listener& listener);

/// A new pair; its listener is closed again.
task<tcp_pair> connected_pair();

/// A new pair whose end `a` goes to a listener that stays.
task<tcp_pair> connected_pair(tcp_listener& listener);

/// The same with buffers of few kilobytes in the kernel, so that little fills them.
task<tcp_pair> narrow_pair();

}  // namespace rondo::test
