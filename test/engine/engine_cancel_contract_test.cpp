// What every engine promises of cancels, through the interface alone.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string_view>
#include <vector>

#include <liburing.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <rondo/detail/unique_fd.hpp>

#include <support/engine_driver.hpp>
#include <support/engine_streams.hpp>

using namespace rondo::test;
using rondo::completion;
using rondo::detail::unique_fd;

namespace {

/// What the requests below stand on; lives as long as the test.
struct ground {
    loopback at;
    unique_fd listener = tcp_listener(at, 0);
    pair ends = tcp_pair();
    std::vector<unique_fd> clients;
    std::array<char, 8> data{};
    ::iovec part{data.data(), data.size()};
    ::msghdr header{};
};

/// Starts a request which will not complete by itself, with user_data 1.
void start_endless(driver& on, ground& g, std::string_view name) {
    if (name == "recv") on.recv(1, g.ends.a.get(), g.data.data(), g.data.size());
    if (name == "recv of all")
        on.recv(1, g.ends.a.get(), g.data.data(), g.data.size(), MSG_WAITALL);
    if (name == "multishot recv") on.recv_multishot(1, g.ends.a.get(), 1);
    if (name == "accept") on.prepare(IORING_OP_ACCEPT, 1, g.listener.get());
    if (name == "multishot accept")
        on.prepare(IORING_OP_ACCEPT, 1, g.listener.get()).ioprio = IORING_ACCEPT_MULTISHOT;
    if (name == "poll") on.poll(1, g.ends.a.get(), POLLIN);
    if (name == "multishot poll") on.poll(1, g.ends.a.get(), POLLIN).len = IORING_POLL_ADD_MULTI;
    if (name == "send") {
        fill_up(g.ends.a);
        on.send(1, g.ends.a.get(), g.data.data(), g.data.size(), MSG_WAITALL);
    }
    if (name == "recvmsg" || name == "sendmsg") {
        const bool sends = name == "sendmsg";
        if (sends) fill_up(g.ends.a);
        g.header.msg_iov = &g.part;
        g.header.msg_iovlen = 1;
        io_uring_sqe& entry =
            on.prepare(sends ? IORING_OP_SENDMSG : IORING_OP_RECVMSG, 1, g.ends.a.get());
        entry.addr = reinterpret_cast<std::uintptr_t>(&g.header);
        entry.len = 1;
    }
    if (name == "connect") {
        // A backlog of 0 has room for one; after it connection attempts are not answered.
        for (int i = 0; i < 4; ++i) {
            g.clients.push_back(tcp_socket());
            static_cast<void>(::connect(g.clients.back().get(), g.at.get(), g.at.size));
        }
        g.clients.push_back(tcp_socket());
        io_uring_sqe& entry = on.prepare(IORING_OP_CONNECT, 1, g.clients.back().get());
        entry.addr = g.at.number();
        entry.off = g.at.size;
    }
}

constexpr std::array<std::string_view, 11> endless_names{
    "recv", "recv of all", "multishot recv", "accept",  "multishot accept", "poll",
    "send", "recvmsg",     "sendmsg",        "connect", "multishot poll"};

}  // namespace

TEST_CASE("any request that waits can be cancelled", "[engine][contract][cancel]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    pool.give_all();
    const std::string_view name = GENERATE(from_range(endless_names));
    const bool same_turn = GENERATE(true, false);
    INFO(name << (same_turn ? ", cancelled in its turn" : ", cancelled later"));
    ground g;
    start_endless(on, g, name);
    if (!same_turn) {
        on.settle();
        REQUIRE(on.seen().empty());
    }
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    const completion c = on.wait(1);
    CHECK(c.result == -ECANCELED);
    CHECK((c.flags & (more | with_buffer)) == 0);
    on.cancel(3, 1);
    CHECK(on.wait(3).result == -ENOENT);
    on.settle();
    CHECK(on.seen().size() == 3);
    for (const unique_fd* socket : {&g.listener, &g.ends.a}) on.get().forget(socket->get());
}

TEST_CASE("cancelling what is not there is ENOENT", "[engine][contract][cancel]") {
    driver on;
    on.cancel(1, 12345);
    CHECK(on.wait(1).result == -ENOENT);
    on.prepare(IORING_OP_NOP, 2);
    on.wait(2);
    on.cancel(3, 2);
    CHECK(on.wait(3).result == -ENOENT);
}

TEST_CASE("cancel takes one request of several alike", "[engine][contract][cancel]") {
    driver on;
    const pair ends = either_pair();
    for (int i = 0; i < 3; ++i) on.poll(1, ends.a.get(), POLLIN);
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    on.wait(1);
    on.settle();
    CHECK(on.of(1).size() == 1);
    write_to(ends.b, "x");
    on.wait(1, 3);
    CHECK(on.of(1)[1].result == POLLIN);
    CHECK(on.of(1)[2].result == POLLIN);
}

TEST_CASE("cancel of all alike tells how many they were", "[engine][contract][cancel]") {
    driver on;
    const pair ends = either_pair();
    const pair others = either_pair();
    char byte = 0;
    on.recv(1, ends.a.get(), &byte, 1);
    on.recv(1, others.a.get(), &byte, 1);
    on.poll(1, ends.a.get(), POLLIN);
    on.recv(9, others.b.get(), &byte, 1);
    on.settle();
    on.cancel(2, 1, IORING_ASYNC_CANCEL_ALL);
    CHECK(on.wait(2).result == 3);
    on.wait(1, 3);
    for (const completion& c : on.of(1)) CHECK(c.result == -ECANCELED);
    on.cancel(3, 1, IORING_ASYNC_CANCEL_ALL);
    CHECK(on.wait(3).result == 0);
    CHECK(on.of(9).empty());
}

TEST_CASE("a cancelled receive leaves the data to the next", "[engine][contract][cancel]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    pool.give_all();
    const pair ends = either_pair();
    on.recv_multishot(1, ends.a.get(), 1);
    on.settle();
    on.cancel(2, 1);
    CHECK(on.wait(1).result == -ECANCELED);
    write_to(ends.b, "kept");
    on.recv_multishot(3, ends.a.get(), 1);
    const completion c = on.wait(3);
    CHECK(pool.text(c) == "kept");
    CHECK(buffers::id_of(c) == 0);
}

TEST_CASE("a thousand waiting connections are cancelled one by one", "[engine][contract][cancel]") {
    constexpr std::uint64_t count = 1000;
    ::rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const ::rlimit before = limit;
    limit.rlim_cur = std::max<::rlim_t>(limit.rlim_cur, 2200);
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) SKIP("2,200 descriptors are not to be had");
    {
        driver on;
        buffers pool(on.get(), 1, 16);
        pool.give_all();
        std::vector<pair> pairs;
        for (std::uint64_t n = 0; n < count; ++n) {
            pairs.push_back(unix_pair());
            on.recv_multishot(n, pairs.back().a.get(), 1);
        }
        on.settle();
        CHECK(on.seen().empty());
        for (std::uint64_t n = 0; n < count; ++n) on.cancel(count + n, n);
        on.until([&] { return on.seen().size() == 2 * count; });
        std::vector<int> results(2 * count, 1);
        for (const completion& c : on.seen()) results[c.user_data] = c.result;
        const auto middle = results.begin() + count;
        CHECK(std::count(results.begin(), middle, -ECANCELED) == count);
        CHECK(std::count(middle, results.end(), 0) == count);
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
}
