#include <rondo/net/datagram.hpp>
#include <rondo/net/socket_error.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace rondo::inline v0::detail {

endpoint datagram_address<endpoint>::from_wire(std::span<const std::byte> name) noexcept {
    socket_address address;
    const std::size_t size = std::min<std::size_t>(name.size(), address.size());
    std::memcpy(address.data(), name.data(), size);
    *address.size_pointer() = static_cast<std::uint32_t>(size);
    return address.to_endpoint().value_or(endpoint());
}

bool datagram_address<endpoint>::find_remote(int descriptor, endpoint& remote) noexcept {
    socket_address name;
    if (::getpeername(descriptor, name.data(), name.size_pointer()) != 0) return false;
    const auto found = name.to_endpoint();
    if (found) remote = *found;
    return found.has_value();
}

void datagram_address<endpoint>::fail(const char* verb, int error, const endpoint* where) {
    throw_socket_error(verb, error, where);
}

}  // namespace rondo::inline v0::detail
