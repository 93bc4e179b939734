#include <rondo/net/tcp_info.hpp>

#include <rondo/net/socket_error.hpp>

#include <linux/sockios.h>
// Not netinet/tcp.h: its tcp_info is that of an older kernel.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace rondo::inline v0 {

namespace {

/// The kernel's value before there was a loss (TCP_INFINITE_SSTHRESH).
constexpr std::uint32_t no_threshold = 0x7fffffff;

/// 0 where the socket has no such queue: a listener.
std::size_t queue_size(int descriptor, unsigned long request) {
    int bytes = 0;
    if (::ioctl(descriptor, request, &bytes) != 0) {
        if (errno == EINVAL) return 0;
        throw_socket_error("get tcp_info", errno);
    }
    return static_cast<std::size_t>(bytes);
}

}  // namespace

tcp_info detail::tcp_info_from_wire(std::span<const std::byte> bytes) noexcept {
    using std::chrono::microseconds;
    using std::chrono::milliseconds;
    ::tcp_info wire{};  // an older kernel fills less of it
    if (!bytes.empty()) std::memcpy(&wire, bytes.data(), std::min(bytes.size(), sizeof wire));
    tcp_info made;
    made.state = detail::tcp_state_of(wire.tcpi_state);
    made.rtt = microseconds(wire.tcpi_rtt);
    made.rtt_variance = microseconds(wire.tcpi_rttvar);
    // All ones until there was one.
    made.min_rtt = microseconds(wire.tcpi_min_rtt == ~0u ? 0 : wire.tcpi_min_rtt);
    made.retransmit_timeout = microseconds(wire.tcpi_rto);
    made.send_segment_size = wire.tcpi_snd_mss;
    made.path_mtu = wire.tcpi_pmtu;
    made.retransmits = wire.tcpi_retransmits;
    made.probes = wire.tcpi_probes;
    made.lost = wire.tcpi_lost;
    made.total_retransmits = wire.tcpi_total_retrans;
    made.bytes_retransmitted = wire.tcpi_bytes_retrans;
    made.congestion_window = wire.tcpi_snd_cwnd;
    if (wire.tcpi_snd_ssthresh < no_threshold) made.slow_start_threshold = wire.tcpi_snd_ssthresh;
    made.peer_window = wire.tcpi_snd_wnd;
    made.delivery_rate = wire.tcpi_delivery_rate;
    made.unacked = wire.tcpi_unacked;
    made.unsent = wire.tcpi_notsent_bytes;
    made.bytes_sent = wire.tcpi_bytes_sent;
    made.bytes_acked = wire.tcpi_bytes_acked;
    made.bytes_received = wire.tcpi_bytes_received;
    made.since_sent = milliseconds(wire.tcpi_last_data_sent);
    made.since_received = milliseconds(wire.tcpi_last_data_recv);
    return made;
}

tcp_info tcp_info::of(int descriptor) {
    std::array<std::byte, sizeof(::tcp_info)> wire;
    socklen_t size = sizeof wire;
    if (::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, wire.data(), &size) != 0) {
        throw_socket_error("get tcp_info", errno);
    }
    tcp_info made = detail::tcp_info_from_wire(std::span(wire).first(size));
    made.queued = queue_size(descriptor, SIOCOUTQ);
    made.unread = queue_size(descriptor, SIOCINQ);
    return made;
}

}  // namespace rondo::inline v0
