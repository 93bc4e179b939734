#include <rondo/net/socket_option.hpp>

#include <rondo/net/socket_error.hpp>

#include <fmt/format.h>
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
template <typename Wire>
Wire get_raw(int fd, int level, int name, const char* verb) {
    Wire value{};
    socklen_t size = sizeof value;
    if (::getsockopt(fd, level, name, &value, &size) != 0) {
        throw_socket_error(verb, errno);
    }
    return value;
}

std::error_code set_flag(int fd, int name, bool enabled) noexcept {
    return set_raw(fd, SOL_SOCKET, name, enabled ? 1 : 0);
}

int read_int(int fd, int name, const char* verb) {
    return get_raw<int>(fd, SOL_SOCKET, name, verb);
}

}  // namespace

std::error_code detail::set_int_option(int fd, int level, int name, int value) noexcept {
    return set_raw(fd, level, name, value);
}

int detail::get_int_option(int fd, int level, int name, const char* verb) {
    return get_raw<int>(fd, level, name, verb);
}

void detail::refuse_option(const char* title, long long value, long long least, long long most) {
    throw argument_error(fmt::format("{} {} is not between {} and {}", title, value, least, most));
}

void detail::throw_option_error(const char* title, const std::error_code& error) {
    throw_socket_error(title, error.value());
}

std::error_code reuse_address::apply(int fd) const noexcept {
    return set_flag(fd, SO_REUSEADDR, enabled);
}

reuse_address reuse_address::read(int fd) {
    return {read_int(fd, SO_REUSEADDR, "get reuse_address") != 0};
}

std::error_code reuse_port::apply(int fd) const noexcept {
    return set_flag(fd, SO_REUSEPORT, enabled);
}

reuse_port reuse_port::read(int fd) {
    return {read_int(fd, SO_REUSEPORT, "get reuse_port") != 0};
}

std::error_code allow_broadcast::apply(int fd) const noexcept {
    return set_flag(fd, SO_BROADCAST, enabled);
}

allow_broadcast allow_broadcast::read(int fd) {
    return {read_int(fd, SO_BROADCAST, "get allow_broadcast") != 0};
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
    return receive_buffer(read_int(fd, SO_RCVBUF, "get receive_buffer") / 2);
}

std::error_code send_buffer::apply(int fd) const noexcept {
    return set_raw(fd, SOL_SOCKET, SO_SNDBUF, bytes_);
}

send_buffer send_buffer::read(int fd) {
    return send_buffer(read_int(fd, SO_SNDBUF, "get send_buffer") / 2);
}

}  // namespace rondo::inline v0
