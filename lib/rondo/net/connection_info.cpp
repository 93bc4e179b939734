#include <rondo/net/connection_info.hpp>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/socket_error.hpp>

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

namespace rondo::inline v0 {

namespace {

constexpr auto verb = "sock_diag";
constexpr int greatest_errno = 4095;  // MAX_ERRNO of the kernel

struct diag_request {
    nlmsghdr header;
    inet_diag_req_v2 body;
};

/// One bit for each state; all where none is named.
std::uint32_t states_wanted(const connection_filter& filter) {
    if (filter.states.empty()) return ~std::uint32_t{0};
    std::uint32_t bits = 0;
    for (const tcp_state state : filter.states) {
        bits |= 1u << static_cast<unsigned>(state);
        // The kernel's own states beside the RFC's, see detail::tcp_state_of.
        if (state == tcp_state::syn_received) bits |= 1u << 12;
        if (state == tcp_state::closed) bits |= 1u << 13;
    }
    return bits;
}

diag_request make_request(const connection_filter& filter, int family) {
    diag_request made{};
    made.header.nlmsg_len = sizeof made;
    made.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    made.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    made.body.sdiag_family = static_cast<std::uint8_t>(family);
    made.body.sdiag_protocol = filter.protocol == transport::tcp ? IPPROTO_TCP : IPPROTO_UDP;
    made.body.idiag_states = states_wanted(filter);
    made.body.id.idiag_sport = ::htons(filter.local_port.value_or(0));
    made.body.id.idiag_dport = ::htons(filter.remote_port.value_or(0));
    return made;
}

endpoint end_of(const inet_diag_msg& wire, const __be32 (&words)[4], std::uint16_t port) {
    if (wire.idiag_family == AF_INET) {
        ip_address::v4_bytes bytes{};
        std::memcpy(bytes.data(), &words[0], bytes.size());
        return {ip_address(bytes), ::ntohs(port)};
    }
    ip_address::v6_bytes bytes{};
    std::memcpy(bytes.data(), &words[0], bytes.size());
    const ip_address plain(bytes);
    return {plain.is_link_local() ? ip_address(bytes, wire.id.idiag_if) : plain, ::ntohs(port)};
}

connection_info from_wire(const inet_diag_msg& wire, transport protocol) {
    connection_info made;
    made.protocol = protocol;
    made.state = detail::tcp_state_of(wire.idiag_state);
    made.local = end_of(wire, wire.id.idiag_src, wire.id.idiag_sport);
    made.remote = end_of(wire, wire.id.idiag_dst, wire.id.idiag_dport);
    made.receive_queue = wire.idiag_rqueue;
    made.send_queue = wire.idiag_wqueue;
    if (wire.idiag_timer <= static_cast<unsigned>(connection_timer::window_probe)) {
        made.timer = static_cast<connection_timer>(wire.idiag_timer);
    }
    made.timer_left = std::chrono::milliseconds(wire.idiag_expires);
    made.retransmits = wire.idiag_retrans;
    made.user = wire.idiag_uid;
    made.inode = wire.idiag_inode;
    return made;
}

/// The kernel passes over its port filter where a socket has no such end, and 0 is no filter to it.
bool matches(const connection_info& found, const connection_filter& filter) {
    return (!filter.local_port || *filter.local_port == found.local.port()) &&
           (!filter.remote_port || *filter.remote_port == found.remote.port());
}

template <typename Wire>
Wire read_wire(std::span<const std::byte> bytes) {
    Wire wire{};
    std::memcpy(&wire, bytes.data(), std::min(bytes.size(), sizeof wire));
    return wire;
}

void list_family(const detail::unique_fd& kernel, const connection_filter& filter, int family,
                 std::vector<connection_info>& to) {
    const diag_request request = make_request(filter, family);
    if (::send(kernel.get(), &request, sizeof request, 0) < 0) throw_socket_error(verb, errno);
    // The kernel writes 32 KiB at a time at most.
    std::vector<std::byte> buffer(65536);
    for (bool more = true; more;) {
        const ssize_t n = ::recv(kernel.get(), buffer.data(), buffer.size(), MSG_TRUNC);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw_socket_error(verb, errno);
        const auto size = static_cast<std::size_t>(n);
        if (size > buffer.size()) throw_socket_error(verb, EMSGSIZE);
        more = detail::read_diag_block(std::span(buffer).first(size), filter, to);
    }
}

}  // namespace

bool detail::read_diag_block(std::span<const std::byte> block, const connection_filter& filter,
                             std::vector<connection_info>& to) {
    while (block.size() >= sizeof(nlmsghdr)) {
        const auto header = read_wire<nlmsghdr>(block);
        if (header.nlmsg_len < sizeof header || header.nlmsg_len > block.size()) {
            throw_socket_error(verb, EBADMSG);
        }
        const auto body = block.first(header.nlmsg_len).subspan(sizeof header);
        if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
            // Both begin with an int: a negated errno, or 0.
            const int result = read_wire<int>(body);
            if (result < 0) throw_socket_error(verb, -std::max(result, -greatest_errno));
            return false;
        }
        if (header.nlmsg_type == SOCK_DIAG_BY_FAMILY && body.size() >= sizeof(inet_diag_msg)) {
            const connection_info found =
                from_wire(read_wire<inet_diag_msg>(body), filter.protocol);
            if (matches(found, filter)) to.push_back(found);
        }
        const std::size_t step = (header.nlmsg_len + std::size_t{3}) & ~std::size_t{3};
        block = block.subspan(std::min(step, block.size()));
    }
    return true;
}

std::vector<connection_info> list_connections(const connection_filter& filter) {
    const detail::unique_fd kernel(
        ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    if (!kernel) throw_socket_error(verb, errno);
    std::vector<connection_info> found;
    list_family(kernel, filter, AF_INET, found);
    list_family(kernel, filter, AF_INET6, found);
    return found;
}

}  // namespace rondo::inline v0
