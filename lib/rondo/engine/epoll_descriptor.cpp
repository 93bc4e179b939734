#include <rondo/engine/epoll_descriptor.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

namespace rondo::inline v0::detail {

epoll_descriptor::type epoll_descriptor::kind_of(int number) noexcept {
    if (kind != type::unknown) return kind;
    int value = 0;
    ::socklen_t size = sizeof value;
    kind = type::other;
    if (::getsockopt(number, SOL_SOCKET, SO_PROTOCOL, &value, &size) == 0 &&
        value == IPPROTO_TCP) {
        kind = type::tcp;
    } else if (::getsockopt(number, SOL_SOCKET, SO_TYPE, &value, &size) == 0 &&
               (value == SOCK_STREAM || value == SOCK_SEQPACKET)) {
        kind = type::stream;
    }
    return kind;
}

}  // namespace rondo::inline v0::detail
