#include <rondo/net/ip_option.hpp>
#include <rondo/net/option_hint.hpp>
#include <rondo/net/tcp_option.hpp>
#include <rondo/net/unix_credentials.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>

namespace rondo::inline v0::detail {

namespace {

/// An option, and what to say where the socket is of a kind that does not have it.
struct known_option {
    std::string_view title;
    std::string_view wrong_kind;
};

constexpr std::array options = {
    known_option{reuse_address::title, ""},
    known_option{reuse_port::title,
                 "not on a Unix socket: several tasks, or processes that have its descriptor, may "
                 "accept from one listener"},
    known_option{allow_broadcast::title, ""},
    known_option{linger::title, ""},
    known_option{receive_buffer::title, ""},
    known_option{send_buffer::title, ""},
    known_option{v6_only::title, "IPv6 sockets only: an IPv4 socket has nothing to keep off"},
    known_option{ttl::title, "IPv4 and IPv6 sockets only"},
    known_option{multicast_ttl::title, "UDP sockets only"},
    known_option{multicast_loop::title, "UDP sockets only"},
    known_option{multicast_interface::title, "UDP sockets only"},
    known_option{no_delay::title, "TCP sockets only: others hold nothing back"},
    known_option{keep_alive::title, "TCP sockets only; see with_timeout for others"},
    known_option{quick_ack::title, "TCP sockets only"},
    known_option{cork::title,
                 "TCP sockets only: elsewhere send several buffers by one call of send()"},
    known_option{user_timeout::title, "TCP sockets only; see with_timeout for others"},
    known_option{congestion_control::title, "TCP sockets only"},
    known_option{defer_accept::title, "TCP sockets only; see with_timeout for others"},
    known_option{pass_credentials::title, "Unix sockets only"},
};

bool is_multicast(std::string_view title) {
    return title == multicast_ttl::title || title == multicast_loop::title ||
           title == multicast_interface::title;
}

/// The line of a file below /proc/sys/net/ipv4; empty where it cannot be read.
std::string sysctl(const char* name) {
    std::ifstream file(std::string("/proc/sys/net/ipv4/") + name);
    std::string line;
    std::getline(file, line);
    return line;
}

std::string congestion_hint(int error) {
    if (error == ENOENT) {
        return "the kernel has no such algorithm; there are: " +
               sysctl("tcp_available_congestion_control");
    }
    if (error == EPERM) {
        return "without CAP_NET_ADMIN there are: " + sysctl("tcp_allowed_congestion_control");
    }
    return {};
}

std::string hint_of(const known_option& option, int error) {
    switch (error) {
        case EBADF: return "the descriptor is closed";
        case ENOTSOCK: return "the descriptor is no socket";
        case ENOPROTOOPT:
        case EOPNOTSUPP: return std::string(option.wrong_kind);
        case ENODEV:
        case EADDRNOTAVAIL: return "no interface has this index; see ip link";
        case EINVAL:
            if (option.title == v6_only::title) {
                return "only before bind and connect: give it to listen() or bind()";
            }
            // What the kernel says of it on a TCP socket.
            return is_multicast(option.title) ? std::string(option.wrong_kind) : std::string();
        default: return option.title == congestion_control::title ? congestion_hint(error) : "";
    }
}

std::string membership_hint(bool joins, int error) {
    switch (error) {
        case EADDRINUSE: return "this socket is in the group already";
        case EADDRNOTAVAIL:
            return joins ? "group and source are both IPv4 or both IPv6"
                         : "this socket is not in the group";
        case ENODEV: return "no interface for it; see ip link and ip route";
        case EINVAL:
            return joins ? "a group has an address of 224.0.0.0/4 or ff00::/8"
                         : "this socket has not joined the group in this way";
        case ENOPROTOOPT: return "an IPv4 socket joins IPv4 groups only; make an IPv6 one";
        case ENOBUFS:
            return "in too many groups, or too many sources of one; see sysctl "
                   "net.ipv4.igmp_max_memberships net.ipv4.igmp_max_msf";
        default: return {};
    }
}

}  // namespace

std::string option_hint(std::string_view verb, int error) {
    if (verb == "join" || verb == "leave") return membership_hint(verb == "join", error);
    constexpr std::string_view get = "get ";
    if (verb.starts_with(get)) verb.remove_prefix(get.size());
    const auto* option = std::ranges::find(options, verb, &known_option::title);
    return option == options.end() ? std::string() : hint_of(*option, error);
}

}  // namespace rondo::inline v0::detail
