// UDP: sockets with the verbs of the sockets API, udp(7).
#pragma once

#include <rondo/net/datagram_operation.hpp>
#include <rondo/net/datagram_socket.hpp>
#include <rondo/net/endpoint.hpp>
#include <rondo/net/ip_address.hpp>

#include <cstddef>
#include <string_view>
#include <vector>

namespace rondo::inline v0 {

/// A UDP socket: see datagram_socket for what it can do. A datagram carries at most 65507 bytes
/// over IPv4, and what is longer than the path takes (1472 bytes over Ethernet) travels in
/// fragments, all of which must arrive.
class udp_socket : public datagram_socket<endpoint> {
public:
    /// A closed socket: everything but assignment and destruction is misuse.
    udp_socket() noexcept = default;
    /// A new socket. The first send gives it a port. Throws socket_error.
    explicit udp_socket(ip_version version);
    /// Takes a UDP socket's descriptor, for instance a released one.
    explicit udp_socket(detail::unique_fd descriptor);

    /// socket(2), the options, bind(2). Port 0 lets the kernel choose, see local_endpoint(). An
    /// IPv6 socket takes no IPv4 datagrams. Throws socket_error.
    template <socket_option... Options>
    static udp_socket bind(const endpoint& local, const Options&... options) {
        udp_socket made(version_of(local));
        (made.set(options), ...);
        made.bind_to(local);
        return made;
    }

    /// Sockets for all that a user's text means: "localhost:8000" is [::1]:8000 and 127.0.0.1:8000,
    /// without the former where there is no IPv6. Port 0 gives all of them the same port. Throws
    /// socket_error, or std::errc::invalid_argument for what is no such text.
    static std::vector<udp_socket> bind_all(std::string_view host_port);

    /// connect(2): from now on send() goes to `remote`, what others send is not received, and
    /// ECONNREFUSED tells when nobody is there. What had come from others stays. Never waits. Once
    /// more changes the peer. Throws socket_error.
    void connect(const endpoint& remote);
    /// The socket has no peer any more, and gives up a port that the kernel chose. Throws
    /// socket_error.
    void disconnect();

    endpoint local_endpoint() const;   ///< getsockname(2); throws socket_error
    endpoint remote_endpoint() const;  ///< getpeername(2); throws socket_error

    /// Takes part in a multicast group: its datagrams, to the bound port, are received too. A
    /// socket bound to the group's own address or to the unspecified one gets them. `interface` is
    /// its name ("eth0") or empty, and then the routing table decides. Of the family of the
    /// socket. Throws socket_error: EADDRINUSE for one that is in the group already (ip(7),
    /// ipv6(7)).
    void join(const ip_address& group, std::string_view interface = {});
    /// The same, for what `source` alone sends (RFC 4607).
    void join(const ip_address& group, const ip_address& source, std::string_view interface = {});
    /// Ends join() with the same arguments. Throws socket_error: EADDRNOTAVAIL where there was
    /// none. The end of the socket ends all.
    void leave(const ip_address& group, std::string_view interface = {});
    void leave(const ip_address& group, const ip_address& source, std::string_view interface = {});

private:
    udp_socket(std::size_t room, detail::unique_fd& descriptor);
    static ip_version version_of(const endpoint& local) noexcept {
        return local.address().is_v4() ? ip_version::v4 : ip_version::v6;
    }
    void bind_to(const endpoint& local);
};

}  // namespace rondo::inline v0
