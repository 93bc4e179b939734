// The state of a TCP connection.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string_view>

namespace rondo::inline v0 {

/// RFC 9293, section 3.3.2. The values are the kernel's own (include/net/tcp_states.h).
enum class tcp_state : std::uint8_t {
    established = 1,   ///< both ends may send
    syn_sent = 2,      ///< connect was called, no answer has come
    syn_received = 3,  ///< a SYN was answered, the answer is not acknowledged
    fin_wait_1 = 4,    ///< closed here first; the peer has not acknowledged that
    fin_wait_2 = 5,    ///< it has; it may still send
    time_wait = 6,     ///< both have closed; waits for late packets of this connection, 60 s
    closed = 7,        ///< no connection
    close_wait = 8,    ///< the peer has closed; this end may still send
    last_ack = 9,      ///< this end has closed, too; the peer has not acknowledged that
    listen = 10,       ///< waits for connections
    closing = 11,      ///< both have closed at once; the peer has not acknowledged it
};

/// The name in RFC 9293: "SYN-RECEIVED".
constexpr std::string_view to_string(tcp_state state) noexcept {
    switch (state) {
        case tcp_state::established: return "ESTABLISHED";
        case tcp_state::syn_sent: return "SYN-SENT";
        case tcp_state::syn_received: return "SYN-RECEIVED";
        case tcp_state::fin_wait_1: return "FIN-WAIT-1";
        case tcp_state::fin_wait_2: return "FIN-WAIT-2";
        case tcp_state::time_wait: return "TIME-WAIT";
        case tcp_state::closed: return "CLOSED";
        case tcp_state::close_wait: return "CLOSE-WAIT";
        case tcp_state::last_ack: return "LAST-ACK";
        case tcp_state::listen: return "LISTEN";
        case tcp_state::closing: return "CLOSING";
    }
    return "unknown";
}

/// What ss(8) prints for it: three names are its own.
constexpr std::string_view ss_name(tcp_state state) noexcept {
    switch (state) {
        case tcp_state::established: return "ESTAB";
        case tcp_state::syn_received: return "SYN-RECV";
        case tcp_state::closed: return "UNCONN";
        default: return to_string(state);
    }
}

namespace detail {

/// From the kernel's number. Two of its states are no state of the RFC: a request that waits in a
/// listener (12), and a socket that is bound and nothing else (13).
constexpr tcp_state tcp_state_of(unsigned number) noexcept {
    if (number == 12) return tcp_state::syn_received;
    if (number < 1 || number > 11) return tcp_state::closed;
    return static_cast<tcp_state>(number);
}

}  // namespace detail

}  // namespace rondo::inline v0

/// Takes the format specification of a string: width, fill, alignment.
template <>
struct fmt::formatter<rondo::tcp_state> : fmt::formatter<fmt::string_view> {
    auto format(rondo::tcp_state state, fmt::format_context& context) const
        -> fmt::format_context::iterator;
};
