#include <rondo/net/option_hint.hpp>

#include <rondo/net/ip_option.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/net/tcp_option.hpp>
#include <rondo/net/udp.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/net/unix_credentials.hpp>
#include <rondo/net/unix_datagram.hpp>

#include <support/option.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>

#include <chrono>
#include <string>

using namespace std::chrono_literals;
using namespace rondo;
using rondo::test::plain_socket;

namespace {

// The hint of what a call throws; all of the text where it has none.
template <typename Call>
std::string hint_of(Call&& call) {
    try {
        call();
    } catch (const socket_error& error) {
        const std::string text = error.what();
        const auto begin = text.find('(');
        return begin == std::string::npos ? text : text.substr(begin);
    }
    return "no error";
}

template <typename Option>
std::string setting(int fd, const Option& option) {
    return hint_of([&] { detail::set_or_throw(fd, option); });
}

template <typename Option>
std::string getting(int fd) {
    return hint_of([&] { static_cast<void>(get_option<Option>(fd)); });
}

const endpoint v4_here(ip_address::v4_loopback(), 0);
const endpoint v6_here(ip_address::v6_loopback(), 0);

}  // namespace

TEST_CASE("an option of TCP on another kind of socket is refused with a remedy",
          "[net][option_hint]") {
    const udp_socket udp = udp_socket::bind(v4_here);
    const auto [unix_one, unix_other] = unix_socket::pair();
    for (const int fd : {udp.descriptor(), unix_one.descriptor()}) {
        CHECK(setting(fd, no_delay{}) == "(TCP sockets only: others hold nothing back)");
        CHECK(setting(fd, quick_ack{}) == "(TCP sockets only)");
        CHECK(setting(fd, cork{}) ==
              "(TCP sockets only: elsewhere send several buffers by one call of send())");
        CHECK(setting(fd, keep_alive(1s, 1s, 1)) ==
              "(TCP sockets only; see with_timeout for others)");
        CHECK(setting(fd, user_timeout(1s)) == "(TCP sockets only; see with_timeout for others)");
        CHECK(setting(fd, defer_accept(1s)) == "(TCP sockets only; see with_timeout for others)");
        CHECK(setting(fd, congestion_control("reno")) == "(TCP sockets only)");
        CHECK(getting<no_delay>(fd) == "(TCP sockets only: others hold nothing back)");
        CHECK(getting<keep_alive>(fd) == "(TCP sockets only; see with_timeout for others)");
    }
}

TEST_CASE("v6_only on the wrong socket or too late is refused with a remedy",
          "[net][option_hint]") {
    const std::string kind = "(IPv6 sockets only: an IPv4 socket has nothing to keep off)";
    CHECK(setting(plain_socket().get(), v6_only{}) == kind);
    CHECK(getting<v6_only>(plain_socket().get()) == kind);
    const auto [one, other] = unix_datagram_socket::pair();
    CHECK(setting(one.descriptor(), v6_only{}) == kind);
    udp_socket bound = udp_socket::bind(v6_here);
    CHECK(hint_of([&] { bound.set(v6_only{false}); }) ==
          "(only before bind and connect: give it to listen() or bind())");
    const udp_socket in_time = udp_socket::bind(v6_here, v6_only{});
    CHECK(in_time.get<v6_only>().enabled);
}

TEST_CASE("multicast on the wrong socket or interface is refused with a remedy",
          "[net][option_hint]") {
    for (const int family : {AF_INET, AF_INET6, AF_UNIX}) {
        const auto fd = plain_socket(family);
        CHECK(setting(fd.get(), multicast_ttl(3)) == "(UDP sockets only)");
        CHECK(setting(fd.get(), multicast_interface(1)) == "(UDP sockets only)");
    }
    const auto unix_fd = plain_socket(AF_UNIX);
    CHECK(setting(unix_fd.get(), multicast_loop{}) == "(UDP sockets only)");
    CHECK(setting(unix_fd.get(), ttl(3)) == "(IPv4 and IPv6 sockets only)");
    CHECK(getting<ttl>(unix_fd.get()) == "(IPv4 and IPv6 sockets only)");
    const unsigned nowhere = 2'000'000'000;
    for (const int family : {AF_INET, AF_INET6}) {
        const auto fd = plain_socket(family, SOCK_DGRAM);
        CHECK(setting(fd.get(), multicast_interface(nowhere)) ==
              "(no interface has this index; see ip link)");
    }
}

TEST_CASE("what Unix sockets have is refused elsewhere, and what they lack on them",
          "[net][option_hint]") {
    const auto unix_fd = plain_socket(AF_UNIX);
    const auto tcp = plain_socket();
    const std::string port = setting(unix_fd.get(), reuse_port{});
    // Linux before 6.13 takes both without a word.
    CHECK((port == "no error" ||
           port == "(not on a Unix socket: several tasks, or processes that have its descriptor, "
                   "may accept from one listener)"));
    const std::string credentials = setting(tcp.get(), pass_credentials{});
    CHECK((credentials == "no error" || credentials == "(Unix sockets only)"));
    CHECK(detail::option_hint("pass_credentials", EOPNOTSUPP) == "Unix sockets only");
}

TEST_CASE("any option on what is no socket says so", "[net][option_hint]") {
    const detail::unique_fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK(setting(file.get(), reuse_address{}) == "(the descriptor is no socket)");
    CHECK(setting(file.get(), rondo::linger(1s)) == "(the descriptor is no socket)");
    CHECK(setting(file.get(), receive_buffer(4096)) == "(the descriptor is no socket)");
    CHECK(getting<send_buffer>(file.get()) == "(the descriptor is no socket)");
    CHECK(setting(-1, allow_broadcast{}) == "(the descriptor is closed)");
    CHECK(setting(-1, multicast_interface(1)) == "(the descriptor is closed)");
    CHECK(getting<pass_credentials>(-1) == "(the descriptor is closed)");
}

TEST_CASE("verbs that are no options have no hint of one", "[net][option_hint]") {
    CHECK(detail::option_hint("connect", EBADF).empty());
    CHECK(detail::option_hint("get dropped", ENOTSOCK).empty());
    CHECK(detail::option_hint("receive_buffer", ENOMEM).empty());
}
