// What tests of socket options share.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/socket_option.hpp>

#include <catch2/catch_test_macros.hpp>

#include <sys/socket.h>

#include <functional>
#include <string>
#include <system_error>

namespace rondo::test {

/// A plain socket(2).
inline detail::unique_fd plain_socket(int family = AF_INET, int type = SOCK_STREAM) {
    detail::unique_fd fd(::socket(family, type | SOCK_CLOEXEC, 0));
    REQUIRE(fd);
    return fd;
}

/// getsockopt(2) by the kernel's own names, so that no level or name is mistaken.
inline int raw_option(int fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(::getsockopt(fd, level, name, &value, &size) == 0);
    return value;
}

/// Sets, clears and reads an option that is on or off.
template <typename Flag>
void check_flag(int fd, int level, int name) {
    CHECK_FALSE(set_option(fd, Flag{true}));
    CHECK(raw_option(fd, level, name) != 0);
    CHECK(get_option<Flag>(fd) == Flag{true});
    CHECK_FALSE(set_option(fd, Flag{false}));
    CHECK(raw_option(fd, level, name) == 0);
    CHECK(get_option<Flag>(fd) == Flag{false});
    CHECK_FALSE(set_option(fd, Flag{}));
    CHECK(raw_option(fd, level, name) != 0);
}

/// With what sentence a value is refused.
inline std::string refusal(const std::function<void()>& make) {
    try {
        make();
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::invalid_argument);
        return error.what();
    }
    return "accepted";
}

}  // namespace rondo::test
