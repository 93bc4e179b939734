// Socket options of IP on real sockets.
#include <rondo/net/ip_option.hpp>

#include <support/option.hpp>

#include <catch2/catch_test_macros.hpp>

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <system_error>

namespace {

using rondo::get_option;
using rondo::set_option;
using rondo::detail::unique_fd;
using rondo::test::check_flag;
using rondo::test::plain_socket;
using rondo::test::raw_option;
using rondo::test::refusal;

static_assert(rondo::socket_option<rondo::v6_only>);
static_assert(rondo::socket_option<rondo::ttl>);
static_assert(rondo::socket_option<rondo::multicast_ttl>);
static_assert(rondo::socket_option<rondo::multicast_loop>);
static_assert(rondo::socket_option<rondo::multicast_interface>);
static_assert(rondo::ttl(64).hops() == 64);
static_assert(rondo::multicast_interface(2).index() == 2);

unique_fd datagram(int family = AF_INET) { return plain_socket(family, SOCK_DGRAM); }

}  // namespace

TEST_CASE("IP's flags are set, cleared and read", "[net][ip_option]") {
    check_flag<rondo::v6_only>(plain_socket(AF_INET6).get(), IPPROTO_IPV6, IPV6_V6ONLY);
    check_flag<rondo::multicast_loop>(datagram().get(), IPPROTO_IP, IP_MULTICAST_LOOP);
    const unique_fd v6 = datagram(AF_INET6);
    check_flag<rondo::multicast_loop>(v6.get(), IPPROTO_IPV6, IPV6_MULTICAST_LOOP);
    REQUIRE_FALSE(set_option(v6.get(), rondo::multicast_loop{false}));
    CHECK(raw_option(v6.get(), IPPROTO_IP, IP_MULTICAST_LOOP) == 0);
}

TEST_CASE("ttl is the hop limit of both families", "[net][ip_option]") {
    const unique_fd v4 = plain_socket();
    REQUIRE_FALSE(set_option(v4.get(), rondo::ttl(5)));
    CHECK(raw_option(v4.get(), IPPROTO_IP, IP_TTL) == 5);
    CHECK(get_option<rondo::ttl>(v4.get()).hops() == 5);
    const unique_fd v6 = plain_socket(AF_INET6);
    REQUIRE_FALSE(set_option(v6.get(), rondo::ttl(6)));
    CHECK(raw_option(v6.get(), IPPROTO_IPV6, IPV6_UNICAST_HOPS) == 6);
    CHECK(raw_option(v6.get(), IPPROTO_IP, IP_TTL) == 6);
    CHECK(get_option<rondo::ttl>(v6.get()).hops() == 6);
}

TEST_CASE("multicast_ttl is the hop limit of groups in both families", "[net][ip_option]") {
    const unique_fd v4 = datagram();
    CHECK(get_option<rondo::multicast_ttl>(v4.get()).hops() == 1);
    REQUIRE_FALSE(set_option(v4.get(), rondo::multicast_ttl(0)));
    CHECK(raw_option(v4.get(), IPPROTO_IP, IP_MULTICAST_TTL) == 0);
    CHECK(get_option<rondo::multicast_ttl>(v4.get()).hops() == 0);
    const unique_fd v6 = datagram(AF_INET6);
    REQUIRE_FALSE(set_option(v6.get(), rondo::multicast_ttl(7)));
    CHECK(raw_option(v6.get(), IPPROTO_IPV6, IPV6_MULTICAST_HOPS) == 7);
    CHECK(raw_option(v6.get(), IPPROTO_IP, IP_MULTICAST_TTL) == 7);
    CHECK(get_option<rondo::multicast_ttl>(v6.get()).hops() == 7);
}

TEST_CASE("multicast_interface is taken by name and by index", "[net][ip_option]") {
    const unsigned loopback = ::if_nametoindex("lo");
    if (loopback == 0) SKIP("there is no interface lo here");
    CHECK(rondo::multicast_interface("lo").index() == loopback);
    for (const int family : {AF_INET, AF_INET6}) {
        const unique_fd fd = datagram(family);
        CHECK(get_option<rondo::multicast_interface>(fd.get()).index() == 0);
        REQUIRE_FALSE(set_option(fd.get(), rondo::multicast_interface("lo")));
        CHECK(get_option<rondo::multicast_interface>(fd.get()).index() == loopback);
        REQUIRE_FALSE(set_option(fd.get(), rondo::multicast_interface(0)));
        CHECK(get_option<rondo::multicast_interface>(fd.get()).index() == 0);
        CHECK(set_option(fd.get(), rondo::multicast_interface(999'999)));
    }
}

TEST_CASE("a value no IP socket can take is refused with a sentence", "[net][ip_option]") {
    CHECK(refusal([] { rondo::ttl(0); }) == "ttl 0 is not between 1 and 255");
    CHECK(refusal([] { rondo::ttl(300); }) == "ttl 300 is not between 1 and 255");
    CHECK(refusal([] { rondo::multicast_ttl(256); }) ==
          "multicast_ttl 256 is not between 0 and 255");
    CHECK(refusal([] { rondo::multicast_interface("no-such-one"); }) ==
          "multicast_interface \"no-such-one\": there is no such interface; see ip link");
    CHECK_FALSE(set_option(plain_socket().get(), rondo::ttl(255)));
}

TEST_CASE("IP's options on another socket are errors", "[net][ip_option]") {
    const unique_fd fd = plain_socket(AF_UNIX);
    CHECK(set_option(fd.get(), rondo::ttl(1)));
    CHECK(set_option(fd.get(), rondo::multicast_interface(1)));
    CHECK(set_option(-1, rondo::ttl(1)) == std::errc::bad_file_descriptor);
    CHECK(set_option(-1, rondo::multicast_interface(1)) == std::errc::bad_file_descriptor);
    CHECK_THROWS_AS(get_option<rondo::multicast_interface>(-1), std::system_error);
    CHECK_THROWS_AS(get_option<rondo::ttl>(fd.get()), std::system_error);
}
