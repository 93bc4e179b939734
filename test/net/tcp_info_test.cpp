// What the kernel tells about a connection, and ending one by a reset.
#include <rondo/net/connection_info.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/net/tcp_info.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/option.hpp>
#include <support/private_network.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <vector>

namespace {

using namespace std::chrono_literals;
using rondo::endpoint;
using rondo::task;
using rondo::tcp_info;
using rondo::test::connected_to_raw_peer;
using rondo::test::eventually;
using rondo::test::raw_pair;
using rondo::test::run;

/// The connections with these ports at this end.
std::vector<rondo::connection_info> left_of(const endpoint& local, const endpoint& remote) {
    rondo::connection_filter filter;
    filter.local_port = local.port();
    filter.remote_port = remote.port();
    return rondo::list_connections(filter);
}

/// Sends until the kernel takes no more; returns how much it took.
std::size_t fill(int descriptor) {
    const std::string part(65536, 'x');
    std::size_t total = 0;
    for (;;) {
        const auto n = ::send(descriptor, part.data(), part.size(), MSG_NOSIGNAL);
        if (n < 0) return total;
        total += static_cast<std::size_t>(n);
    }
}

/// Reads what is there and adds its size to `total`; true once the reset was met.
bool reads_to_reset(int descriptor, std::size_t& total) {
    std::string part(65536, '\0');
    for (;;) {
        const auto n = ::recv(descriptor, part.data(), part.size(), 0);
        if (n <= 0) return n < 0 && errno == ECONNRESET;
        total += static_cast<std::size_t>(n);
    }
}

}  // namespace

TEST_CASE("info tells times, sizes and counts of a connection in use", "[net][tcp_info]") {
    run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        const std::string sent = rondo::test::pattern(10'000);
        co_await pair.socket.send(sent);
        const bool arrived = co_await eventually([&] { return pair.peer.reads(sent); });
        REQUIRE(arrived);
        pair.peer.send("answer");
        const std::string answer = co_await rondo::test::read_exactly(pair.socket, 6);
        REQUIRE(answer == "answer");
        const bool acked = co_await eventually([&] { return pair.socket.info().queued == 0; });
        CHECK(acked);
        const tcp_info info = pair.socket.info();
        CHECK(info.state == rondo::tcp_state::established);
        CHECK(info.rtt > 0us);
        CHECK(info.rtt < 10s);
        CHECK(info.min_rtt > 0us);
        CHECK(info.min_rtt < 10s);
        CHECK(info.retransmit_timeout >= 1ms);
        CHECK(info.congestion_window > 0);
        CHECK_FALSE(info.slow_start_threshold);
        CHECK(info.send_segment_size > 500);
        CHECK(info.path_mtu > info.send_segment_size);
        CHECK(info.peer_window > 0);
        CHECK(info.bytes_sent == sent.size());
        CHECK(info.bytes_acked >= sent.size());
        CHECK(info.bytes_received == answer.size());
        CHECK(info.total_retransmits == 0);
        CHECK(info.bytes_retransmitted == 0);
        CHECK(info.unsent == 0);
        CHECK(info.unacked == 0);
        CHECK(info.unread == 0);
        CHECK(info.since_received < 60s);
        CHECK(info.since_sent < 60s);
    });
}

TEST_CASE("info counts bytes that are unsent and bytes that are unread", "[net][tcp_info]") {
    run([]() -> task<> {
        auto pair = co_await rondo::test::narrow_pair();
        const std::size_t total = fill(pair.a.descriptor());
        // What is queued and what is unread overlap while it is not acknowledged.
        const bool stuck = co_await eventually([&] {
            const tcp_info info = pair.a.info();
            return info.unacked == 0 && info.unsent > 0;
        });
        REQUIRE(stuck);
        const tcp_info a = pair.a.info();
        const tcp_info b = pair.b.info();
        CHECK(a.queued == a.unsent);
        CHECK(b.unread > 0);
        CHECK(a.unsent + b.unread == total);
        CHECK(b.unsent == 0);
        CHECK(a.unread == 0);
        // Its window is closed: the kernel asks now and then whether it still is.
        const bool probed = co_await eventually([&] { return pair.a.info().probes > 0; });
        CHECK(probed);
    });
}

TEST_CASE("info counts as unread what recv() has brought ahead", "[net][tcp_info]") {
    run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        pair.peer.send("first");
        const std::string first = co_await rondo::test::read_exactly(pair.socket, 5);
        REQUIRE(first == "first");
        CHECK(pair.socket.info().unread == 0);
        for (const char* text : {"second", " and third"}) pair.peer.send(text);
        const std::size_t rest = std::string("second and third").size();
        const bool counted = co_await eventually([&] { return pair.socket.info().unread == rest; });
        CHECK(counted);
        if (pair.socket.state().current_phase() == rondo::receive_state::phase::armed) {
            const bool ahead = co_await eventually(
                [&] { return pair.socket.state().undelivered_bytes() == rest; });
            CHECK(ahead);
        }
        CHECK(pair.socket.info().unread == rest);
        std::string three(3, '\0');
        const std::size_t n = co_await pair.socket.recv(rondo::test::writable(three));
        CHECK(pair.socket.info().unread == rest - n);
    });
}

TEST_CASE("info of what is no TCP socket is an error", "[net][tcp_info]") {
    const auto unix_socket = rondo::test::plain_socket(AF_UNIX);
    CHECK_THROWS_AS(tcp_info::of(unix_socket.get()), std::system_error);
    try {
        static_cast<void>(tcp_info::of(-1));
        FAIL("no error");
    } catch (const std::system_error& error) {
        CHECK(std::string(error.what()) == "get tcp_info: Bad file descriptor");
    }
}

TEST_CASE("abort resets the connection and drops what is unsent", "[net][tcp][tcp_info][abort]") {
    run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        const endpoint local = pair.socket.local_endpoint();
        const endpoint remote = pair.socket.remote_endpoint();
        const int descriptor = pair.socket.descriptor();
        const std::size_t sent = fill(descriptor);
        co_await pair.socket.abort();
        CHECK_FALSE(pair.socket.is_open());
        CHECK_FALSE(rondo::test::is_open(descriptor));
        std::size_t received = 0;
        const bool reset = co_await eventually([&] {
            return reads_to_reset(pair.peer.descriptor(), received);
        });
        CHECK(reset);
        CHECK(received < sent);
        CHECK(left_of(local, remote).empty());
    });
}

TEST_CASE("abort joins the receive and the send that are awaited", "[net][tcp][tcp_info][abort]") {
    run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        const std::string much(64 << 20, 'x');
        bool receiving_ended = false;
        bool sending_ended = false;
        co_await rondo::with_task_group([&](rondo::task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto outcome = co_await rondo::as_result(pair.socket.recv());
                CHECK(outcome.error() == std::errc::operation_canceled);
                receiving_ended = true;
            });
            group.spawn([&]() -> task<> {
                const auto outcome = co_await rondo::as_result(pair.socket.send(much));
                CHECK(outcome.error() == std::errc::operation_canceled);
                sending_ended = true;
            });
            co_await rondo::test::some_turns();
            co_await pair.socket.abort();
            const bool ended = co_await eventually([&] {
                return receiving_ended && sending_ended;
            });
            CHECK(ended);
        });
        std::size_t received = 0;
        const bool reset = co_await eventually([&] {
            return reads_to_reset(pair.peer.descriptor(), received);
        });
        CHECK(reset);
    });
}

TEST_CASE("close leaves a TIME-WAIT behind, abort leaves nothing", "[net][tcp][tcp_info][abort]") {
    // The machine's own table of TIME-WAIT may be full of others' connections.
    if (!rondo::test::may_have_private_network()) SKIP(rondo::test::no_private_network);
    rondo::test::in_private_network([] {
        int failed = 0;
        run([&failed]() -> task<> {
            for (const bool abortive : {true, false}) {
                raw_pair pair = connected_to_raw_peer();
                const endpoint local = pair.socket.local_endpoint();
                const endpoint remote = pair.socket.remote_endpoint();
                if (abortive) {
                    co_await pair.socket.abort();
                } else {
                    co_await pair.socket.close();
                }
                pair.peer.close();
                const bool as_expected = co_await eventually([&] {
                    const auto left = left_of(local, remote);
                    if (abortive) return left.empty();
                    return left.size() == 1 && left[0].state == rondo::tcp_state::time_wait;
                });
                if (!as_expected) ++failed;
            }
        });
        return failed;
    });
}
