// Socket options of TCP on real sockets.
#include <rondo/net/tcp.hpp>
#include <rondo/net/tcp_option.hpp>

#include <support/option.hpp>

#include <catch2/catch_test_macros.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <chrono>
#include <fstream>
#include <string>
#include <string_view>
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

static_assert(rondo::socket_option<rondo::no_delay>);
static_assert(rondo::socket_option<rondo::quick_ack>);
static_assert(rondo::socket_option<rondo::cork>);
static_assert(rondo::socket_option<rondo::keep_alive>);
static_assert(rondo::socket_option<rondo::user_timeout>);
static_assert(rondo::socket_option<rondo::congestion_control>);
static_assert(rondo::socket_option<rondo::defer_accept>);
static_assert(rondo::keep_alive(60s, 10s, 5).enabled());
static_assert(rondo::user_timeout(10s).time() == 10'000ms);
static_assert(rondo::congestion_control("cubic").name() == "cubic");

std::string available_algorithms() {
    std::ifstream file("/proc/sys/net/ipv4/tcp_available_congestion_control");
    std::string line;
    std::getline(file, line);
    return line;
}

}  // namespace

TEST_CASE("TCP's flags are set, cleared and read", "[net][tcp_option]") {
    const unique_fd fd = plain_socket();
    check_flag<rondo::no_delay>(fd.get(), IPPROTO_TCP, TCP_NODELAY);
    check_flag<rondo::quick_ack>(fd.get(), IPPROTO_TCP, TCP_QUICKACK);
    check_flag<rondo::cork>(fd.get(), IPPROTO_TCP, TCP_CORK);
}

TEST_CASE("keep_alive sets its times only where they are given", "[net][tcp_option]") {
    const unique_fd fd = plain_socket();
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
    CHECK(raw_option(fd.get(), SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(raw_option(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE) == 61);
    CHECK(raw_option(fd.get(), IPPROTO_TCP, TCP_KEEPINTVL) == 11);
    CHECK(raw_option(fd.get(), IPPROTO_TCP, TCP_KEEPCNT) == 5);
    REQUIRE_FALSE(set_option(fd.get(), rondo::keep_alive(false)));
    const auto off = get_option<rondo::keep_alive>(fd.get());
    CHECK_FALSE(off.enabled());
    CHECK(off.idle() == 61s);
    CHECK(off.interval() == 11s);
    CHECK(off.count() == 5);
}

TEST_CASE("user_timeout is counted in milliseconds, and 0 is the default", "[net][tcp_option]") {
    const unique_fd fd = plain_socket();
    CHECK(get_option<rondo::user_timeout>(fd.get()) == rondo::user_timeout(0ms));
    REQUIRE_FALSE(set_option(fd.get(), rondo::user_timeout(2500ms)));
    CHECK(raw_option(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT) == 2500);
    CHECK(get_option<rondo::user_timeout>(fd.get()).time() == 2500ms);
}

TEST_CASE("defer_accept reads what the kernel makes of the time", "[net][tcp_option]") {
    const unique_fd fd = plain_socket();
    CHECK(get_option<rondo::defer_accept>(fd.get()).time() == 0s);
    REQUIRE_FALSE(set_option(fd.get(), rondo::defer_accept(5s)));
    CHECK(get_option<rondo::defer_accept>(fd.get()).time() >= 5s);
    CHECK(raw_option(fd.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT) >= 5);
}

TEST_CASE("each algorithm for congestion that may be chosen is set by its name",
          "[net][tcp_option]") {
    // "reno" is built into every kernel and allowed to everybody.
    const unique_fd fd = plain_socket();
    REQUIRE_FALSE(set_option(fd.get(), rondo::congestion_control("reno")));
    char name[16] = {};
    socklen_t size = sizeof name;
    REQUIRE(::getsockopt(fd.get(), IPPROTO_TCP, TCP_CONGESTION, name, &size) == 0);
    CHECK(std::string_view(name) == "reno");
    CHECK(get_option<rondo::congestion_control>(fd.get()) == rondo::congestion_control("reno"));
    CHECK(get_option<rondo::congestion_control>(plain_socket().get()).name().size() > 0);
}

TEST_CASE("an unknown algorithm for congestion is an error that names those there are",
          "[net][tcp_option]") {
    rondo::tcp_socket socket(rondo::ip_version::v4);
    try {
        socket.set(rondo::congestion_control("carrier-pigeon"));
        FAIL("no error");
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::no_such_file_or_directory);
        CHECK(error.what() == "congestion_control: No such file or directory (the kernel has no "
                              "such algorithm; there are: " + available_algorithms() + ")");
    }
}

TEST_CASE("a value no TCP socket can take is refused with a sentence", "[net][tcp_option]") {
    CHECK(refusal([] { rondo::keep_alive(0s, 1s, 1); }) ==
          "keep_alive: idle 0 is not between 1 and 32767");
    CHECK(refusal([] { rondo::keep_alive(1s, 32768s, 1); }) ==
          "keep_alive: interval 32768 is not between 1 and 32767");
    CHECK(refusal([] { rondo::keep_alive(1s, 1s, 128); }) ==
          "keep_alive: count 128 is not between 1 and 127");
    CHECK(refusal([] { rondo::user_timeout(-1ms); }) ==
          "user_timeout -1 is not between 0 and 2147483647");
    CHECK(refusal([] { rondo::user_timeout(24h * 30); }) ==
          "user_timeout 2592000000 is not between 0 and 2147483647");
    CHECK(refusal([] { rondo::defer_accept(-1s); }) ==
          "defer_accept -1 is not between 0 and 32767");
    CHECK(refusal([] { rondo::congestion_control(""); }) ==
          "congestion_control \"\" is not a name of 1 to 15 characters");
    CHECK(refusal([] { rondo::congestion_control("sixteencharacter"); }) ==
          "congestion_control \"sixteencharacter\" is not a name of 1 to 15 characters");
}

TEST_CASE("the largest values of TCP's options are taken", "[net][tcp_option]") {
    const unique_fd fd = plain_socket();
    CHECK_FALSE(set_option(fd.get(), rondo::keep_alive(32767s, 32767s, 127)));
    CHECK_FALSE(set_option(fd.get(), rondo::user_timeout(2'147'483'647ms)));
    CHECK_FALSE(set_option(fd.get(), rondo::defer_accept(32767s)));
}

TEST_CASE("TCP's options on another socket are errors", "[net][tcp_option]") {
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    const unique_fd first(pair[0]);
    const unique_fd second(pair[1]);
    CHECK(set_option(first.get(), rondo::no_delay{}) == std::errc::operation_not_supported);
    CHECK(set_option(first.get(), rondo::keep_alive(1s, 1s, 1)));
    CHECK(set_option(first.get(), rondo::congestion_control("reno")));
    try {
        static_cast<void>(get_option<rondo::congestion_control>(-1));
        FAIL("no error");
    } catch (const std::system_error& error) {
        CHECK(std::string(error.what()) ==
              "get congestion_control: Bad file descriptor (the descriptor is closed)");
    }
}
