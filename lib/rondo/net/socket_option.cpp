#include <rondo/net/socket_option.hpp>

#include <rondo/net/socket_error.hpp>

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

namespace rondo::inline v0 {

namespace {

template <typename Wire>
std::error_code set_raw(int fd, int level, int name, const Wire& value) noexcept {
    if (::setsockopt(fd, level, name, &value, sizeof value) != 0) {
        return {errno, std::generic_category()};
    }
    return {};
}

/// `verb` is a literal: the error keeps the pointer.
template <typename Wire = int>
Wire get_raw(int fd, int level, int name, const char* verb) {
    Wire value{};
    socklen_t size = sizeof value;
    if (::getsockopt(fd, level, name, &value, &size) != 0) {
        throw_socket_error(verb, errno);
    }
    return value;
}

std::error_code set_flag(int fd, int level, int name, bool enabled) noexcept {
    return set_raw(fd, level, name, enabled ? 1 : 0);
}

constexpr auto get_keep_alive = "get keep_alive";

}  // namespace

void detail::refuse_option(const char* title, long long value, long long least, long long most) {
    throw argument_error(fmt::format("{} {} is not between {} and {}", title, value, least, most));
}

void detail::throw_option_error(const char* title, const std::error_code& error) {
    throw_socket_error(title, error.value());
}

std::error_code no_delay::apply(int fd) const noexcept {
    return set_flag(fd, IPPROTO_TCP, TCP_NODELAY, enabled);
}

no_delay no_delay::read(int fd) {
    return {get_raw(fd, IPPROTO_TCP, TCP_NODELAY, "get no_delay") != 0};
}

std::error_code reuse_address::apply(int fd) const noexcept {
    return set_flag(fd, SOL_SOCKET, SO_REUSEADDR, enabled);
}

reuse_address reuse_address::read(int fd) {
    return {get_raw(fd, SOL_SOCKET, SO_REUSEADDR, "get reuse_address") != 0};
}

std::error_code reuse_port::apply(int fd) const noexcept {
    return set_flag(fd, SOL_SOCKET, SO_REUSEPORT, enabled);
}

reuse_port reuse_port::read(int fd) {
    return {get_raw(fd, SOL_SOCKET, SO_REUSEPORT, "get reuse_port") != 0};
}

std::error_code v6_only::apply(int fd) const noexcept {
    return set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, enabled);
}

v6_only v6_only::read(int fd) {
    return {get_raw(fd, IPPROTO_IPV6, IPV6_V6ONLY, "get v6_only") != 0};
}

std::error_code keep_alive::apply(int fd) const noexcept {
    // The times first: once probing is on it runs by them. Count 0 tells that none were given.
    if (count_ > 0) {
        const int idle = static_cast<int>(idle_.count());
        if (const auto error = set_raw(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle)) {
            return error;
        }
        const int interval = static_cast<int>(interval_.count());
        if (const auto error = set_raw(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval)) {
            return error;
        }
        if (const auto error = set_raw(fd, IPPROTO_TCP, TCP_KEEPCNT, count_)) {
            return error;
        }
    }
    return set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, enabled_);
}

keep_alive keep_alive::read(int fd) {
    keep_alive result(get_raw(fd, SOL_SOCKET, SO_KEEPALIVE, get_keep_alive) != 0);
    result.idle_ = std::chrono::seconds(get_raw(fd, IPPROTO_TCP, TCP_KEEPIDLE, get_keep_alive));
    result.interval_ =
        std::chrono::seconds(get_raw(fd, IPPROTO_TCP, TCP_KEEPINTVL, get_keep_alive));
    result.count_ = get_raw(fd, IPPROTO_TCP, TCP_KEEPCNT, get_keep_alive);
    return result;
}

std::error_code linger::apply(int fd) const noexcept {
    ::linger wire{};
    wire.l_onoff = time_ ? 1 : 0;
    wire.l_linger = time_ ? static_cast<int>(time_->count()) : 0;
    return set_raw(fd, SOL_SOCKET, SO_LINGER, wire);
}

linger linger::read(int fd) {
    const auto wire = get_raw<::linger>(fd, SOL_SOCKET, SO_LINGER, "get linger");
    linger result;
    if (wire.l_onoff != 0) {
        result.time_ = std::chrono::seconds(wire.l_linger);
    }
    return result;
}

std::error_code receive_buffer::apply(int fd) const noexcept {
    return set_raw(fd, SOL_SOCKET, SO_RCVBUF, bytes_);
}

receive_buffer receive_buffer::read(int fd) {
    return receive_buffer(get_raw(fd, SOL_SOCKET, SO_RCVBUF, "get receive_buffer") / 2);
}

std::error_code send_buffer::apply(int fd) const noexcept {
    return set_raw(fd, SOL_SOCKET, SO_SNDBUF, bytes_);
}

send_buffer send_buffer::read(int fd) {
    return send_buffer(get_raw(fd, SOL_SOCKET, SO_SNDBUF, "get send_buffer") / 2);
}

std::error_code ttl::apply(int fd) const noexcept {
    int family = 0;
    socklen_t size = sizeof family;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) {
        return {errno, std::generic_category()};
    }
    if (family == AF_INET6) {
        if (const auto error = set_raw(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, hops_)) {
            return error;
        }
    }
    return set_raw(fd, IPPROTO_IP, IP_TTL, hops_);
}

ttl ttl::read(int fd) {
    const int family = get_raw(fd, SOL_SOCKET, SO_DOMAIN, "get ttl");
    return ttl(family == AF_INET6 ? get_raw(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, "get ttl")
                                  : get_raw(fd, IPPROTO_IP, IP_TTL, "get ttl"));
}

}  // namespace rondo::inline v0
