// Socket options as typed values: what one is, and those of socket(7).
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

/// setsockopt(2) and getsockopt(2) of an int; the latter throws with `verb`, a literal.
[[nodiscard]] std::error_code set_int_option(int fd, int level, int name, int value) noexcept;
[[nodiscard]] int get_int_option(int fd, int level, int name, const char* verb);

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

/// Lets bind take an address whose old connections still linger in TIME_WAIT, if their sockets had
/// it as well: they take after their listener (SO_REUSEADDR, socket(7)). Of use before bind only.
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

/// Lets a datagram socket send to a broadcast address; without it that is EACCES (SO_BROADCAST,
/// socket(7)).
struct allow_broadcast {
    static constexpr const char* title = "allow_broadcast";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static allow_broadcast read(int fd);
    friend bool operator==(const allow_broadcast&, const allow_broadcast&) = default;
};

/// What close does with data not yet sent (SO_LINGER, socket(7)). Without a time, the default, the
/// kernel goes on sending in the background. With 0 s what is unsent is dropped and the peer gets
/// a reset. With more, close(2) waits up to that long, and so does the thread that calls it.
///
/// <sys/socket.h> has a struct of this name. Where `using namespace rondo` makes the plain word
/// ambiguous, `using rondo::linger;` in the function settles it, or linger_time is written.
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

/// The same by a name that nothing else has.
using linger_time = linger;

/// Room for what arrives and was not yet received, in bytes (SO_RCVBUF, socket(7)): fixed then,
/// where TCP would otherwise adapt it. Linux doubles what it is given, for bookkeeping of its own,
/// and getsockopt(2) and `ss -m` show the doubled value; here it is halved again, so that what was
/// set is read. Above net.core.rmem_max that limit is taken, without an error, and so is a minimum
/// of about 1 KiB: `read` tells. To matter to TCP's window, set it before connect or listen. 1 to
/// 2^30 - 1.
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
/// `receive_buffer`, doubled in the same way, up to net.core.wmem_max, and of use at any time.
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

}  // namespace rondo::inline v0
