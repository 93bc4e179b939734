// Socket options as typed values.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <optional>
#include <system_error>

namespace rondo::inline v0 {

/// A value that can be given to a socket and read back. `title` is its name in errors; `apply`
/// returns what setsockopt(2) said; `read` throws a `socket_error` where getsockopt(2) fails. A
/// value no socket can take is refused by the constructor, as a `std::errc::invalid_argument` that
/// names the range; in a constant expression it does not compile.
template <typename T>
concept socket_option = requires(const T& option, int fd) {
    { T::title } -> std::convertible_to<const char*>;
    { option.apply(fd) }
    noexcept->std::same_as<std::error_code>;
    { T::read(fd) } -> std::same_as<T>;
};

template <socket_option Option>
[[nodiscard]] std::error_code set_option(int fd, const Option& option) noexcept {
    return option.apply(fd);
}

template <socket_option Option>
[[nodiscard]] Option get_option(int fd) {
    return Option::read(fd);
}

namespace detail {

/// Throws `std::errc::invalid_argument`: "TITLE VALUE is not between LEAST and MOST".
[[noreturn]] void refuse_option(const char* title, long long value, long long least,
                                long long most);

/// Throws a socket_error that names the option.
[[noreturn]] void throw_option_error(const char* title, const std::error_code& error);

template <socket_option Option>
void set_or_throw(int fd, const Option& option) {
    if (const std::error_code failed = option.apply(fd)) throw_option_error(Option::title, failed);
}

constexpr int checked_option(const char* title, long long value, int least, int most) {
    if (value < least || value > most) {
        refuse_option(title, value, least, most);
    }
    return static_cast<int>(value);
}

}  // namespace detail

/// Sends small segments at once instead of collecting them while an acknowledgement is due
/// (TCP_NODELAY, tcp(7)). Off by default.
struct no_delay {
    static constexpr const char* title = "no_delay";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static no_delay read(int fd);
    friend bool operator==(const no_delay&, const no_delay&) = default;
};

/// Lets bind take an address whose old connections still linger in TIME_WAIT (SO_REUSEADDR,
/// socket(7)). Of use before bind only.
struct reuse_address {
    static constexpr const char* title = "reuse_address";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static reuse_address read(int fd);
    friend bool operator==(const reuse_address&, const reuse_address&) = default;
};

/// Lets several sockets of one user listen on the same address; the kernel spreads connections
/// over them (SO_REUSEPORT, socket(7)). Of use before bind only, and on each of them.
struct reuse_port {
    static constexpr const char* title = "reuse_port";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static reuse_port read(int fd);
    friend bool operator==(const reuse_port&, const reuse_port&) = default;
};

/// Keeps an IPv6 socket off IPv4, so that the same port can be bound for both (IPV6_V6ONLY,
/// ipv6(7)). IPv6 sockets only, before bind.
struct v6_only {
    static constexpr const char* title = "v6_only";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static v6_only read(int fd);
    friend bool operator==(const v6_only&, const v6_only&) = default;
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

private:
    bool enabled_;
    std::chrono::seconds idle_{0};
    std::chrono::seconds interval_{0};
    int count_ = 0;
};

/// What close does with data not yet sent (SO_LINGER, socket(7)). Without a time, the default, the
/// kernel goes on sending in the background. With 0 s what is unsent is dropped and the peer gets
/// a reset. With more, close(2) waits up to that long, and so does the thread that calls it.
class linger {
public:
    static constexpr const char* title = "linger";

    constexpr linger() noexcept = default;
    /// 0 to 65535 s.
    constexpr explicit linger(std::chrono::seconds time)
        : time_(std::chrono::seconds(detail::checked_option(title, time.count(), 0, 65535))) {}

    [[nodiscard]] constexpr std::optional<std::chrono::seconds> time() const noexcept {
        return time_;
    }

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static linger read(int fd);
    friend bool operator==(const linger&, const linger&) = default;

private:
    std::optional<std::chrono::seconds> time_;
};

/// Room for what arrives and was not yet received, in bytes (SO_RCVBUF, socket(7)): fixed then,
/// where TCP would otherwise adapt it. The kernel takes net.core.rmem_max at most and a small
/// minimum at least, without an error; `read` tells. It reserves twice as much for its own
/// bookkeeping, which is not counted here, neither in nor out. 1 to 2^30 - 1.
class receive_buffer {
public:
    static constexpr const char* title = "receive_buffer";

    constexpr explicit receive_buffer(long long bytes)
        : bytes_(detail::checked_option(title, bytes, 1, (1 << 30) - 1)) {}

    [[nodiscard]] constexpr std::size_t bytes() const noexcept {
        return static_cast<std::size_t>(bytes_);
    }

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static receive_buffer read(int fd);
    friend bool operator==(const receive_buffer&, const receive_buffer&) = default;

private:
    int bytes_;
};

/// Room for what was sent and not yet acknowledged, in bytes (SO_SNDBUF, socket(7)): as
/// `receive_buffer`, up to net.core.wmem_max.
class send_buffer {
public:
    static constexpr const char* title = "send_buffer";

    constexpr explicit send_buffer(long long bytes)
        : bytes_(detail::checked_option(title, bytes, 1, (1 << 30) - 1)) {}

    [[nodiscard]] constexpr std::size_t bytes() const noexcept {
        return static_cast<std::size_t>(bytes_);
    }

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static send_buffer read(int fd);
    friend bool operator==(const send_buffer&, const send_buffer&) = default;

private:
    int bytes_;
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

}  // namespace rondo::inline v0
