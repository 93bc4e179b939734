// Socket options on real sockets.
#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/endpoint.hpp>
#include <rondo/net/socket_option.hpp>

#include <support/option.hpp>

#include <catch2/catch_test_macros.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>

namespace {

using namespace std::chrono_literals;
using rondo::get_option;
using rondo::set_option;
using rondo::detail::unique_fd;
using rondo::test::check_flag;
using rondo::test::plain_socket;
using rondo::test::raw_option;
using rondo::test::refusal;

static_assert(rondo::socket_option<rondo::reuse_address>);
static_assert(rondo::socket_option<rondo::reuse_port>);
static_assert(rondo::socket_option<rondo::allow_broadcast>);
static_assert(rondo::socket_option<rondo::linger>);
static_assert(rondo::socket_option<rondo::receive_buffer>);
static_assert(rondo::socket_option<rondo::send_buffer>);
static_assert(!rondo::socket_option<int>);
static_assert(rondo::linger(5s).time() == 5s);

}  // namespace

TEST_CASE("flags are set, cleared and read", "[net][socket_option]") {
    const unique_fd fd = plain_socket();
    check_flag<rondo::reuse_address>(fd.get(), SOL_SOCKET, SO_REUSEADDR);
    check_flag<rondo::reuse_port>(fd.get(), SOL_SOCKET, SO_REUSEPORT);
    const unique_fd datagram = plain_socket(AF_INET, SOCK_DGRAM);
    check_flag<rondo::allow_broadcast>(datagram.get(), SOL_SOCKET, SO_BROADCAST);
}

TEST_CASE("sending to a broadcast address takes allow_broadcast", "[net][socket_option]") {
    const unique_fd fd = plain_socket(AF_INET, SOCK_DGRAM);
    const rondo::socket_address all(rondo::endpoint::parse("127.255.255.255:9").value());
    CHECK(::sendto(fd.get(), "x", 1, 0, all.data(), all.size()) == -1);
    CHECK(errno == EACCES);
    REQUIRE_FALSE(set_option(fd.get(), rondo::allow_broadcast{}));
    CHECK(::sendto(fd.get(), "x", 1, 0, all.data(), all.size()) == 1);
}

TEST_CASE("reuse_port lets two sockets listen on one address", "[net][socket_option]") {
    const unique_fd first = plain_socket();
    const unique_fd second = plain_socket();
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

TEST_CASE("linger tells the background from a time, and zero from none", "[net][socket_option]") {
    const unique_fd fd = plain_socket();
    CHECK(get_option<rondo::linger>(fd.get()) == rondo::linger());
    REQUIRE_FALSE(set_option(fd.get(), rondo::linger(0s)));
    CHECK(get_option<rondo::linger>(fd.get()).time() == 0s);
    REQUIRE_FALSE(set_option(fd.get(), rondo::linger(7s)));
    CHECK(get_option<rondo::linger>(fd.get()).time() == 7s);
    REQUIRE_FALSE(set_option(fd.get(), rondo::linger()));
    CHECK_FALSE(get_option<rondo::linger>(fd.get()).time());
}

TEST_CASE("buffer sizes read as they were set", "[net][socket_option]") {
    const unique_fd fd = plain_socket();
    REQUIRE_FALSE(set_option(fd.get(), rondo::receive_buffer(20'000)));
    CHECK(get_option<rondo::receive_buffer>(fd.get()).bytes() == 20'000);
    CHECK(raw_option(fd.get(), SOL_SOCKET, SO_RCVBUF) == 40'000);
    REQUIRE_FALSE(set_option(fd.get(), rondo::send_buffer(30'000)));
    CHECK(get_option<rondo::send_buffer>(fd.get()).bytes() == 30'000);
    CHECK(raw_option(fd.get(), SOL_SOCKET, SO_SNDBUF) == 60'000);
}

TEST_CASE("a buffer beyond the limits is cut by the kernel, not refused", "[net][socket_option]") {
    const unique_fd fd = plain_socket();
    REQUIRE_FALSE(set_option(fd.get(), rondo::receive_buffer((1 << 30) - 1)));
    CHECK(get_option<rondo::receive_buffer>(fd.get()).bytes() < (1 << 30) - 1);
    REQUIRE_FALSE(set_option(fd.get(), rondo::send_buffer(1)));
    CHECK(get_option<rondo::send_buffer>(fd.get()).bytes() > 1);
}

TEST_CASE("a value no socket can take is refused with its range", "[net][socket_option]") {
    CHECK(refusal([] { rondo::receive_buffer(0); }) ==
          "receive_buffer 0 is not between 1 and 1073741823");
    CHECK(refusal([] { rondo::send_buffer(1LL << 40); }) ==
          "send_buffer 1099511627776 is not between 1 and 1073741823");
    CHECK(refusal([] { rondo::linger(-1s); }) == "linger -1 is not between 0 and 65535");
}

TEST_CASE("linger has a plain name beside the struct of the system's header",
          "[net][socket_option]") {
    using namespace rondo;
    const unique_fd fd = plain_socket();
    REQUIRE_FALSE(set_option(fd.get(), linger_time(3s)));
    CHECK(get_option<linger_time>(fd.get()) == rondo::linger(3s));
    using rondo::linger;
    REQUIRE_FALSE(set_option(fd.get(), linger(4s)));
    CHECK(get_option<linger>(fd.get()).time() == 4s);
    const struct ::linger wire = {1, 5};
    CHECK(wire.l_linger == 5);
}

TEST_CASE("the largest linger time the kernel documents is taken", "[net][socket_option]") {
    const unique_fd fd = plain_socket();
    REQUIRE_FALSE(set_option(fd.get(), rondo::linger(65535s)));
    CHECK(get_option<rondo::linger>(fd.get()).time() == 65535s);
}

TEST_CASE("an option on what is no socket is an error that names it", "[net][socket_option]") {
    CHECK(set_option(-1, rondo::reuse_address{}) == std::errc::bad_file_descriptor);
    try {
        static_cast<void>(get_option<rondo::reuse_address>(-1));
        FAIL("no error");
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::bad_file_descriptor);
        CHECK(std::string(error.what()) ==
              "get reuse_address: Bad file descriptor (the descriptor is closed)");
    }
}
