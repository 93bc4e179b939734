#include <rondo/net/socket_name.hpp>

#include <sys/socket.h>

#include <cerrno>

namespace rondo::inline v0::detail {

namespace {

using name_call = int (*)(int, sockaddr*, socklen_t*) noexcept;

std::optional<endpoint> ask(name_call call, int descriptor) noexcept {
    socket_address name;
    if (call(descriptor, name.data(), name.size_pointer()) != 0) return std::nullopt;
    errno = EAFNOSUPPORT;  // should it be no internet address
    return name.to_endpoint();
}

}  // namespace

endpoint local_endpoint_of(int descriptor) {
    const auto found = ask(::getsockname, descriptor);
    if (!found) throw_socket_error("getsockname", errno);
    return *found;
}

endpoint remote_endpoint_of(int descriptor) {
    const auto found = ask(::getpeername, descriptor);
    if (!found) throw_socket_error("getpeername", errno);
    return *found;
}

std::optional<endpoint> find_remote_endpoint(int descriptor) noexcept {
    return ask(::getpeername, descriptor);
}

void throw_peer_error(const char* verb, int descriptor, int error, std::size_t transferred) {
    const auto peer = find_remote_endpoint(descriptor);
    throw_socket_error(verb, error, peer ? &*peer : nullptr, transferred);
}

}  // namespace rondo::inline v0::detail
