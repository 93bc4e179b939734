// A connection's way through the states of RFC 9293, and their names held against ss(8).
#include <rondo/net/connection_info.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/net/tcp_info.hpp>
#include <rondo/net/tcp_state.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/ss.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using rondo::endpoint;
using rondo::task;
using rondo::tcp_socket;
using rondo::tcp_state;
using rondo::test::eventually;
using rondo::test::ss_states;

static_assert(to_string(tcp_state::syn_received) == "SYN-RECEIVED");
static_assert(ss_name(tcp_state::fin_wait_1) == "FIN-WAIT-1");
static_assert(rondo::detail::tcp_state_of(12) == tcp_state::syn_received);
static_assert(rondo::detail::tcp_state_of(13) == tcp_state::closed);
static_assert(rondo::detail::tcp_state_of(0) == tcp_state::closed);

/// One end of a connection, by its ports; it outlives the socket.
struct end {
    std::uint16_t local;
    std::uint16_t remote;

    [[nodiscard]] end other() const { return {remote, local}; }
};

end end_of(const tcp_socket& socket) {
    return {socket.local_endpoint().port(), socket.remote_endpoint().port()};
}

std::vector<tcp_state> listed(const end& where) {
    rondo::connection_filter filter;
    filter.local_port = where.local;
    if (where.remote != 0) filter.remote_port = where.remote;
    std::vector<tcp_state> states;
    for (const auto& found : rondo::list_connections(filter)) states.push_back(found.state);
    return states;
}

/// Waits until this end is in `expected`, then asks ss.
task<> expect(end where, tcp_state expected) {
    const std::vector<tcp_state> alone = {expected};
    const bool came = co_await eventually([&] { return listed(where) == alone; });
    INFO("expected " << to_string(expected));
    CHECK(came);
    CHECK(ss_states(where.local, where.remote) == std::vector{std::string(ss_name(expected))});
}

/// One that no connection in TIME-WAIT has either, as one that the kernel chooses may be.
std::uint16_t unused_port() {
    for (;;) {
        rondo::tcp_listener any(rondo::ip_version::v4);
        any.bind(endpoint(rondo::ip_address::v4_loopback(), 0));
        const std::uint16_t port = any.local_endpoint().port();
        const auto states = listed({port, 0});
        if (std::ranges::count(states, tcp_state::time_wait) == 0) return port;
    }
}

/// Sends until the kernel takes no more, which the peer does not read.
void fill(const tcp_socket& socket) {
    const std::string part(65536, 'x');
    while (::send(socket.descriptor(), part.data(), part.size(), MSG_NOSIGNAL) > 0) {
    }
}

}  // namespace

TEST_CASE("each state has its name of RFC 9293 and that of ss", "[net][tcp][tcp_state]") {
    CHECK(fmt::format("{}", tcp_state::time_wait) == "TIME-WAIT");
    CHECK(fmt::format("{:>12}", tcp_state::closed) == "      CLOSED");
    for (unsigned number = 1; number <= 11; ++number) {
        const tcp_state state = rondo::detail::tcp_state_of(number);
        CHECK(static_cast<unsigned>(state) == number);
        CHECK(to_string(state) != "unknown");
    }
}

TEST_CASE("a socket is CLOSED, then LISTEN", "[net][tcp][tcp_state]") {
    rondo::tcp_listener listener(rondo::ip_version::v4);
    CHECK(rondo::tcp_info::of(listener.descriptor()).state == tcp_state::closed);
    listener.bind(endpoint(rondo::ip_address::v4_loopback(), unused_port()));
    const end where{listener.local_endpoint().port(), 0};
    CHECK(rondo::tcp_info::of(listener.descriptor()).state == tcp_state::closed);
    // Kernels before 6.8, and their ss, show it only once it listens.
    const std::vector<tcp_state> bound = listed(where);
    CHECK((bound.empty() || bound == std::vector{tcp_state::closed}));
    if (!rondo::test::ss_there()) SKIP("no ss here to hold the names against");
    for (const std::string& name : ss_states(where.local, 0)) {
        CHECK(name == ss_name(tcp_state::closed));
    }
    listener.listen();
    CHECK(rondo::tcp_info::of(listener.descriptor()).state == tcp_state::listen);
    CHECK(listed(where) == std::vector{tcp_state::listen});
    CHECK(ss_states(where.local, 0) == std::vector<std::string>{"LISTEN"});
}

TEST_CASE("a connection is SYN-SENT while nobody answers", "[net][tcp][tcp_state]") {
    if (!rondo::test::ss_there()) SKIP("no ss here to hold the names against");
    rondo::test::run([]() -> task<> {
        rondo::tcp_listener listener(rondo::ip_version::v4);
        listener.bind(endpoint(rondo::ip_address::v4_loopback(), 0));
        listener.listen(0);
        const endpoint where = listener.local_endpoint();
        // It is established and not accepted; for a second one there is no room.
        const auto first = rondo::test::raw_peer::connect_to(where);
        tcp_socket second(rondo::ip_version::v4);
        second.bind(endpoint(rondo::ip_address::v4_loopback(), 0));
        const end there{second.local_endpoint().port(), where.port()};
        co_await rondo::with_task_group([&](rondo::task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto outcome = co_await rondo::as_result(second.connect(where));
                CHECK_FALSE(outcome);
            });
            co_await expect(there, tcp_state::syn_sent);
            CHECK(second.info().state == tcp_state::syn_sent);
            group.cancel();
        });
    });
}

TEST_CASE("a connection is SYN-RECEIVED until it is accepted with data", "[net][tcp][tcp_state]") {
    if (!rondo::test::ss_there()) SKIP("no ss here to hold the names against");
    rondo::test::run([]() -> task<> {
        auto listener = rondo::tcp_listener::listen(
            endpoint(rondo::ip_address::v4_loopback(), 0), rondo::defer_accept(30s));
        auto client = rondo::test::raw_peer::connect_to(listener.local_endpoint());
        const end there{listener.local_endpoint().port(), client.local_endpoint().port()};
        co_await expect(there, tcp_state::syn_received);
        co_await expect(there.other(), tcp_state::established);
        client.send("x");
        const tcp_socket accepted = co_await rondo::test::accept_one(listener);
        co_await expect(there, tcp_state::established);
        CHECK(accepted.info().state == tcp_state::established);
    });
}

TEST_CASE("who closes first goes through FIN-WAIT-1, FIN-WAIT-2 and TIME-WAIT, its peer through "
          "CLOSE-WAIT and LAST-ACK",
          "[net][tcp][tcp_state]") {
    if (!rondo::test::ss_there()) SKIP("no ss here to hold the names against");
    rondo::test::run([]() -> task<> {
        auto pair = co_await rondo::test::narrow_pair();
        const end a = end_of(pair.a);
        const end b = end_of(pair.b);
        co_await expect(a, tcp_state::established);
        co_await expect(b, tcp_state::established);

        // Its FIN waits behind what the peer has no room for.
        fill(pair.a);
        pair.a.shutdown(rondo::shutdown_mode::send);
        co_await expect(a, tcp_state::fin_wait_1);
        co_await expect(b, tcp_state::established);

        co_await rondo::test::read_to_end(pair.b);
        co_await expect(a, tcp_state::fin_wait_2);
        co_await expect(b, tcp_state::close_wait);
        CHECK(pair.a.info().state == tcp_state::fin_wait_2);
        CHECK(pair.b.info().state == tcp_state::close_wait);

        fill(pair.b);
        pair.b.shutdown(rondo::shutdown_mode::send);
        co_await expect(b, tcp_state::last_ack);
        co_await expect(a, tcp_state::fin_wait_2);

        co_await rondo::test::read_to_end(pair.a);
        co_await expect(a, tcp_state::time_wait);
        const bool gone = co_await eventually([&] { return listed(b).empty(); });
        CHECK(gone);
        CHECK(ss_states(b.local, b.remote).empty());
        // The socket is no part of the connection any more; only the list shows what is left.
        CHECK(pair.a.info().state == tcp_state::closed);
        CHECK(pair.b.info().state == tcp_state::closed);
        co_await pair.a.close();
        co_await expect(a, tcp_state::time_wait);
    });
}

TEST_CASE("two ends that close at once go through CLOSING", "[net][tcp][tcp_state]") {
    if (!rondo::test::ss_there()) SKIP("no ss here to hold the names against");
    rondo::test::run([]() -> task<> {
        auto pair = co_await rondo::test::narrow_pair();
        const end a = end_of(pair.a);
        const end b = end_of(pair.b);
        fill(pair.a);
        fill(pair.b);
        pair.a.shutdown(rondo::shutdown_mode::send);
        pair.b.shutdown(rondo::shutdown_mode::send);
        co_await expect(a, tcp_state::fin_wait_1);
        co_await expect(b, tcp_state::fin_wait_1);

        // The peer's FIN is here; its acknowledgement of ours waits behind what it does not read.
        co_await rondo::test::read_to_end(pair.a);
        co_await expect(a, tcp_state::closing);
        co_await expect(b, tcp_state::fin_wait_2);
        CHECK(pair.a.info().state == tcp_state::closing);

        co_await rondo::test::read_to_end(pair.b);
        co_await expect(a, tcp_state::time_wait);
        co_await expect(b, tcp_state::time_wait);
    });
}
