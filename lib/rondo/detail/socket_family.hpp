// Of which address family a socket is.
#pragma once

#include <sys/socket.h>

namespace rondo::inline v0::detail {

/// AF_INET, AF_INET6, AF_UNIX or another; a negative number, with errno, where it is no socket.
inline int family_of(int descriptor) noexcept {
    int family = 0;
    socklen_t size = sizeof family;
    return ::getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 ? family : -1;
}

}  // namespace rondo::inline v0::detail
