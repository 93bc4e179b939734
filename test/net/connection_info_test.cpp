// The list of the host's sockets.
#include <rondo/net/connection_info.hpp>
#include <rondo/net/endpoint.hpp>
#include <rondo/net/socket_option.hpp>

#include <support/child_process.hpp>
#include <support/option.hpp>
#include <support/program.hpp>
#include <support/raw_peer.hpp>

#include <catch2/catch_test_macros.hpp>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>
#include <vector>

namespace {

using rondo::connection_filter;
using rondo::connection_info;
using rondo::endpoint;
using rondo::list_connections;
using rondo::socket_address;
using rondo::tcp_state;
using rondo::transport;
using rondo::detail::unique_fd;
using rondo::test::plain_socket;
using rondo::test::raw_peer;

/// Binds to a port of the kernel's choice, unless `where` has one; returns where.
endpoint bind_to(const unique_fd& socket, const endpoint& where) {
    const socket_address wanted(where);
    REQUIRE(::bind(socket.get(), wanted.data(), wanted.size()) == 0);
    socket_address name;
    REQUIRE(::getsockname(socket.get(), name.data(), name.size_pointer()) == 0);
    return name.to_endpoint().value();
}

const endpoint any_v4(rondo::ip_address::v4_loopback(), 0);
const endpoint any_v6(rondo::ip_address::v6_loopback(), 0);

std::uint32_t inode_of(const unique_fd& socket) {
    struct stat about {};
    REQUIRE(::fstat(socket.get(), &about) == 0);
    return static_cast<std::uint32_t>(about.st_ino);
}

std::vector<connection_info> at_port(std::uint16_t port, transport protocol = transport::tcp,
                                     std::vector<tcp_state> states = {}) {
    connection_filter filter;
    filter.protocol = protocol;
    filter.local_port = port;
    filter.states = std::move(states);
    return list_connections(filter);
}

}  // namespace

TEST_CASE("a listener is listed with who waits, its backlog and its owner",
          "[net][connection_info]") {
    const unique_fd listener = plain_socket();
    const endpoint where = bind_to(listener, any_v4);
    REQUIRE(::listen(listener.get(), 7) == 0);
    const raw_peer one = raw_peer::connect_to(where);
    const raw_peer two = raw_peer::connect_to(where);
    const auto found = at_port(where.port(), transport::tcp, {tcp_state::listen});
    REQUIRE(found.size() == 1);
    CHECK(found[0].protocol == transport::tcp);
    CHECK(found[0].state == tcp_state::listen);
    CHECK(found[0].local == where);
    CHECK(found[0].remote == endpoint());
    CHECK(found[0].receive_queue == 2);
    CHECK(found[0].send_queue == 7);
    CHECK(found[0].user == ::geteuid());
    CHECK(found[0].inode == inode_of(listener));
    const auto all = list_connections();
    CHECK(std::ranges::count(all, where, &connection_info::local) == 3);
}

TEST_CASE("both ends of a connection are listed, with the bytes that wait",
          "[net][connection_info]") {
    const unique_fd listener = plain_socket();
    const endpoint where = bind_to(listener, any_v4);
    REQUIRE(::listen(listener.get(), 7) == 0);
    raw_peer client = raw_peer::connect_to(where);
    const raw_peer served(unique_fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    client.send("eleven byte");

    connection_filter filter;
    filter.local_port = where.port();
    filter.remote_port = client.local_endpoint().port();
    const auto servers = list_connections(filter);
    REQUIRE(servers.size() == 1);
    CHECK(servers[0].state == tcp_state::established);
    CHECK(servers[0].local == where);
    CHECK(servers[0].remote == client.local_endpoint());
    CHECK(servers[0].receive_queue == 11);

    // Both ports: connections of earlier tests to this port number may linger in TIME_WAIT.
    filter.local_port = client.local_endpoint().port();
    filter.remote_port = where.port();
    const auto clients = list_connections(filter);
    REQUIRE(clients.size() == 1);
    CHECK(clients[0].local == client.local_endpoint());
    CHECK(clients[0].remote == where);
    CHECK(clients[0].receive_queue == 0);

    filter.states = {tcp_state::time_wait, tcp_state::fin_wait_2};
    CHECK(list_connections(filter).empty());
    filter.states.push_back(tcp_state::established);
    CHECK(list_connections(filter).size() == 1);
    filter.local_port = where.port();
    CHECK(list_connections(filter).empty());
}

TEST_CASE("an IPv6 listener is listed by its address", "[net][connection_info]") {
    const unique_fd listener = plain_socket(AF_INET6);
    const socket_address wanted(any_v6);
    if (::bind(listener.get(), wanted.data(), wanted.size()) != 0) SKIP("there is no ::1 here");
    REQUIRE(::listen(listener.get(), 7) == 0);
    socket_address name;
    REQUIRE(::getsockname(listener.get(), name.data(), name.size_pointer()) == 0);
    const endpoint where = name.to_endpoint().value();
    const auto found = at_port(where.port());
    REQUIRE(std::ranges::count(found, where, &connection_info::local) == 1);
}

TEST_CASE("a port 0 in the filter is that of sockets without one", "[net][connection_info]") {
    const unique_fd listener = plain_socket();
    const endpoint where = bind_to(listener, any_v4);
    REQUIRE(::listen(listener.get(), 7) == 0);
    const raw_peer client = raw_peer::connect_to(where);
    connection_filter filter;
    filter.local_port = where.port();
    filter.remote_port = 0;
    const auto found = list_connections(filter);
    REQUIRE(found.size() == 1);
    CHECK(found[0].state == tcp_state::listen);
}

TEST_CASE("UDP sockets are listed, connected or not", "[net][connection_info]") {
    const unique_fd bound = plain_socket(AF_INET, SOCK_DGRAM);
    const endpoint where = bind_to(bound, any_v4);
    if (at_port(where.port(), transport::udp).empty() &&
        rondo::test::run_program({"sh", "-c", "ss -Huan | grep -q :" +
                                  std::to_string(where.port())}).exit_code != 0) {
        SKIP("this kernel does not list UDP sockets: ss sees none either");
    }
    const unique_fd connected = plain_socket(AF_INET, SOCK_DGRAM);
    const endpoint here = bind_to(connected, any_v4);
    const socket_address peer(where);
    REQUIRE(::connect(connected.get(), peer.data(), peer.size()) == 0);
    const auto first = at_port(where.port(), transport::udp);
    REQUIRE(first.size() == 1);
    CHECK(first[0].protocol == transport::udp);
    CHECK(first[0].state == tcp_state::closed);
    CHECK(first[0].local == where);
    const auto second = at_port(here.port(), transport::udp);
    REQUIRE(second.size() == 1);
    CHECK(second[0].state == tcp_state::established);
    CHECK(second[0].remote == where);
    CHECK(second[0].inode == inode_of(connected));
}

TEST_CASE("a list of many blocks is whole", "[net][connection_info]") {
    // More than the 32 KiB of the kernel's largest block hold, at 72 bytes each and more.
    constexpr std::size_t count = 500;
    std::vector<unique_fd> sockets;
    endpoint where = any_v4;
    for (std::size_t i = 0; i < count; ++i) {
        sockets.push_back(plain_socket());
        REQUIRE_FALSE(set_option(sockets.back().get(), rondo::reuse_port{}));
        where = bind_to(sockets.back(), where);
        REQUIRE(::listen(sockets.back().get(), 1) == 0);
    }
    const auto found = at_port(where.port());
    CHECK(found.size() == count);
    std::vector<std::uint32_t> inodes;
    for (const connection_info& each : found) inodes.push_back(each.inode);
    std::ranges::sort(inodes);
    CHECK(std::ranges::adjacent_find(inodes) == inodes.end());
}

TEST_CASE("a list that cannot be had is an error that says why", "[net][connection_info]") {
    const auto ended = rondo::test::in_child([] {
        rlimit before{};
        ::getrlimit(RLIMIT_NOFILE, &before);
        // UBSan takes descriptors to look at a type it has not seen: these it knows from here on.
        static_cast<void>(std::error_code(EMFILE, std::generic_category()).message());
        static_cast<void>(std::error_code(EMFILE, std::system_category()).message());
        const rlimit none = {0, before.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &none);
        try {
            static_cast<void>(list_connections());
        } catch (const std::system_error& error) {
            ::setrlimit(RLIMIT_NOFILE, &before);
            std::fputs(error.what(), stderr);
            return 0;
        }
        return 1;
    });
    CHECK(ended.code == 0);
    CHECK(ended.error_text == "sock_diag: Too many open files (this process has no descriptor "
                              "left; see ulimit -n)");
}
