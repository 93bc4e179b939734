// Socket options of tcp(7).
#pragma once

#include <rondo/net/socket_option.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <limits>
#include <string_view>
#include <system_error>

namespace rondo::inline v0 {

/// Sends small segments at once instead of collecting them while an acknowledgement is due
/// (TCP_NODELAY, tcp(7)). Off by default.
struct no_delay {
    static constexpr const char* title = "no_delay";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static no_delay read(int fd);
    friend bool operator==(const no_delay&, const no_delay&) = default;
};

/// Probes an idle connection, so that a peer that vanished is noticed (SO_KEEPALIVE, socket(7);
/// TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, tcp(7)). TCP only.
class keep_alive {
public:
    static constexpr const char* title = "keep_alive";

    /// On or off, with the times the socket has: normally 2 hours, 75 s and 9.
    constexpr explicit keep_alive(bool enabled = true) noexcept : enabled_(enabled) {}

    /// On: the first probe after `idle`, the next ones each `interval`, and the connection fails
    /// with ETIMEDOUT when `count` stayed unanswered. 1 to 32767 s each, 1 to 127 probes.
    constexpr keep_alive(std::chrono::seconds idle, std::chrono::seconds interval, int count)
        : enabled_(true),
          idle_(detail::checked_option("keep_alive: idle", idle.count(), 1, 32767)),
          interval_(detail::checked_option("keep_alive: interval", interval.count(), 1, 32767)),
          count_(detail::checked_option("keep_alive: count", count, 1, 127)) {}

    [[nodiscard]] constexpr bool enabled() const noexcept { return enabled_; }
    /// 0 s and 0 where they were not given; what `read` returns has them.
    [[nodiscard]] constexpr std::chrono::seconds idle() const noexcept { return idle_; }
    [[nodiscard]] constexpr std::chrono::seconds interval() const noexcept { return interval_; }
    [[nodiscard]] constexpr int count() const noexcept { return count_; }

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static keep_alive read(int fd);
    friend bool operator==(const keep_alive&, const keep_alive&) = default;

private:
    bool enabled_;
    std::chrono::seconds idle_{0};
    std::chrono::seconds interval_{0};
    int count_ = 0;
};

/// Acknowledges at once instead of waiting 40 to 200 ms for an answer to carry the acknowledgement
/// (TCP_QUICKACK, tcp(7)). It does not last: the kernel goes on by its own judgement, so set it
/// again after receiving.
struct quick_ack {
    static constexpr const char* title = "quick_ack";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static quick_ack read(int fd);
    friend bool operator==(const quick_ack&, const quick_ack&) = default;
};

/// Holds segments back until they are full, for 200 ms at most; what is held goes out when it is
/// taken off (TCP_CORK, tcp(7)). It outweighs `no_delay`.
struct cork {
    static constexpr const char* title = "cork";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static cork read(int fd);
    friend bool operator==(const cork&, const cork&) = default;
};

/// How long what was sent may stay unacknowledged, or unsent before a closed window, until the
/// connection fails with ETIMEDOUT (TCP_USER_TIMEOUT, tcp(7); RFC 5482). It counts for connect,
/// too, and outweighs the count of `keep_alive`. The kernel looks when it sends again, so it may be
/// later than said. 0 ms, the default, leaves it to net.ipv4.tcp_retries2: about 15 minutes.
class user_timeout {
public:
    static constexpr const char* title = "user_timeout";

    /// 0 to 2^31 - 1 ms.
    constexpr explicit user_timeout(std::chrono::milliseconds time)
        : time_(detail::checked_option(title, time.count(), 0, std::numeric_limits<int>::max())) {}

    [[nodiscard]] constexpr std::chrono::milliseconds time() const noexcept { return time_; }

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static user_timeout read(int fd);
    friend bool operator==(const user_timeout&, const user_timeout&) = default;

private:
    std::chrono::milliseconds time_;
};

/// By which algorithm the connection finds its rate: "cubic", "bbr", "reno" (TCP_CONGESTION,
/// tcp(7)). What there is stands in net.ipv4.tcp_available_congestion_control; users without
/// CAP_NET_ADMIN have the choice of net.ipv4.tcp_allowed_congestion_control; the error of another
/// name tells them. 1 to 15 characters.
class congestion_control {
public:
    static constexpr const char* title = "congestion_control";
    static constexpr std::size_t max_size = 15;

    constexpr explicit congestion_control(std::string_view name) : size_(name.size()) {
        if (name.empty() || name.size() > max_size) refuse(name);
        std::ranges::copy(name, name_.begin());
    }

    [[nodiscard]] constexpr std::string_view name() const noexcept {
        return {name_.data(), size_};
    }

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static congestion_control read(int fd);
    friend bool operator==(const congestion_control&, const congestion_control&) = default;

private:
    [[noreturn]] static void refuse(std::string_view name);

    std::array<char, max_size + 1> name_{};
    std::size_t size_;
};

/// Lets accept wait until a connection has brought data, or for about `time` (TCP_DEFER_ACCEPT,
/// tcp(7)): until then it is SYN-RECEIVED. For servers whose clients speak first. On the listener.
class defer_accept {
public:
    static constexpr const char* title = "defer_accept";

    /// 0 to 32767 s. The kernel rounds it up to whole repetitions of its SYN-ACK: 1, 3, 7, 15 s...
    constexpr explicit defer_accept(std::chrono::seconds time)
        : time_(detail::checked_option(title, time.count(), 0, 32767)) {}

    [[nodiscard]] constexpr std::chrono::seconds time() const noexcept { return time_; }

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static defer_accept read(int fd);
    friend bool operator==(const defer_accept&, const defer_accept&) = default;

private:
    std::chrono::seconds time_;
};

}  // namespace rondo::inline v0
