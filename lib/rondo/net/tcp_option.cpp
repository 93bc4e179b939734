#include <rondo/net/tcp_option.hpp>

#include <rondo/net/socket_error.hpp>

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

namespace rondo::inline v0 {

namespace {

using detail::get_int_option;
using detail::set_int_option;

std::error_code set_flag(int fd, int name, bool enabled) noexcept {
    return set_int_option(fd, IPPROTO_TCP, name, enabled ? 1 : 0);
}

int read_int(int fd, int name, const char* verb) {
    return get_int_option(fd, IPPROTO_TCP, name, verb);
}

constexpr auto get_keep_alive = "get keep_alive";

}  // namespace

std::error_code no_delay::apply(int fd) const noexcept {
    return set_flag(fd, TCP_NODELAY, enabled);
}

no_delay no_delay::read(int fd) { return {read_int(fd, TCP_NODELAY, "get no_delay") != 0}; }

std::error_code quick_ack::apply(int fd) const noexcept {
    return set_flag(fd, TCP_QUICKACK, enabled);
}

quick_ack quick_ack::read(int fd) { return {read_int(fd, TCP_QUICKACK, "get quick_ack") != 0}; }

std::error_code cork::apply(int fd) const noexcept { return set_flag(fd, TCP_CORK, enabled); }

cork cork::read(int fd) { return {read_int(fd, TCP_CORK, "get cork") != 0}; }

std::error_code keep_alive::apply(int fd) const noexcept {
    // The times first: once probing is on it runs by them. Count 0 tells that none were given.
    if (count_ > 0) {
        const int idle = static_cast<int>(idle_.count());
        if (const auto error = set_int_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle)) {
            return error;
        }
        const int interval = static_cast<int>(interval_.count());
        if (const auto error = set_int_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval)) {
            return error;
        }
        if (const auto error = set_int_option(fd, IPPROTO_TCP, TCP_KEEPCNT, count_)) {
            return error;
        }
    }
    return set_int_option(fd, SOL_SOCKET, SO_KEEPALIVE, enabled_ ? 1 : 0);
}

keep_alive keep_alive::read(int fd) {
    keep_alive result(get_int_option(fd, SOL_SOCKET, SO_KEEPALIVE, get_keep_alive) != 0);
    result.idle_ = std::chrono::seconds(read_int(fd, TCP_KEEPIDLE, get_keep_alive));
    result.interval_ = std::chrono::seconds(read_int(fd, TCP_KEEPINTVL, get_keep_alive));
    result.count_ = read_int(fd, TCP_KEEPCNT, get_keep_alive);
    return result;
}

std::error_code user_timeout::apply(int fd) const noexcept {
    return set_int_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(time_.count()));
}

user_timeout user_timeout::read(int fd) {
    const int time = read_int(fd, TCP_USER_TIMEOUT, "get user_timeout");
    return user_timeout(std::chrono::milliseconds(time));
}

void congestion_control::refuse(std::string_view name) {
    throw argument_error(fmt::format(
        "congestion_control \"{}\" is not a name of 1 to {} characters", name, max_size));
}

std::error_code congestion_control::apply(int fd) const noexcept {
    const auto size = static_cast<socklen_t>(size_);
    if (::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name_.data(), size) != 0) {
        return {errno, std::generic_category()};
    }
    return {};
}

congestion_control congestion_control::read(int fd) {
    std::array<char, max_size + 1> name{};
    socklen_t size = sizeof name;
    if (::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size) != 0) {
        throw_socket_error("get congestion_control", errno);
    }
    name.back() = '\0';
    return congestion_control(name.data());
}

std::error_code defer_accept::apply(int fd) const noexcept {
    const int time = static_cast<int>(time_.count());
    return set_int_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, time);
}

defer_accept defer_accept::read(int fd) {
    const int time = read_int(fd, TCP_DEFER_ACCEPT, "get defer_accept");
    return defer_accept(std::chrono::seconds(time));
}

}  // namespace rondo::inline v0
