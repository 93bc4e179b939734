// The host's TCP and UDP sockets, as ss(8) lists them.
#pragma once

#include <rondo/net/endpoint.hpp>
#include <rondo/net/tcp_state.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace rondo::inline v0 {

/// The protocol of a socket that is listed.
enum class transport : std::uint8_t { tcp, udp };

/// What a connection waits for, beside its peer.
enum class connection_timer : std::uint8_t {
    none,
    retransmit,    ///< sends again what is not acknowledged
    keep_alive,    ///< probes an idle connection; of an orphan in FIN-WAIT-2: its end
    time_wait,     ///< the end of TIME-WAIT
    window_probe,  ///< asks a peer with a closed window
};

/// A socket of this host at one moment. Some connections belong to no program any more, or to none
/// yet, and are seen in no other way: TIME-WAIT, SYN-RECEIVED, and what was closed and still sends.
struct connection_info {
    transport protocol = transport::tcp;
    /// Of UDP: `established` when connected, else `closed`.
    tcp_state state = tcp_state::closed;
    endpoint local;
    endpoint remote;  ///< an address and a port of zeros where there is none
    /// Bytes not yet received; of a listener: connections not yet accepted.
    std::uint32_t receive_queue = 0;
    /// Bytes not yet acknowledged; of a listener: how many connections may wait (its backlog).
    std::uint32_t send_queue = 0;
    connection_timer timer = connection_timer::none;
    std::chrono::milliseconds timer_left{0};
    unsigned retransmits = 0;  ///< in a row, or probes of a closed window
    std::uint32_t user = 0;    ///< the owner's id
    std::uint32_t inode = 0;   ///< as in /proc/PID/fd; 0 where no program has it
};

/// Which sockets to list: those that match all that is given. The kernel filters by it.
struct connection_filter {
    transport protocol = transport::tcp;
    std::optional<std::uint16_t> local_port = std::nullopt;
    std::optional<std::uint16_t> remote_port = std::nullopt;
    std::vector<tcp_state> states = {};  ///< none: all states
};

/// The sockets of this network namespace, IPv4 and IPv6, in no order (sock_diag(7)). No privilege
/// is needed. A plain call that waits for nobody: for TCP the kernel walks its table of all
/// connections, which takes a few milliseconds, unless `states` is LISTEN alone; a busy loop leaves
/// it to blocking(). Sockets that come or go meanwhile are seen or not. Throws socket_error.
std::vector<connection_info> list_connections(const connection_filter& filter = {});

namespace detail {

/// Reads one block of the kernel's answer, netlink(7), and appends what matches; false when the
/// answer ends in it. Throws socket_error: what the kernel reports, or EBADMSG where a message is
/// longer than its block.
bool read_diag_block(std::span<const std::byte> block, const connection_filter& filter,
                     std::vector<connection_info>& to);

}  // namespace detail

}  // namespace rondo::inline v0
