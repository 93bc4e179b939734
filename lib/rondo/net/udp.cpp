#include <rondo/net/socket_name.hpp>
#include <rondo/net/udp.hpp>

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <string>
#include <utility>

namespace rondo::inline v0 {

namespace {

detail::unique_fd open_udp(ip_version version) {
    const int family = version == ip_version::v4 ? AF_INET : AF_INET6;
    // Non-blocking on both engines: the ring does not care, epoll needs it.
    detail::unique_fd made(
        ::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
    if (!made) throw_socket_error("socket", errno);
    if (version == ip_version::v6) {
        // So that [::]:80 and 0.0.0.0:80 can be bound side by side.
        const int on = 1;
        ::setsockopt(made.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    return made;
}

int family_of(int descriptor) {
    int family = 0;
    socklen_t size = sizeof family;
    if (::getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) {
        throw_socket_error("get domain", errno);
    }
    return family;
}

// A longer name than the family has would only waste a part of each buffer.
std::size_t name_room(int descriptor) {
    return family_of(descriptor) == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

void store(sockaddr_storage& to, const ip_address& address) {
    const socket_address name(endpoint(address, 0));
    std::memcpy(&to, name.data(), name.size());
}

// 0 lets the routing table decide.
unsigned interface_number(std::string_view name, const char* verb, const endpoint& where) {
    if (name.empty()) return 0;
    const unsigned number = ::if_nametoindex(std::string(name).c_str());
    if (number == 0) throw_socket_error(verb, ENODEV, &where);
    return number;
}

template <typename Request>
void change_membership(const udp_socket& socket, int option, const char* verb,
                       const Request& request, const endpoint& where) {
    const int level = where.address().is_v4() ? IPPROTO_IP : IPPROTO_IPV6;
    if (::setsockopt(socket.descriptor(), level, option, &request, sizeof request) != 0) {
        throw_socket_error(verb, errno, &where);
    }
}

void change_group(const udp_socket& socket, int option, const char* verb, const ip_address& group,
                  std::string_view interface) {
    const endpoint where(group, socket.local_endpoint().port());
    group_req request{};
    request.gr_interface = interface_number(interface, verb, where);
    store(request.gr_group, group);
    change_membership(socket, option, verb, request, where);
}

void change_source(const udp_socket& socket, int option, const char* verb,
                   const ip_address& group, const ip_address& source,
                   std::string_view interface) {
    const endpoint where(group, socket.local_endpoint().port());
    group_source_req request{};
    request.gsr_interface = interface_number(interface, verb, where);
    store(request.gsr_group, group);
    store(request.gsr_source, source);
    change_membership(socket, option, verb, request, where);
}

constexpr int most_port_tries = 16;

// False where the port that the kernel chose for the first address is taken on another one, and
// `may_retry` says that another choice is wanted then.
bool bind_each(const std::vector<endpoint>& wanted, bool may_retry,
               std::vector<udp_socket>& made) {
    std::exception_ptr failure;
    for (endpoint local : wanted) {
        // One port for all: what the kernel chose for the first holds for the others.
        const bool follows = local.port() == 0 && !made.empty();
        if (follows) local = endpoint(local.address(), made.front().local_endpoint().port());
        try {
            made.push_back(udp_socket::bind(local));
        } catch (const socket_error& error) {
            const int code = error.code().value();
            if (code == EADDRINUSE && follows && may_retry) return false;
            // A host without IPv6 serves localhost on 127.0.0.1 alone.
            if (code != EADDRNOTAVAIL && code != EAFNOSUPPORT) throw;
            failure = std::current_exception();
        }
    }
    if (made.empty()) std::rethrow_exception(failure);
    return true;
}

}  // namespace

std::vector<udp_socket> udp_socket::bind_all(std::string_view host_port) {
    const std::vector<endpoint> wanted = parse_endpoints(host_port, "bind");
    for (int tries_left = most_port_tries;; --tries_left) {
        std::vector<udp_socket> made;
        if (bind_each(wanted, tries_left > 1, made)) return made;
    }
}

udp_socket::udp_socket(ip_version version) : udp_socket(open_udp(version)) {}

// The room is asked for first: which argument is made first is unspecified.
udp_socket::udp_socket(detail::unique_fd descriptor)
    : udp_socket(name_room(descriptor.get()), descriptor) {}

udp_socket::udp_socket(std::size_t room, detail::unique_fd& descriptor)
    : datagram_socket(std::move(descriptor), room) {}

void udp_socket::bind_to(const endpoint& local) {
    const socket_address name(local);
    if (::bind(descriptor(), name.data(), name.size()) != 0) {
        throw_socket_error("bind", errno, &local);
    }
}

void udp_socket::connect(const endpoint& remote) {
    const socket_address name(remote);
    if (::connect(descriptor(), name.data(), name.size()) != 0) {
        throw_socket_error("connect", errno, &remote);
    }
}

void udp_socket::disconnect() {
    sockaddr nobody{};
    nobody.sa_family = AF_UNSPEC;
    if (::connect(descriptor(), &nobody, sizeof nobody) != 0) {
        throw_socket_error("disconnect", errno);
    }
}

endpoint udp_socket::local_endpoint() const { return detail::local_endpoint_of(descriptor()); }
endpoint udp_socket::remote_endpoint() const { return detail::remote_endpoint_of(descriptor()); }

void udp_socket::join(const ip_address& group, std::string_view interface) {
    change_group(*this, MCAST_JOIN_GROUP, "join", group, interface);
}

void udp_socket::join(const ip_address& group, const ip_address& source,
                      std::string_view interface) {
    change_source(*this, MCAST_JOIN_SOURCE_GROUP, "join", group, source, interface);
}

void udp_socket::leave(const ip_address& group, std::string_view interface) {
    change_group(*this, MCAST_LEAVE_GROUP, "leave", group, interface);
}

void udp_socket::leave(const ip_address& group, const ip_address& source,
                       std::string_view interface) {
    change_source(*this, MCAST_LEAVE_SOURCE_GROUP, "leave", group, source, interface);
}

}  // namespace rondo::inline v0
