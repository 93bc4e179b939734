// What the kernel tells about a TCP connection.
#pragma once

#include <rondo/net/tcp_state.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace rondo::inline v0 {

/// A connection at one moment (TCP_INFO, tcp(7)). Segments are counted as sent; bytes are those of
/// the stream. What the kernel is too old to tell is 0.
struct tcp_info {
    tcp_state state = tcp_state::closed;

    // --- the way to the peer and back ---

    std::chrono::microseconds rtt{0};           ///< round trip, smoothed; 0 before the first
    std::chrono::microseconds rtt_variance{0};  ///< its mean deviation
    std::chrono::microseconds min_rtt{0};       ///< the shortest of late
    std::chrono::microseconds retransmit_timeout{0};  ///< after which silence is a loss
    std::uint32_t send_segment_size = 0;  ///< bytes, without headers (MSS)
    std::uint32_t path_mtu = 0;           ///< bytes, with headers

    // --- loss ---

    unsigned retransmits = 0;        ///< in a row, of what is being sent again just now
    unsigned probes = 0;             ///< unanswered, of keep-alive or of a closed window
    std::uint32_t lost = 0;          ///< segments believed lost and not yet sent again
    std::uint32_t total_retransmits = 0;  ///< segments sent again since the connection began
    std::uint64_t bytes_retransmitted = 0;

    // --- rate ---

    std::uint32_t congestion_window = 0;  ///< segments that may be on the way
    /// Segments up to which that window grows fast; nothing before the first loss.
    std::optional<std::uint32_t> slow_start_threshold;
    std::uint32_t peer_window = 0;    ///< bytes the peer has room for
    std::uint64_t delivery_rate = 0;  ///< bytes each second, as acknowledged of late

    // --- queues ---

    std::uint32_t unacked = 0;  ///< segments on the way
    std::size_t unsent = 0;     ///< bytes accepted by send, not yet sent
    std::size_t queued = 0;     ///< bytes accepted by send, not yet acknowledged: ss's Send-Q
    std::size_t unread = 0;     ///< bytes arrived, not yet received by the program

    // --- since the connection began ---

    std::uint64_t bytes_sent = 0;  ///< the first time and again
    std::uint64_t bytes_acked = 0;
    std::uint64_t bytes_received = 0;
    std::chrono::milliseconds since_sent{0};      ///< since data was last sent
    std::chrono::milliseconds since_received{0};  ///< since data last came

    /// Of any TCP socket. `unread` is what waits in the kernel. Throws socket_error.
    static tcp_info of(int descriptor);
};

namespace detail {

/// What getsockopt(2) wrote, of which a kernel writes as much as it knows. The queues that belong
/// to no connection, `queued` and `unread`, are not in it.
tcp_info tcp_info_from_wire(std::span<const std::byte> bytes) noexcept;

}  // namespace detail

}  // namespace rondo::inline v0
