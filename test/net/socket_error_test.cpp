// The texts of socket errors, and what copying and sharing one costs and keeps.
#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/socket_error.hpp>

#include <catch2/catch_test_macros.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

using rondo::argument_error;
using rondo::endpoint;
using rondo::ip_address;
using rondo::socket_address;
using rondo::socket_error;
using rondo::detail::unique_fd;

static_assert(std::is_nothrow_copy_constructible_v<socket_error>);
static_assert(std::is_nothrow_copy_assignable_v<socket_error>);
static_assert(std::is_nothrow_copy_constructible_v<argument_error>);
static_assert(std::is_base_of_v<std::system_error, socket_error>);
static_assert(std::is_base_of_v<std::system_error, argument_error>);

endpoint at(const char* text) { return endpoint::parse(text).value(); }

std::string text(const char* verb, int error, const char* where) {
    const endpoint place = at(where);
    return socket_error(verb, error, &place).what();
}

}  // namespace

TEST_CASE("a refused connection names the verb, the endpoint and what to check",
          "[net][socket_error]") {
    const unique_fd bound(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    socket_address address(endpoint(ip_address::v4_loopback(), 0));
    REQUIRE(::bind(bound.get(), address.data(), address.size()) == 0);
    REQUIRE(::getsockname(bound.get(), address.data(), address.size_pointer()) == 0);
    const unique_fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(client.get(), address.data(), address.size()) == -1);
    const int error = errno;
    const endpoint where = address.to_endpoint().value();
    try {
        rondo::throw_socket_error("connect", error, &where);
        FAIL("no error");
    } catch (const std::system_error& caught) {
        CHECK(caught.code() == std::errc::connection_refused);
        CHECK(caught.code() == std::make_error_code(std::errc::connection_refused));
        CHECK(caught.what() == "connect " + where.to_string() +
                                   ": Connection refused (nothing listens there; see ss -ltn)");
    }
}

TEST_CASE("each classic error has its hint", "[net][socket_error]") {
    struct row {
        const char* verb;
        int error;
        const char* where;
        const char* expected;
    };
    const std::vector<row> rows = {
        {"connect", ETIMEDOUT, "192.0.2.1:80",
         "connect 192.0.2.1:80: Connection timed out (no answer: the host is down, a firewall "
         "drops the packets, or its backlog is full; see ping 192.0.2.1)"},
        {"recv", ETIMEDOUT, "192.0.2.1:80",
         "recv 192.0.2.1:80: Connection timed out (the peer stopped answering: its host or the "
         "network between is down; see ping 192.0.2.1)"},
        {"bind", EADDRINUSE, "[::1]:80",
         "bind [::1]:80: Address already in use (another socket has this address; see ss -tulnp)"},
        {"connect", EADDRINUSE, "[::1]:80",
         "connect [::1]:80: Address already in use (no free local port to this peer; see "
         "ss -tan)"},
        {"bind", EACCES, "0.0.0.0:80",
         "bind 0.0.0.0:80: Permission denied (ports below net.ipv4.ip_unprivileged_port_start, "
         "1024 unless changed, are for root or CAP_NET_BIND_SERVICE; see sysctl "
         "net.ipv4.ip_unprivileged_port_start)"},
        {"connect", EPERM, "192.0.2.1:80",
         "connect 192.0.2.1:80: Operation not permitted (a firewall or a security policy forbids "
         "it; see nft list ruleset)"},
        {"connect", ENETUNREACH, "192.0.2.1:80",
         "connect 192.0.2.1:80: Network is unreachable (no route to it; see ip route get "
         "192.0.2.1)"},
        {"connect", EHOSTUNREACH, "192.0.2.1:80",
         "connect 192.0.2.1:80: No route to host (no host answers at this address; see ip neigh, "
         "or a firewall rejects it)"},
        {"listen", EADDRNOTAVAIL, "192.0.2.1:80",
         "listen 192.0.2.1:80: Cannot assign requested address (no interface here has this "
         "address; see ip address)"},
        {"connect", EADDRNOTAVAIL, "127.0.0.1:80",
         "connect 127.0.0.1:80: Cannot assign requested address (no local IPv4 address to "
         "connect from, see ip -4 addr; or no local port is left, see ss -s)"},
        {"connect", EADDRNOTAVAIL, "[::1]:80",
         "connect [::1]:80: Cannot assign requested address (no local IPv6 address to connect "
         "from, see ip -6 addr; or no local port is left, see ss -s)"},
        {"connect", EAFNOSUPPORT, "[::1]:80",
         "connect [::1]:80: Address family not supported by protocol (an IPv4 socket takes no IPv6 "
         "address and the other way round; or this system has no IPv6: see sysctl "
         "net.ipv6.conf.all.disable_ipv6)"},
        {"recv", ECONNRESET, "127.0.0.1:80",
         "recv 127.0.0.1:80: Connection reset by peer (the peer aborted the connection: it ended "
         "early, or closed with data unread)"},
        {"send", EPIPE, "127.0.0.1:80",
         "send 127.0.0.1:80: Broken pipe (the connection cannot send any more: the peer is gone, "
         "or it was shut down here; see ss -tan)"},
        {"accept", EMFILE, "127.0.0.1:80",
         "accept 127.0.0.1:80: Too many open files (this process has no descriptor left; see "
         "ulimit -n)"},
        {"accept", ENFILE, "127.0.0.1:80",
         "accept 127.0.0.1:80: Too many open files in system (the system has no file left; see "
         "sysctl fs.file-max)"},
        {"connect", EINVAL, "[fe80::1]:80",
         "connect [fe80::1]:80: Invalid argument (a link-local address needs its interface, as in "
         "[fe80::1%eth0]:80)"},
        {"connect", EINVAL, "[fe80::1%1]:80", "connect [fe80::1%1]:80: Invalid argument"},
        {"recv", EBADF, "127.0.0.1:80", "recv 127.0.0.1:80: Bad file descriptor"},
    };
    for (const row& each : rows) {
        CHECK(text(each.verb, each.error, each.where) == each.expected);
    }
}

TEST_CASE("an error without an endpoint names the verb alone", "[net][socket_error]") {
    const socket_error error("socket", EMFILE);
    CHECK(std::string(error.what()) ==
          "socket: Too many open files (this process has no descriptor left; see ulimit -n)");
    CHECK(error.transferred() == 0);
    CHECK(std::string(socket_error("connect", ENETUNREACH).what()) ==
          "connect: Network is unreachable (no route to it; see ip route)");
    CHECK(std::string(socket_error("bind", EINVAL).what()) == "bind: Invalid argument");
}

TEST_CASE("an operation cut short tells what went through", "[net][socket_error]") {
    const endpoint where = at("127.0.0.1:80");
    const socket_error error("send", EPIPE, &where, 4096);
    CHECK(error.transferred() == 4096);
    CHECK(std::string(error.what())
              .starts_with("send 127.0.0.1:80: Broken pipe after 4096 bytes "
                           "("));
    CHECK(std::string(socket_error("send", EBADF, &where, 1).what()) ==
          "send 127.0.0.1:80: Bad file descriptor after 1 byte");
}

TEST_CASE("a copy outlives the original with the same text", "[net][socket_error]") {
    const endpoint where = at("127.0.0.1:80");
    std::optional<socket_error> original(std::in_place, "send", EBADF, &where, 3U);
    const socket_error before_text(*original);
    const std::string expected = original->what();
    CHECK(original->what() == original->what());
    const socket_error after_text(*original);
    socket_error assigned("recv", EIO);
    CHECK(std::string(assigned.what()) == "recv: Input/output error");
    assigned = *original;
    const socket_error& self = assigned;
    assigned = self;
    original.reset();
    for (const socket_error* each : {&before_text, &after_text, &self}) {
        CHECK(each->what() == expected);
        CHECK(each->code() == std::errc::bad_file_descriptor);
        CHECK(each->transferred() == 3);
    }
}

TEST_CASE("threads that share an error read one text", "[net][socket_error]") {
    for (int round = 0; round < 50; ++round) {
        const endpoint where = at("127.0.0.1:80");
        const auto shared = std::make_exception_ptr(socket_error("recv", ECONNRESET, &where));
        std::vector<const char*> seen(4);
        {
            std::vector<std::jthread> readers;
            for (const char*& mine : seen) {
                readers.emplace_back([&mine, shared] {
                    try {
                        std::rethrow_exception(shared);
                    } catch (const std::exception& error) {
                        mine = error.what();
                    }
                });
            }
        }
        for (const char* each : seen) {
            REQUIRE(each == seen.front());
        }
        REQUIRE(std::string(seen.front()).starts_with("recv 127.0.0.1:80: Connection reset"));
    }
}

TEST_CASE("an argument error's sentence is its whole text", "[net][socket_error]") {
    std::optional<argument_error> original(std::in_place, "ttl 300 is not between 1 and 255");
    const argument_error copy(*original);
    original.reset();
    CHECK(std::string(copy.what()) == "ttl 300 is not between 1 and 255");
    CHECK(copy.code() == std::errc::invalid_argument);
}
