// Socket options of ip(7) and ipv6(7).
#pragma once

#include <rondo/net/socket_option.hpp>

#include <string>
#include <system_error>

namespace rondo::inline v0 {

/// Keeps an IPv6 socket off IPv4, so that the same port can be bound for both (IPV6_V6ONLY,
/// ipv6(7)). IPv6 sockets only, before bind.
struct v6_only {
    static constexpr const char* title = "v6_only";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static v6_only read(int fd);
    friend bool operator==(const v6_only&, const v6_only&) = default;
};

/// How many routers a packet may pass, 1 to 255 (IP_TTL, ip(7)). On an IPv6 socket it is the hop
/// limit (IPV6_UNICAST_HOPS, ipv6(7)), and that of the IPv4 packets it may send as well.
class ttl {
public:
    static constexpr const char* title = "ttl";

    constexpr explicit ttl(int hops) : hops_(detail::checked_option(title, hops, 1, 255)) {}

    [[nodiscard]] constexpr int hops() const noexcept { return hops_; }

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static ttl read(int fd);
    friend bool operator==(const ttl&, const ttl&) = default;

private:
    int hops_;
};

/// How many routers a multicast packet may pass, 0 to 255: 0 stays on this host, 1, the default, in
/// its network (IP_MULTICAST_TTL, ip(7); IPV6_MULTICAST_HOPS, ipv6(7)). Datagram sockets only.
class multicast_ttl {
public:
    static constexpr const char* title = "multicast_ttl";

    constexpr explicit multicast_ttl(int hops)
        : hops_(detail::checked_option(title, hops, 0, 255)) {}

    [[nodiscard]] constexpr int hops() const noexcept { return hops_; }

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static multicast_ttl read(int fd);
    friend bool operator==(const multicast_ttl&, const multicast_ttl&) = default;

private:
    int hops_;
};

/// Whether members of a group on this host get what this socket sends to it. On by default
/// (IP_MULTICAST_LOOP, ip(7); IPV6_MULTICAST_LOOP, ipv6(7)).
struct multicast_loop {
    static constexpr const char* title = "multicast_loop";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static multicast_loop read(int fd);
    friend bool operator==(const multicast_loop&, const multicast_loop&) = default;
};

/// The interface that multicast is sent from (IP_MULTICAST_IF, ip(7); IPV6_MULTICAST_IF, ipv6(7));
/// without it, or with index 0, what the routes say. IPv4 packets carry the interface's first
/// address then. Datagram sockets only.
class multicast_interface {
public:
    static constexpr const char* title = "multicast_interface";

    /// By its index, see `ip link`.
    constexpr explicit multicast_interface(unsigned index) noexcept : index_(index) {}
    /// By its name, such as "eth0". Throws `std::errc::invalid_argument` where there is none.
    explicit multicast_interface(const std::string& name);

    [[nodiscard]] constexpr unsigned index() const noexcept { return index_; }

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    /// Of an IPv4 socket the kernel tells the address alone: the interface that has it now, or 0.
    static multicast_interface read(int fd);
    friend bool operator==(const multicast_interface&, const multicast_interface&) = default;

private:
    unsigned index_;
};

}  // namespace rondo::inline v0
