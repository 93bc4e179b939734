// Socket options on real sockets.
#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/endpoint.hpp>
#include <rondo/net/socket_option.hpp>

#include <catch2/catch_test_macros.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <functional>
#include <string>
#include <system_error>

namespace {

using namespace std::chrono_literals;
using rondo::get_option;
using rondo::set_option;
using rondo::detail::unique_fd;

static_assert(rondo::socket_option<rondo::no_delay>);
static_assert(rondo::socket_option<rondo::reuse_address>);
static_assert(rondo::socket_option<rondo::reuse_port>);
static_assert(rondo::socket_option<rondo::v6_only>);
static_assert(rondo::socket_option<rondo::keep_alive>);
static_assert(rondo::socket_option<rondo::linger>);
static_assert(rondo::socket_option<rondo::receive_buffer>);
static_assert(rondo::socket_option<rondo::send_buffer>);
static_assert(rondo::socket_option<rondo::ttl>);
static_assert(!rondo::socket_option<int>);
static_assert(rondo::ttl(64).hops() == 64);
static_assert(rondo::keep_alive(60s, 10s, 5).enabled());

unique_fd tcp(int family = AF_INET) {
    unique_fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(fd);
    return fd;
}

int raw(int fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(::getsockopt(fd, level, name, &value, &size) == 0);
    return value;
}

/// Each flag is looked at with the kernel's own names, so that no level or name is mistaken.
template <typename Flag>
void check_flag(int fd, int level, int name) {
    CHECK_FALSE(set_option(fd, Flag{true}));
    CHECK(raw(fd, level, name) != 0);
    CHECK(get_option<Flag>(fd) == Flag{true});
    CHECK_FALSE(set_option(fd, Flag{false}));
    CHECK(raw(fd, level, name) == 0);
    CHECK(get_option<Flag>(fd) == Flag{false});
    CHECK_FALSE(set_option(fd, Flag{}));
    CHECK(raw(fd, level, name) != 0);
}

std::string refusal(const std::function<void()>& make) {
    try {
        make();
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::invalid_argument);
        return error.what();
    }
    return "accepted";
}

}  // namespace

TEST_CASE("flags are set, cleared and read", "[net][socket_option]") {
    const unique_fd v4 = tcp();
    check_flag<rondo::no_delay>(v4.get(), IPPROTO_TCP, TCP_NODELAY);
    check_flag<rondo::reuse_address>(v4.get(), SOL_SOCKET, SO_REUSEADDR);
    check_flag<rondo::reuse_port>(v4.get(), SOL_SOCKET, SO_REUSEPORT);
    const unique_fd v6 = tcp(AF_INET6);
    check_flag<rondo::v6_only>(v6.get(), IPPROTO_IPV6, IPV6_V6ONLY);
}

TEST_CASE("reuse_port lets two sockets listen on one address", "[net][socket_option]") {
    const unique_fd first = tcp();
    const unique_fd second = tcp();
    const rondo::socket_address any(rondo::endpoint(rondo::ip_address::v4_loopback(), 0));
    REQUIRE_FALSE(set_option(first.get(), rondo::reuse_port{}));
    REQUIRE(::bind(first.get(), any.data(), any.size()) == 0);
    REQUIRE(::listen(first.get(), 1) == 0);
    rondo::socket_address bound;
    REQUIRE(::getsockname(first.get(), bound.data(), bound.size_pointer()) == 0);
    CHECK(::bind(second.get(), bound.data(), bound.size()) == -1);
    CHECK(errno == EADDRINUSE);
    REQUIRE_FALSE(set_option(second.get(), rondo::reuse_port{}));
    CHECK(::bind(second.get(), bound.data(), bound.size()) == 0);
}

TEST_CASE("keep_alive sets its times only where they are given", "[net][socket_option]") {
    const unique_fd fd = tcp();
    const auto before = get_option<rondo::keep_alive>(fd.get());
    CHECK_FALSE(before.enabled());
    CHECK(before.idle() > 0s);
    REQUIRE_FALSE(set_option(fd.get(), rondo::keep_alive(true)));
    const auto plain = get_option<rondo::keep_alive>(fd.get());
    CHECK(plain.enabled());
    CHECK(plain.idle() == before.idle());
    CHECK(plain.interval() == before.interval());
    CHECK(plain.count() == before.count());

    REQUIRE_FALSE(set_option(fd.get(), rondo::keep_alive(61s, 11s, 5)));
    CHECK(raw(fd.get(), SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(raw(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE) == 61);
    CHECK(raw(fd.get(), IPPROTO_TCP, TCP_KEEPINTVL) == 11);
    CHECK(raw(fd.get(), IPPROTO_TCP, TCP_KEEPCNT) == 5);
    REQUIRE_FALSE(set_option(fd.get(), rondo::keep_alive(false)));
    const auto off = get_option<rondo::keep_alive>(fd.get());
    CHECK_FALSE(off.enabled());
    CHECK(off.idle() == 61s);
    CHECK(off.interval() == 11s);
    CHECK(off.count() == 5);
}

TEST_CASE("linger tells the background from a time, and zero from none", "[net][socket_option]") {
    const unique_fd fd = tcp();
    CHECK(get_option<rondo::linger>(fd.get()) == rondo::linger());
    REQUIRE_FALSE(set_option(fd.get(), rondo::linger(0s)));
    CHECK(get_option<rondo::linger>(fd.get()).time() == 0s);
    REQUIRE_FALSE(set_option(fd.get(), rondo::linger(7s)));
    CHECK(get_option<rondo::linger>(fd.get()).time() == 7s);
    REQUIRE_FALSE(set_option(fd.get(), rondo::linger()));
    CHECK_FALSE(get_option<rondo::linger>(fd.get()).time());
}

TEST_CASE("buffer sizes read as they were set", "[net][socket_option]") {
    const unique_fd fd = tcp();
    REQUIRE_FALSE(set_option(fd.get(), rondo::receive_buffer(20'000)));
    CHECK(get_option<rondo::receive_buffer>(fd.get()).bytes() == 20'000);
    CHECK(raw(fd.get(), SOL_SOCKET, SO_RCVBUF) == 40'000);
    REQUIRE_FALSE(set_option(fd.get(), rondo::send_buffer(30'000)));
    CHECK(get_option<rondo::send_buffer>(fd.get()).bytes() == 30'000);
    CHECK(raw(fd.get(), SOL_SOCKET, SO_SNDBUF) == 60'000);
}

TEST_CASE("a buffer beyond the limits is cut by the kernel, not refused", "[net][socket_option]") {
    const unique_fd fd = tcp();
    REQUIRE_FALSE(set_option(fd.get(), rondo::receive_buffer((1 << 30) - 1)));
    CHECK(get_option<rondo::receive_buffer>(fd.get()).bytes() < (1 << 30) - 1);
    REQUIRE_FALSE(set_option(fd.get(), rondo::send_buffer(1)));
    CHECK(get_option<rondo::send_buffer>(fd.get()).bytes() > 1);
}

TEST_CASE("ttl is the hop limit of both families", "[net][socket_option]") {
    const unique_fd v4 = tcp();
    REQUIRE_FALSE(set_option(v4.get(), rondo::ttl(5)));
    CHECK(raw(v4.get(), IPPROTO_IP, IP_TTL) == 5);
    CHECK(get_option<rondo::ttl>(v4.get()).hops() == 5);
    const unique_fd v6 = tcp(AF_INET6);
    REQUIRE_FALSE(set_option(v6.get(), rondo::ttl(6)));
    CHECK(raw(v6.get(), IPPROTO_IPV6, IPV6_UNICAST_HOPS) == 6);
    CHECK(raw(v6.get(), IPPROTO_IP, IP_TTL) == 6);
    CHECK(get_option<rondo::ttl>(v6.get()).hops() == 6);
}

TEST_CASE("a value no socket can take is refused with its range", "[net][socket_option]") {
    CHECK(refusal([] { rondo::ttl(0); }) == "ttl 0 is not between 1 and 255");
    CHECK(refusal([] { rondo::ttl(256); }) == "ttl 256 is not between 1 and 255");
    CHECK(refusal([] { rondo::receive_buffer(0); }) ==
          "receive_buffer 0 is not between 1 and 1073741823");
    CHECK(refusal([] { rondo::send_buffer(1LL << 40); }) ==
          "send_buffer 1099511627776 is not between 1 and 1073741823");
    CHECK(refusal([] { rondo::linger(-1s); }) == "linger -1 is not between 0 and 65535");
    CHECK(refusal([] { rondo::keep_alive(0s, 1s, 1); }) ==
          "keep_alive: idle 0 is not between 1 and 32767");
    CHECK(refusal([] { rondo::keep_alive(1s, 32768s, 1); }) ==
          "keep_alive: interval 32768 is not between 1 and 32767");
    CHECK(refusal([] { rondo::keep_alive(1s, 1s, 128); }) ==
          "keep_alive: count 128 is not between 1 and 127");
}

TEST_CASE("the largest values the kernel documents are taken", "[net][socket_option]") {
    const unique_fd fd = tcp();
    CHECK_FALSE(set_option(fd.get(), rondo::keep_alive(32767s, 32767s, 127)));
    CHECK_FALSE(set_option(fd.get(), rondo::ttl(255)));
    REQUIRE_FALSE(set_option(fd.get(), rondo::linger(65535s)));
    CHECK(get_option<rondo::linger>(fd.get()).time() == 65535s);
}

TEST_CASE("an option the socket does not have is an error", "[net][socket_option]") {
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    const unique_fd first(pair[0]);
    const unique_fd second(pair[1]);
    CHECK(set_option(first.get(), rondo::no_delay{}) == std::errc::operation_not_supported);
    CHECK(set_option(first.get(), rondo::keep_alive(1s, 1s, 1)));
    CHECK(set_option(first.get(), rondo::ttl(1)));
    CHECK(set_option(-1, rondo::reuse_address{}) == std::errc::bad_file_descriptor);
    CHECK(set_option(-1, rondo::ttl(1)) == std::errc::bad_file_descriptor);
    try {
        static_cast<void>(get_option<rondo::no_delay>(-1));
        FAIL("no error");
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::bad_file_descriptor);
        CHECK(std::string(error.what()) == "get no_delay: Bad file descriptor");
    }
}
