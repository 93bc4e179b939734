// The classic errors of sockets, each brought about for real, with the hint it comes with.
#include <rondo/net/socket_error.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/task/result.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/private_network.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using rondo::endpoint;
using rondo::socket_error;
using rondo::task;
using rondo::tcp_listener;
using rondo::tcp_socket;
using rondo::test::connected_to_raw_peer;
using rondo::test::run;

endpoint at(const char* text) { return endpoint::parse(text).value(); }
const endpoint any_port(rondo::ip_address::v4_loopback(), 0);

/// The text of the socket_error that `operation` throws.
template <rondo::awaitable Operation>
task<std::string> failure_of(Operation&& operation) {
    try {
        auto&& inner = rondo::detail::as_task(std::forward<Operation>(operation));
        co_await std::move(inner);
    } catch (const socket_error& error) {
        co_return error.what();
    }
    co_return "no error";
}

/// What connect says in a network of its own, after the shell's commands of `setup`.
std::string connect_apart(const std::vector<std::string>& setup, const endpoint& where,
                          const std::function<void()>& begin = [] {}) {
    if (!rondo::test::may_have_private_network()) SKIP(rondo::test::no_private_network);
    const std::string unable = "this cannot be set up here: ";
    const std::string said = rondo::test::in_private_network([&] {
        for (const std::string& command : setup) {
            if (std::system(command.c_str()) == 0) continue;
            rondo::test::say(unable + command);
            return 0;
        }
        begin();
        run([&]() -> task<> {
            tcp_socket socket(where.address().is_v4() ? rondo::ip_version::v4
                                                      : rondo::ip_version::v6);
            const auto text = co_await failure_of(socket.connect(where));
            rondo::test::say(text);
        });
        return 0;
    });
    if (said.starts_with(unable)) SKIP(said);
    return said.substr(0, said.find('\n'));
}

/// From now on this process, a child, gets no descriptor any more. Returns the limit before.
rlimit take_all_descriptors() {
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const int next = ::dup(STDERR_FILENO);
    ::close(next);
    const rlimit none = {static_cast<rlim_t>(next), before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
    return before;
}

}  // namespace

TEST_CASE("refused: nobody listens there", "[net][classic]") {
    run([]() -> task<> {
        tcp_socket bound(rondo::ip_version::v4);
        bound.bind(any_port);
        const endpoint where = bound.local_endpoint();
        tcp_socket socket(rondo::ip_version::v4);
        const auto text = co_await failure_of(socket.connect(where));
        CHECK(text == "connect " + where.to_string() +
                          ": Connection refused (nothing listens there; see ss -ltn)");
    });
}

TEST_CASE("timed out: nobody answers a connect", "[net][classic]") {
    run([]() -> task<> {
        tcp_listener full(rondo::ip_version::v4);
        full.bind(any_port);
        full.listen(0);
        const endpoint where = full.local_endpoint();
        const auto first = rondo::test::raw_peer::connect_to(where);
        tcp_socket second(rondo::ip_version::v4);
        // The kernel looks when it asks for the second time: after a second.
        second.set(rondo::user_timeout(100ms));
        const auto text = co_await failure_of(second.connect(where));
        CHECK(text == "connect " + where.to_string() +
                          ": Connection timed out (no answer: the host is down, a firewall drops "
                          "the packets, or its backlog is full; see ping 127.0.0.1)");
    });
}

TEST_CASE("timed out: a peer stops taking what is sent", "[net][classic]") {
    run([]() -> task<> {
        auto pair = co_await rondo::test::narrow_pair();
        pair.a.remember_peer();
        const std::string where = pair.a.remote_endpoint().to_string();
        pair.a.set(rondo::user_timeout(100ms));
        const std::string part(65536, 'x');
        while (::send(pair.a.descriptor(), part.data(), part.size(), MSG_NOSIGNAL) > 0) {
        }
        const auto text = co_await failure_of(pair.a.recv());
        CHECK(text == "recv " + where +
                          ": Connection timed out (the peer stopped answering: its host or the "
                          "network between is down; see ping 127.0.0.1)");
    });
}

TEST_CASE("address in use: another socket listens there", "[net][classic]") {
    const auto first = tcp_listener::listen(any_port);
    const endpoint where = first.local_endpoint();
    try {
        static_cast<void>(tcp_listener::listen(where));
        FAIL("no error");
    } catch (const socket_error& error) {
        CHECK(error.code() == std::errc::address_in_use);
        CHECK(error.what() == "bind " + where.to_string() +
                                  ": Address already in use (another socket has this address; "
                                  "see ss -tulnp)");
    }
}

TEST_CASE("permission denied: a port of the first 1024 for everybody", "[net][classic]") {
    int first_free = 0;
    std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first_free;
    if (first_free <= 80) SKIP("here everybody may listen on port 80");
    const auto ended = rondo::test::in_child([] {
        // Nobody, whose capabilities go with the user id of root.
        if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return 99;
        int code = 0;
        run([&]() -> task<> {
            try {
                static_cast<void>(tcp_listener::listen(at("127.0.0.1:80")));
            } catch (const socket_error& error) {
                std::fputs(error.what(), stderr);
                code = error.code().value();
            }
            co_return;
        });
        return code;
    });
    CHECK(ended.code == EACCES);
    CHECK(ended.error_text ==
          "bind 127.0.0.1:80: Permission denied (ports below "
          "net.ipv4.ip_unprivileged_port_start, 1024 unless changed, are for root or "
          "CAP_NET_BIND_SERVICE; see sysctl net.ipv4.ip_unprivileged_port_start)");
}

TEST_CASE("permission denied: a route forbids it", "[net][classic]") {
    CHECK(connect_apart({"ip route add prohibit 192.0.2.0/24"}, at("192.0.2.1:80")) ==
          "connect 192.0.2.1:80: Permission denied (a firewall or a security policy forbids it; "
          "see nft list ruleset)");
}

TEST_CASE("network unreachable: no route", "[net][classic]") {
    CHECK(connect_apart({}, at("192.0.2.1:80")) ==
          "connect 192.0.2.1:80: Network is unreachable (no route to it; see ip route get "
          "192.0.2.1)");
}

TEST_CASE("host unreachable: nobody has the address in its network", "[net][classic]") {
    const std::string neighbours = "/proc/sys/net/ipv4/neigh/near/";
    const std::vector<std::string> setup = {
        "ip link add near type veth peer name far", "ip address add 192.0.2.1/24 dev near",
        "ip link set near up", "ip link set far up",
        // Asked once, for a tenth of a second, instead of three times for a second each.
        "echo 1 > " + neighbours + "mcast_solicit",
        "echo 100 > " + neighbours + "retrans_time_ms"};
    CHECK(connect_apart(setup, at("192.0.2.2:80")) ==
          "connect 192.0.2.2:80: No route to host (no host answers at this address; see ip neigh, "
          "or a firewall rejects it)");
}

TEST_CASE("no local port is left to connect from", "[net][classic]") {
    tcp_listener listener;
    std::optional<rondo::test::raw_peer> first;
    const auto begin = [&] {
        listener = tcp_listener::listen(at("127.0.0.1:80"));
        first = rondo::test::raw_peer::connect_to(at("127.0.0.1:80"));
    };
    CHECK(connect_apart({"echo 40000 40000 > /proc/sys/net/ipv4/ip_local_port_range"},
                        at("127.0.0.1:80"), begin) ==
          "connect 127.0.0.1:80: Cannot assign requested address (no local IPv4 address to "
          "connect from, see ip -4 addr; or no local port is left, see ss -s)");
}

TEST_CASE("no local address to connect from: IPv6 is off", "[net][classic]") {
    CHECK(connect_apart({"echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"}, at("[::1]:80")) ==
          "connect [::1]:80: Cannot assign requested address (no local IPv6 address to connect "
          "from, see ip -6 addr; or no local port is left, see ss -s)");
}

TEST_CASE("reset: the peer aborts the connection", "[net][classic]") {
    run([]() -> task<> {
        auto pair = connected_to_raw_peer();
        pair.socket.remember_peer();
        const std::string where = pair.socket.remote_endpoint().to_string();
        pair.peer.reset();
        const auto text = co_await failure_of(pair.socket.recv());
        CHECK(text == "recv " + where +
                          ": Connection reset by peer (the peer aborted the connection: it ended "
                          "early, or closed with data unread)");
    });
}

TEST_CASE("broken pipe: the connection was shut down", "[net][classic]") {
    run([]() -> task<> {
        auto pair = connected_to_raw_peer();
        const std::string where = pair.socket.remote_endpoint().to_string();
        pair.socket.shutdown(rondo::shutdown_mode::send);
        const auto text = co_await failure_of(pair.socket.send("hello"));
        CHECK(text == "send " + where +
                          ": Broken pipe (the connection cannot send any more: the peer is gone, "
                          "or it was shut down here; see ss -tan)");
    });
}

TEST_CASE("broken pipe: the peer has reset the connection, and that was read", "[net][classic]") {
    run([]() -> task<> {
        auto pair = connected_to_raw_peer();
        pair.socket.remember_peer();
        pair.peer.reset();
        const auto reset = co_await rondo::as_result(pair.socket.recv());
        CHECK(reset.error() == std::errc::connection_reset);
        const auto text = co_await failure_of(pair.socket.send("hello"));
        CHECK(text.find(": Broken pipe (") != std::string::npos);
    });
}

TEST_CASE("no descriptors: a socket", "[net][classic]") {
    const auto ended = rondo::test::in_child([] {
        take_all_descriptors();
        try {
            const tcp_socket socket(rondo::ip_version::v4);
        } catch (const socket_error& error) {
            std::fputs(error.what(), stderr);
            return error.code().value();
        }
        return 0;
    });
    CHECK(ended.code == EMFILE);
    CHECK(ended.error_text ==
          "socket: Too many open files (this process has no descriptor left; see ulimit -n)");
}

TEST_CASE("no descriptors: an accept, which works again when there are some", "[net][classic]") {
    const auto ended = rondo::test::in_child([] {
        bool accepted = false;
        run([&]() -> task<> {
            auto listener = rondo::test::listen_on_loopback();
            const auto client = rondo::test::raw_peer::connect_to(listener.local_endpoint());
            const rlimit before = take_all_descriptors();
            const auto text = co_await failure_of(listener.accept());
            ::setrlimit(RLIMIT_NOFILE, &before);
            std::fputs(text.substr(text.find(": ")).c_str(), stderr);
            const tcp_socket served = co_await rondo::test::accept_one(listener);
            accepted = served.is_open();
        });
        return accepted ? EMFILE : 0;
    });
    CHECK(ended.code == EMFILE);
    if (rondo::test::faulty()) return;  // it may say ENFILE or ENOBUFS first
    CHECK(ended.error_text ==
          ": Too many open files (this process has no descriptor left; see ulimit -n)");
}
