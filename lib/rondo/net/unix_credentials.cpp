#include <rondo/net/unix_credentials.hpp>

#include <sys/socket.h>

namespace rondo::inline v0 {

std::error_code pass_credentials::apply(int fd) const noexcept {
    return detail::set_int_option(fd, SOL_SOCKET, SO_PASSCRED, enabled ? 1 : 0);
}

pass_credentials pass_credentials::read(int fd) {
    return {detail::get_int_option(fd, SOL_SOCKET, SO_PASSCRED, "get pass_credentials") != 0};
}

}  // namespace rondo::inline v0
