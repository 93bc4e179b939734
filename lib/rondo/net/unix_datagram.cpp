#include <rondo/net/socket_error.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/net/unix_datagram.hpp>

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

unix_address datagram_address<unix_address>::from_wire(std::span<const std::byte> name) noexcept {
    unix_socket_address address;
    const std::size_t size = std::min<std::size_t>(name.size(), address.size());
    std::memcpy(address.data(), name.data(), size);
    *address.size_pointer() = static_cast<std::uint32_t>(size);
    return address.to_address().value_or(unix_address());
}

bool datagram_address<unix_address>::find_remote(int descriptor, unix_address& remote) noexcept {
    unix_socket_address name;
    if (::getpeername(descriptor, name.data(), name.size_pointer()) != 0) return false;
    const auto found = name.to_address();
    if (found) remote = *found;
    return found && !found->is_unnamed();
}

void datagram_address<unix_address>::fail(const char* verb, int error,
                                          const unix_address* where) {
    throw_socket_error(verb, error, where != nullptr ? socket_place(*where) : socket_place());
}

}  // namespace detail

namespace {

constexpr int kind = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

detail::unique_fd open_unix() {
    detail::unique_fd made(::socket(AF_UNIX, kind, 0));
    if (!made) throw_socket_error("socket", errno);
    return made;
}

}  // namespace

unix_datagram_socket::unix_datagram_socket(detail::unique_fd descriptor)
    : datagram_socket(std::move(descriptor), sizeof(sockaddr_un)) {}

unix_datagram_socket unix_datagram_socket::open() { return unix_datagram_socket(open_unix()); }

unix_datagram_socket unix_datagram_socket::bind(const unix_address& local) {
    unix_datagram_socket made = open();
    if (local.is_path()) {
        made.file_ = detail::socket_file::bind(made.descriptor(), local);
        return made;
    }
    const unix_socket_address name(local);
    if (::bind(made.descriptor(), name.data(), name.size()) != 0) {
        throw_socket_error("bind", errno, socket_place(local));
    }
    return made;
}

std::pair<unix_datagram_socket, unix_datagram_socket> unix_datagram_socket::pair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, kind, 0, ends.data()) != 0) throw_socket_error("socketpair", errno);
    detail::unique_fd first(ends[0]);
    detail::unique_fd second(ends[1]);
    return {unix_datagram_socket(std::move(first)), unix_datagram_socket(std::move(second))};
}

void unix_datagram_socket::connect(const unix_address& remote) {
    const unix_socket_address name(remote);
    if (::connect(descriptor(), name.data(), name.size()) != 0) {
        throw_socket_error("connect", errno, socket_place(remote));
    }
}

unix_address unix_datagram_socket::local_address() const {
    return detail::local_address_of(descriptor());
}
unix_address unix_datagram_socket::remote_address() const {
    return detail::remote_address_of(descriptor());
}

}  // namespace rondo::inline v0
