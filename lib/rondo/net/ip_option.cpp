#include <rondo/detail/socket_family.hpp>
#include <rondo/net/ip_option.hpp>
#include <rondo/net/socket_error.hpp>

#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace rondo::inline v0 {

namespace {

using detail::family_of;
using detail::get_int_option;
using detail::set_int_option;

/// What an option is called in each family.
struct family_names {
    int v4;
    int v6;
};

std::error_code failure() noexcept { return {errno, std::generic_category()}; }

/// An IPv6 socket gets it for both families: it may send IPv4 packets as well.
std::error_code set_for_family(int fd, const family_names& names, int value) noexcept {
    const int family = family_of(fd);
    if (family < 0) return failure();
    if (family == AF_INET6) {
        if (const auto error = set_int_option(fd, IPPROTO_IPV6, names.v6, value)) return error;
    }
    return set_int_option(fd, IPPROTO_IP, names.v4, value);
}

int get_for_family(int fd, const family_names& names, const char* verb) {
    const bool v6 = get_int_option(fd, SOL_SOCKET, SO_DOMAIN, verb) == AF_INET6;
    return v6 ? get_int_option(fd, IPPROTO_IPV6, names.v6, verb)
              : get_int_option(fd, IPPROTO_IP, names.v4, verb);
}

constexpr family_names hops_names = {IP_TTL, IPV6_UNICAST_HOPS};
constexpr family_names multicast_hops_names = {IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS};
constexpr family_names multicast_loop_names = {IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP};

constexpr auto get_interface = "get multicast_interface";

/// The first IPv4 address of an interface; 0.0.0.0 where it has none.
in_addr first_address(int fd, unsigned index) noexcept {
    ifreq request{};
    if (::if_indextoname(index, request.ifr_name) == nullptr) return {};
    if (::ioctl(fd, SIOCGIFADDR, &request) != 0) return {};
    sockaddr_in found{};
    std::memcpy(&found, &request.ifr_addr, sizeof found);
    return found.sin_addr;
}

unsigned interface_with(const in_addr& address) {
    ifaddrs* raw = nullptr;
    if (::getifaddrs(&raw) != 0) throw_socket_error(get_interface, errno);
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(raw, &::freeifaddrs);
    for (const ifaddrs* entry = raw; entry != nullptr; entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
        sockaddr_in here{};
        std::memcpy(&here, entry->ifa_addr, sizeof here);
        if (here.sin_addr.s_addr == address.s_addr) return ::if_nametoindex(entry->ifa_name);
    }
    return 0;
}

}  // namespace

std::error_code v6_only::apply(int fd) const noexcept {
    return set_int_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, enabled ? 1 : 0);
}

v6_only v6_only::read(int fd) {
    return {get_int_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, "get v6_only") != 0};
}

std::error_code ttl::apply(int fd) const noexcept {
    return set_for_family(fd, hops_names, hops_);
}

ttl ttl::read(int fd) { return ttl(get_for_family(fd, hops_names, "get ttl")); }

std::error_code multicast_ttl::apply(int fd) const noexcept {
    return set_for_family(fd, multicast_hops_names, hops_);
}

multicast_ttl multicast_ttl::read(int fd) {
    return multicast_ttl(get_for_family(fd, multicast_hops_names, "get multicast_ttl"));
}

std::error_code multicast_loop::apply(int fd) const noexcept {
    return set_for_family(fd, multicast_loop_names, enabled ? 1 : 0);
}

multicast_loop multicast_loop::read(int fd) {
    return {get_for_family(fd, multicast_loop_names, "get multicast_loop") != 0};
}

multicast_interface::multicast_interface(const std::string& name)
    : index_(::if_nametoindex(name.c_str())) {
    if (index_ == 0) {
        throw argument_error(fmt::format(
            "multicast_interface \"{}\": there is no such interface; see ip link", name));
    }
}

std::error_code multicast_interface::apply(int fd) const noexcept {
    const int family = family_of(fd);
    if (family < 0) return failure();
    const int index = static_cast<int>(index_);
    if (family == AF_INET6) {
        if (const auto error = set_int_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, index)) {
            return error;
        }
    }
    ip_mreqn wire{};
    wire.imr_ifindex = index;
    // With it the kernel tells the interface, by its address, when it is asked.
    wire.imr_address = first_address(fd, index_);
    if (::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &wire, sizeof wire) != 0) return failure();
    return {};
}

multicast_interface multicast_interface::read(int fd) {
    if (get_int_option(fd, SOL_SOCKET, SO_DOMAIN, get_interface) == AF_INET6) {
        const int index = get_int_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, get_interface);
        return multicast_interface(static_cast<unsigned>(index));
    }
    in_addr address{};
    socklen_t size = sizeof address;
    if (::getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &address, &size) != 0) {
        throw_socket_error(get_interface, errno);
    }
    return multicast_interface(address.s_addr == 0 ? 0 : interface_with(address));
}

}  // namespace rondo::inline v0
