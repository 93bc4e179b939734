#include <rondo/net/udp.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/net/ip_option.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/with_timeout.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/raw_udp.hpp>
#include <support/receiving.hpp>
#include <support/thrown_by.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>

#include <chrono>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using namespace std::chrono_literals;

namespace {

const endpoint any_v4(ip_address::v4_loopback(), 0);
const endpoint any_v6(ip_address::v6_loopback(), 0);

// What as_result() hands out can be looked at without an exception.
template <typename T>
bool is_canceled(const result<T>& outcome) {
    return outcome.error() == std::errc::operation_canceled;
}

task<std::string> next_text(udp_socket& socket) {
    const datagram next = co_await socket.recv_from();
    co_return std::string(next.text());
}

// The loopback interface has no route for it. Empty where there is none.
std::string multicast_interface_for_v6() {
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0) return {};
    std::string found;
    for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
        const bool up = (each->ifa_flags & (IFF_UP | IFF_MULTICAST)) == (IFF_UP | IFF_MULTICAST);
        const bool v6 = each->ifa_addr != nullptr && each->ifa_addr->sa_family == AF_INET6;
        if (up && v6) found = each->ifa_name;
    }
    ::freeifaddrs(all);
    return found;
}

task<> member_hears(ip_address group, std::string interface) {
    const bool v4 = group.is_v4();
    udp_socket member =
        udp_socket::bind(endpoint(v4 ? ip_address::v4_any() : ip_address::v6_any(), 0));
    udp_socket sender(v4 ? ip_version::v4 : ip_version::v6);
    sender.set(multicast_interface(interface));
    sender.set(multicast_loop{true});
    const endpoint all(group, member.local_endpoint().port());
    member.join(group, interface);
    co_await sender.send_to("to members", all);
    const std::string got = co_await next_text(member);
    CHECK(got == "to members");
    member.leave(group, interface);
    co_await sender.send_to("too late", all);
    raw_udp direct(v4 ? ip_address::v4_loopback() : ip_address::v6_loopback());
    direct.send_to("directly", endpoint(direct.local_endpoint().address(), all.port()));
    const std::string next = co_await next_text(member);
    CHECK(next == "directly");
}

}  // namespace

// --- values ----------------------------------------------------------------------------------

TEST_CASE("a UDP socket moves and does not copy", "[net][udp]") {
    STATIC_CHECK(std::is_nothrow_move_constructible_v<udp_socket>);
    STATIC_CHECK(std::is_nothrow_move_assignable_v<udp_socket>);
    STATIC_CHECK_FALSE(std::is_copy_constructible_v<udp_socket>);
    STATIC_CHECK(std::is_nothrow_move_constructible_v<datagram>);
    STATIC_CHECK_FALSE(std::is_copy_constructible_v<datagram>);
    STATIC_CHECK_FALSE(std::is_constructible_v<bool, datagram>);
}

TEST_CASE("close() of a UDP socket has closed when it completes, wherever the task is kept",
          "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(*endpoint::parse("127.0.0.1:0"));
        const int descriptor = socket.descriptor();
        task<> closing = socket.close();
        co_await std::move(closing);
        CHECK_FALSE(is_open(descriptor));
    });
}

TEST_CASE("a UDP socket is non-blocking, close-on-exec, and closed with its object",
          "[net][udp]") {
    for (const ip_version version : {ip_version::v4, ip_version::v6}) {
        int descriptor = -1;
        {
            const udp_socket socket(version);
            REQUIRE(socket.is_open());
            descriptor = socket.descriptor();
            CHECK((::fcntl(descriptor, F_GETFL) & O_NONBLOCK) != 0);
            CHECK((::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) != 0);
        }
        CHECK_FALSE(is_open(descriptor));
    }
    CHECK_FALSE(udp_socket().is_open());
}

TEST_CASE("a UDP socket is bound with options, and tells its port", "[net][udp]") {
    const udp_socket first = udp_socket::bind(any_v4, reuse_port{true});
    CHECK(first.local_endpoint().port() != 0);
    CHECK(first.get<reuse_port>().enabled);
    const udp_socket second = udp_socket::bind(first.local_endpoint(), reuse_port{true});
    CHECK(second.local_endpoint() == first.local_endpoint());
    udp_socket third(ip_version::v4);
    third.set(allow_broadcast{true});
    CHECK(third.get<allow_broadcast>().enabled);
}

TEST_CASE("a UDP port is bound once, and the error tells where to look", "[net][udp]") {
    const udp_socket first = udp_socket::bind(any_v4);
    try {
        const udp_socket second = udp_socket::bind(first.local_endpoint());
        FAIL("bound twice");
    } catch (const socket_error& error) {
        CHECK(error.code() == std::errc::address_in_use);
        CHECK(std::string(error.what()).find("bind " + first.local_endpoint().to_string()) == 0);
    }
}

// --- sending and receiving -------------------------------------------------------------------

TEST_CASE("a datagram comes with its sender, on lease", "[net][udp]") {
    for (const endpoint& local : {any_v4, any_v6}) {
        test::run([](endpoint where) -> task<> {
            udp_socket socket = udp_socket::bind(where);
            raw_udp peer(where.address());
            peer.send_to("hello", socket.local_endpoint());
            const datagram got = co_await socket.recv_from();
            CHECK(got.text() == "hello");
            CHECK(got.size() == 5);
            CHECK(got.from() == peer.local_endpoint());
            CHECK_FALSE(got.truncated());
            CHECK(got.true_size() == 5);
        }, local);
    }
}

TEST_CASE("a datagram comes with its sender, into a buffer", "[net][udp]") {
    for (const endpoint& local : {any_v4, any_v6}) {
        test::run([](endpoint where) -> task<> {
            udp_socket socket = udp_socket::bind(where);
            raw_udp peer(where.address());
            peer.send_to("hello", socket.local_endpoint());
            std::string buffer(100, '\0');
            const auto got = co_await socket.recv_from(writable(buffer));
            CHECK(got.size == 5);
            CHECK(buffer.substr(0, 5) == "hello");
            CHECK(got.from == peer.local_endpoint());
            CHECK_FALSE(got.truncated());
        }, local);
    }
}

TEST_CASE("a received datagram is sent back as it is", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        raw_udp peer;
        peer.send_to("there and back", socket.local_endpoint());
        const datagram got = co_await socket.recv_from();
        co_await socket.send_to(got, got.from());
        const auto answer = peer.receive();
        REQUIRE(answer);
        CHECK(answer->text == "there and back");
        CHECK(answer->from == socket.local_endpoint());
    });
}

TEST_CASE("the first send gives a socket its port", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket(ip_version::v4);
        raw_udp peer;
        co_await socket.send_to("hello", peer.local_endpoint());
        const auto got = peer.receive();
        REQUIRE(got);
        CHECK(got->text == "hello");
        CHECK(got->from.port() == socket.local_endpoint().port());
    });
}

TEST_CASE("more buffers than the kernel takes at once make one datagram, too", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket receiver = udp_socket::bind(endpoint(ip_address::v4_loopback(), 0));
        udp_socket sender = udp_socket::bind(endpoint(ip_address::v4_loopback(), 0));
        const endpoint to = receiver.local_endpoint();
        std::string text = pattern(9000);
        std::string buffer(10'000, '\0');
        for (const std::size_t count : {1023u, 1024u, 1025u, 3000u}) {
            std::vector<const_buffer> parts;
            for (std::size_t i = 0; i < count; ++i) {
                parts.push_back(std::string_view(text).substr(i * 3, 3));
            }
            co_await sender.send_to(std::span<const const_buffer>(parts), to);
            const auto got = co_await receiver.recv_from(writable(buffer));
            CHECK(got.true_size == 3 * count);
            CHECK(buffer.substr(0, got.size) == text.substr(0, 3 * count));
        }
        // The size alone is an error, and said to be one.
        std::vector<const_buffer> many(70'000, const_buffer(std::string_view("x")));
        std::string refusal;
        try {
            co_await sender.send_to(std::span<const const_buffer>(many), to);
        } catch (const socket_error& error) {
            CHECK(error.code() == std::errc::message_size);
            refusal = error.what();
        }
        CHECK(refusal.find("longer than a datagram can be") != std::string::npos);
    });
}

TEST_CASE("several buffers make one datagram", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        raw_udp peer;
        const std::array<const_buffer, 3> three = {"one ", "two ", "three"};
        co_await socket.send_to(std::span<const const_buffer>(three), peer.local_endpoint());
        const std::vector<const_buffer> many(50, const_buffer("ab"));
        co_await socket.send_to(std::span(many), peer.local_endpoint());
        socket.connect(peer.local_endpoint());
        co_await socket.send(std::span<const const_buffer>(three));
        const auto got = peer.receive_all();
        REQUIRE(got.size() == 3);
        CHECK(got[0] == "one two three");
        CHECK(got[1].size() == 100);
        CHECK(got[2] == "one two three");
    });
}

TEST_CASE("an empty datagram is a datagram", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        raw_udp peer;
        for (int round = 0; round < 3; ++round) {
            peer.send_to("", socket.local_endpoint());
            peer.send_to("behind it", socket.local_endpoint());
            const datagram empty = co_await socket.recv_from();
            CHECK(empty.empty());
            CHECK(empty.from() == peer.local_endpoint());
            const std::string next = co_await next_text(socket);
            CHECK(next == "behind it");
        }
        std::string buffer(10, '\0');
        peer.send_to("", socket.local_endpoint());
        const auto into = co_await socket.recv_from(writable(buffer));
        CHECK(into.size == 0);
        CHECK(into.from == peer.local_endpoint());
        co_await socket.send_to("", peer.local_endpoint());
        const auto sent = peer.receive();
        REQUIRE(sent);
        CHECK(sent->text.empty());
    });
}

TEST_CASE("a datagram too long for its buffer is cut, and tells its true size", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        raw_udp peer;
        std::string buffer(4, '\0');
        peer.send_to("truncated", socket.local_endpoint());
        const auto direct = co_await socket.recv_from(writable(buffer));
        CHECK(direct.size == 4);
        CHECK(buffer == "trun");
        CHECK(direct.truncated());
        CHECK(direct.true_size == 9);

        const std::string large = pattern(30000);
        peer.send_to(large, socket.local_endpoint());
        const datagram leased = co_await socket.recv_from();
        CHECK(leased.truncated());
        CHECK(leased.true_size() == large.size());
        CHECK(leased.size() == 16384 - 16 - 16);
        CHECK(leased.text() == std::string_view(large).substr(0, leased.size()));

        // Now one is armed, and a buffer is filled by a copy of what it has brought.
        peer.send_to("truncated", socket.local_endpoint());
        peer.send_to("whole", socket.local_endpoint());
        const auto copied = co_await socket.recv_from(writable(buffer));
        CHECK(copied.size == 4);
        CHECK(copied.true_size == 9);
        const std::string next = co_await next_text(socket);
        CHECK(next == "whole");
    });
}

TEST_CASE("recv_from(buffer) takes the longest datagram there is", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4, receive_buffer(1 << 18));
        raw_udp peer;
        const std::string longest = pattern(65507);
        peer.send_to(longest, socket.local_endpoint());
        std::string buffer(65536, '\0');
        const auto got = co_await socket.recv_from(writable(buffer));
        CHECK(got.size == longest.size());
        CHECK_FALSE(got.truncated());
        CHECK(buffer.substr(0, got.size) == longest);
    });
}

TEST_CASE("both ways to receive take datagrams in their order", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        raw_udp peer;
        std::string buffer(100, '\0');
        for (int i = 0; i < 60; ++i) peer.send_to(std::to_string(i), socket.local_endpoint());
        for (int i = 0; i < 60; ++i) {
            if (i % 3 == 0) {
                const auto got = co_await socket.recv_from(writable(buffer));
                CHECK(buffer.substr(0, got.size) == std::to_string(i));
            } else {
                const std::string got = co_await next_text(socket);
                CHECK(got == std::to_string(i));
            }
        }
    });
}

TEST_CASE("a datagram can be kept beyond its buffer, its socket and its scheduler",
          "[net][udp]") {
    datagram leased;
    datagram owned;
    test::run([&]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        raw_udp peer;
        peer.send_to("leased", socket.local_endpoint());
        peer.send_to("owned", socket.local_endpoint());
        leased = co_await socket.recv_from();
        const datagram next = co_await socket.recv_from();
        owned = next.to_owned();
        CHECK(owned.from() == peer.local_endpoint());
    });
    CHECK(leased.text() == "leased");
    CHECK(owned.text() == "owned");
}

// --- connected -------------------------------------------------------------------------------

TEST_CASE("a connected socket talks with its peer alone", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        raw_udp peer;
        raw_udp stranger;
        socket.connect(peer.local_endpoint());
        CHECK(socket.remote_endpoint() == peer.local_endpoint());
        stranger.send_to("from a stranger", socket.local_endpoint());
        peer.send_to("one", socket.local_endpoint());
        peer.send_to("two", socket.local_endpoint());
        std::string buffer(100, '\0');
        const std::size_t n = co_await socket.recv(writable(buffer));
        CHECK(buffer.substr(0, n) == "one");
        const datagram second = co_await socket.recv();
        CHECK(second.text() == "two");
        co_await socket.send("answer");
        const auto answer = peer.receive();
        REQUIRE(answer);
        CHECK(answer->text == "answer");
        socket.disconnect();
        const std::error_code no_peer = co_await thrown_by(socket.send("to whom?"));
        CHECK(no_peer == std::errc::destination_address_required);
        // The first send after it gives the socket a port again.
        co_await socket.send_to("hello", stranger.local_endpoint());
        stranger.send_to("welcome now", socket.local_endpoint());
        const std::string next = co_await next_text(socket);
        CHECK(next == "welcome now");
    });
}

TEST_CASE("a connected socket learns that nobody is there, and goes on", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket(ip_version::v4);
        const endpoint gone = nobody();
        socket.connect(gone);
        for (int round = 0; round < 3; ++round) {
            co_await socket.send("anybody?");
            const auto failed = co_await as_result(socket.recv());
            CHECK(failed.error() == std::errc::connection_refused);
        }
        co_await socket.send("anybody?");
        std::string text;
        try {
            const datagram unexpected = co_await socket.recv();
        } catch (const socket_error& error) {
            text = error.what();
        }
        CHECK(text == "recv " + gone.to_string() +
                          ": Connection refused (no socket has this port there; see ss -lun)");
        // The receive is not ended for good: who comes then is heard.
        raw_udp peer;
        socket.connect(peer.local_endpoint());
        peer.send_to("here I am", socket.local_endpoint());
        const datagram got = co_await socket.recv();
        CHECK(got.text() == "here I am");
    });
}

TEST_CASE("a refusal while a receive is armed and nobody waits is told by the next receive",
          "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        raw_udp peer;
        peer.send_to("arm", socket.local_endpoint());
        const std::string armed = co_await next_text(socket);
        CHECK(armed == "arm");
        socket.connect(nobody());
        co_await socket.send("anybody?");
        co_await some_turns();
        const auto failed = co_await as_result(socket.recv());
        CHECK(failed.error() == std::errc::connection_refused);
        socket.connect(peer.local_endpoint());
        peer.send_to("still heard", socket.local_endpoint());
        const datagram got = co_await socket.recv();
        CHECK(got.text() == "still heard");
    });
}

TEST_CASE("recv(buffer) learns that nobody is there, too", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket(ip_version::v4);
        socket.connect(nobody());
        co_await socket.send("anybody?");
        std::string buffer(10, '\0');
        const std::error_code failed = co_await thrown_by(socket.recv(writable(buffer)));
        CHECK(failed == std::errc::connection_refused);
    });
}

TEST_CASE("a send learns that nobody was there for the one before", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket(ip_version::v4);
        socket.connect(nobody());
        co_await socket.send("anybody?");
        const auto failed = co_await as_result(socket.send("anybody?"));
        CHECK(failed.error() == std::errc::connection_refused);
    });
}

// --- what cannot be sent ---------------------------------------------------------------------

TEST_CASE("a datagram longer than one can be is refused", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        raw_udp peer;
        const std::string too_long(65508, 'x');
        std::string text;
        try {
            co_await socket.send_to(too_long, peer.local_endpoint());
        } catch (const socket_error& error) {
            CHECK(error.code() == std::errc::message_size);
            text = error.what();
        }
        CHECK(text == "send_to " + peer.local_endpoint().to_string() +
                          ": Message too long (longer than a datagram can be: 65507 bytes over "
                          "IPv4, and less where it may not be fragmented)");
        co_await socket.send_to(too_long.substr(1), peer.local_endpoint());
        const auto got = peer.receive();
        REQUIRE(got);
        CHECK(got->text.size() == 65507);
    });
}

TEST_CASE("a broadcast address is refused until the option allows it", "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        udp_socket receiver = udp_socket::bind(endpoint(ip_address::v4_any(), 0));
        const endpoint everybody(*ip_address::parse("127.255.255.255"),
                                 receiver.local_endpoint().port());
        std::string text;
        try {
            co_await socket.send_to("to all", everybody);
        } catch (const socket_error& error) {
            CHECK(error.code() == std::errc::permission_denied);
            text = error.what();
        }
        CHECK(text.find("allow_broadcast") != std::string::npos);
        socket.set(allow_broadcast{true});
        co_await socket.send_to("to all", everybody);
        const std::string got = co_await next_text(receiver);
        CHECK(got == "to all");
    });
}

TEST_CASE("a send without a peer or to nowhere is an error that names the address",
          "[net][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any_v4);
        const std::error_code unconnected = co_await thrown_by(socket.send("to whom?"));
        CHECK(unconnected == std::errc::destination_address_required);
        const std::error_code no_port =
            co_await thrown_by(socket.send_to("x", endpoint(ip_address::v4_loopback(), 0)));
        CHECK(no_port == std::errc::invalid_argument);
    });
}

// --- multicast -------------------------------------------------------------------------------

TEST_CASE("a member of an IPv4 multicast group hears it until it leaves", "[net][udp]") {
    test::run(member_hears, *ip_address::parse("239.255.77.1"), std::string("lo"));
}

TEST_CASE("a member of an IPv6 multicast group hears it until it leaves", "[net][udp]") {
    const std::string interface = multicast_interface_for_v6();
    if (interface.empty()) SKIP("no interface here takes IPv6 multicast");
    // Of interface-local scope: it does not leave this host.
    test::run(member_hears, *ip_address::parse("ff11::77:1"), interface);
}

TEST_CASE("a group joined for one source passes nobody else's datagrams", "[net][udp]") {
    test::run([]() -> task<> {
        const ip_address group = *ip_address::parse("232.255.77.1");
        udp_socket member = udp_socket::bind(endpoint(ip_address::v4_any(), 0));
        udp_socket right = udp_socket::bind(endpoint(*ip_address::parse("127.0.0.2"), 0));
        udp_socket wrong = udp_socket::bind(endpoint(*ip_address::parse("127.0.0.3"), 0));
        right.set(multicast_interface("lo"));
        wrong.set(multicast_interface("lo"));
        const ip_address source = right.local_endpoint().address();
        member.join(group, source, "lo");
        const endpoint all(group, member.local_endpoint().port());
        co_await wrong.send_to("from the wrong one", all);
        co_await right.send_to("from the right one", all);
        const datagram got = co_await member.recv_from();
        CHECK(got.text() == "from the right one");
        CHECK(got.from() == right.local_endpoint());
        member.leave(group, source, "lo");
    });
}

TEST_CASE("what is wrong with a membership is said", "[net][udp]") {
    udp_socket socket = udp_socket::bind(endpoint(ip_address::v4_any(), 0));
    const ip_address group = *ip_address::parse("239.255.77.2");
    const auto what = [](auto call) -> std::string {
        try {
            call();
        } catch (const socket_error& error) {
            return error.what();
        }
        return "no error";
    };
    const std::string where = endpoint(group, socket.local_endpoint().port()).to_string();
    socket.join(group, "lo");
    CHECK(what([&] { socket.join(group, "lo"); }) ==
          "join " + where + ": Address already in use (this socket is in the group already)");
    socket.leave(group, "lo");
    CHECK(what([&] { socket.leave(group, "lo"); }) ==
          "leave " + where +
              ": Cannot assign requested address (this socket is not in the group)");
    CHECK(what([&] { socket.join(group, "no such one"); }) ==
          "join " + where + ": No such device (no interface for it; see ip link and ip route)");
    CHECK(what([&] { socket.join(ip_address::v4_loopback(), "lo"); }).find(
              "Invalid argument (a group has an address of 224.0.0.0/4 or ff00::/8)") !=
          std::string::npos);
    const ip_address v6_group = *ip_address::parse("ff01::4d:3");
    CHECK(what([&] { socket.join(v6_group, "lo"); }).find(
              "Protocol not available (an IPv4 socket joins IPv4 groups only; make an IPv6 one)") !=
          std::string::npos);
    CHECK(what([&] { socket.join(group, ip_address::v6_loopback(), "lo"); }).find(
              "(group and source are both IPv4 or both IPv6)") != std::string::npos);
}
