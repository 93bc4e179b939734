#include <rondo/io/receive_state.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/testing/faulty_engine.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>
#include <support/transport.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <linux/io_uring.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using phase = receive_state::phase;

namespace {

run_options with_pool(unsigned initial, unsigned most, std::size_t buffer_size = 4096) {
    run_options made = options();
    made.buffers.initial = initial;
    made.buffers.most = most;
    made.buffers.buffer_size = buffer_size;
    return made;
}

// Each is a receive of its own at the other side, where the descriptor is closed.
void send_with_descriptor(const raw_peer& from, char byte) {
    ::iovec bytes{&byte, 1};
    alignas(::cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
    ::msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ::cmsghdr& passed = *CMSG_FIRSTHDR(&message);
    passed.cmsg_level = SOL_SOCKET;
    passed.cmsg_type = SCM_RIGHTS;
    passed.cmsg_len = CMSG_LEN(sizeof(int));
    const int descriptor = STDERR_FILENO;
    std::memcpy(CMSG_DATA(&passed), &descriptor, sizeof descriptor);
    REQUIRE(::sendmsg(from.descriptor(), &message, MSG_NOSIGNAL) == 1);
}

bool receives_multishot(const scheduler& here, transport over) {
    const engine& carrier = here.carrier();
    return carrier.has(feature::multishot_recv) &&
           (over == transport::tcp || carrier.has(feature::unix_end));
}

// An engine that behaves, but denies to have a feature.
run_options without(feature missing) {
    run_options made;
    made.make_engine = [missing](const engine_options& queues) -> std::unique_ptr<engine> {
        testing::fault_plan plan;
        plan.without(missing);
        return std::make_unique<testing::faulty_engine>(
            make_engine(engine_kind::automatic, queues), plan, queues);
    };
    return made;
}

// Reads one message of the peer, after which the request stays armed.
task<> arm(stream_socket& socket, raw_peer& peer) {
    peer.send("arm");
    const std::string got = co_await read_exactly(socket, 3);
    CHECK(got == "arm");
}

// A reader of its own that ends with what one recv() said; it outlives its cancellation.
struct reader_outcome {
    bool ended = false;
    std::error_code error;
    std::string text;
};
task<> read_once(stream_socket& socket, reader_outcome& outcome) {
    auto received = co_await as_result(socket.recv());
    if (received) {
        outcome.text = received->text();
    } else {
        outcome.error = received.error();
    }
    outcome.ended = true;
}

task<bool> all_buffers_are_back() {
    scheduler& here = co_await this_scheduler();
    const bool back = co_await eventually([&] { return here.stats().buffers_held == 0; });
    co_return back;
}

// Sends until neither side's socket buffer takes more and the receiver has stopped taking.
task<std::string> fill(raw_peer& peer, stream_socket& receiver) {
    std::string sent;
    for (int full = 0; full < 100;) {
        const std::string next = pattern(65536, 0, sent.size());
        const std::size_t n = peer.send_some(next);
        sent.append(next, 0, n);
        full = n == 0 && receiver.state().current_phase() == phase::idle ? full + 1 : 0;
        co_await next_turn();
    }
    co_return sent;
}

}  // namespace

// --- idle and armed --------------------------------------------------------------------------

TEST_CASE("a socket has nothing in the kernel before its first recv()",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        CHECK(pair.socket.state().current_phase() == phase::idle);
        CHECK_FALSE(pair.socket.state().in_use());
        pair.peer.send("hello");
        const std::string got = co_await read_exactly(pair.socket, 5);
        CHECK(got == "hello");
    });
}

TEST_CASE("a recv() that waits keeps one request armed over many arrivals",
          "[io][receive_state]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        scheduler& here = co_await this_scheduler();
        if (!receives_multishot(here, over)) SKIP("the engine has no multishot");
        co_await arm(pair.socket, pair.peer);
        const auto entries = here.stats().entries;
        for (int i = 0; i < 20; ++i) {
            pair.peer.send("again");
            const std::string got = co_await read_exactly(pair.socket, 5);
            CHECK(got == "again");
            CHECK(pair.socket.state().current_phase() == phase::armed);
        }
        if (!faulty()) CHECK(here.stats().entries == entries);
    });
}

TEST_CASE("data that arrives while nobody reads is there for the next recv()",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        pair.peer.send("while nobody reads");
        co_await some_turns();
        const std::string got = co_await read_exactly(pair.socket, 18);
        CHECK(got == "while nobody reads");
    });
}

TEST_CASE("the end of the stream while armed is told after the data, and told again",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        pair.peer.send("last");
        pair.peer.finish();
        co_await some_turns();
        const std::string got = co_await read_exactly(pair.socket, 100);
        CHECK(got == "last");
        for (int i = 0; i < 3; ++i) {
            const chunk end = co_await pair.socket.recv();
            CHECK_FALSE(end);
        }
        std::string buffer(8, '\0');
        const std::size_t n = co_await pair.socket.recv(writable(buffer));
        CHECK(n == 0);
        // The other direction is still open.
        co_await pair.socket.send("answer");
        const bool answered = co_await eventually([&] { return pair.peer.reads("answer"); });
        CHECK(answered);
    });
}

TEST_CASE("a waiting reader is woken by the end of the stream", "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        reader_outcome outcome;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await read_once(pair.socket, outcome); });
            co_await some_turns();
            CHECK_FALSE(outcome.ended);
            pair.peer.finish();
        });
        CHECK(outcome.ended);
        CHECK_FALSE(outcome.error);
        CHECK(outcome.text.empty());
    });
}

TEST_CASE("a reset while a reader waits is thrown with verb and peer", "[io][receive_state][tcp]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                std::string text;
                try {
                    co_await pair.socket.recv();
                } catch (const socket_error& error) {
                    CHECK(error.code() == std::errc::connection_reset);
                    text = error.what();
                }
                CHECK(text.starts_with("recv"));
                CHECK(text.find("Connection reset by peer") != std::string::npos);
            });
            co_await some_turns();
            pair.peer.reset();
        });
    });
}

TEST_CASE("a reset is the end of the stream for who asked for it", "[io][receive_state][tcp]") {
    const bool leased = GENERATE(false, true);
    test::run([&]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        pair.socket.end_on_reset();
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                std::array<std::byte, 16> buffer{};
                for (int times = 0; times < 2; ++times) {
                    if (leased) {
                        const chunk received = co_await pair.socket.recv();
                        CHECK_FALSE(received);
                    } else {
                        const std::size_t received = co_await pair.socket.recv(buffer);
                        CHECK(received == 0);
                    }
                }
            });
            co_await some_turns();
            pair.peer.reset();
        });
    });
}

TEST_CASE("a reset while armed comes after the data that came before it",
          "[io][receive_state][tcp]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        co_await arm(pair.socket, pair.peer);
        pair.peer.send("before");
        // Received means: out of the kernel, where a reset would drop it.
        reader_outcome outcome;
        const bool arrived = co_await eventually([&] {
            return pair.socket.state().undelivered() != 0 ||
                   pair.socket.state().current_phase() == phase::idle;
        });
        REQUIRE(arrived);
        if (pair.socket.state().undelivered() == 0) co_return;  // a fault has ended the request
        pair.peer.reset();
        co_await some_turns();
        const chunk data = co_await pair.socket.recv();
        CHECK(std::string("before").starts_with(data.text()));
        std::error_code last;
        while (!last) {
            co_await read_once(pair.socket, outcome);
            last = outcome.error;
        }
        CHECK(last == std::errc::connection_reset);
    });
}

TEST_CASE("a reset is thrown again by every later recv", "[io][receive_state][tcp]") {
    const bool leased = GENERATE(false, true);
    const bool armed = GENERATE(false, true);
    test::run([&]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        if (armed) co_await arm(pair.socket, pair.peer);
        pair.peer.reset();
        std::array<std::byte, 16> buffer{};
        // Each form after each.
        for (const bool by_lease : {leased, leased, !leased, !leased, leased}) {
            std::error_code error;
            if (by_lease) {
                const auto received = co_await as_result(pair.socket.recv());
                error = received.error();
            } else {
                const auto received = co_await as_result(pair.socket.recv(buffer));
                error = received.error();
            }
            CHECK(error == std::errc::connection_reset);
        }
    });
}

// --- buffers run out -------------------------------------------------------------------------

TEST_CASE("a pool that was found empty grows, and the waiting reader gets its data",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    rondo::run(with_pool(1, 8), [over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        scheduler& here = co_await this_scheduler();
        if (!here.buffers().usable()) SKIP("the engine has no buffer rings");
        std::vector<chunk> held;
        std::string got;
        for (int i = 0; i < 6; ++i) {
            pair.peer.send(pattern(100, 0, got.size()));
            const std::size_t wanted = got.size() + 100;
            while (got.size() < wanted) {
                chunk next = co_await pair.socket.recv();
                REQUIRE(next);
                got += next.text();
                held.push_back(std::move(next));
            }
        }
        CHECK(got == pattern(600));
        CHECK(here.buffers().size() > 1);
        CHECK(here.buffers().size() <= 8);
        CHECK(here.stats().starvations > 0);
        held.clear();
        CHECK(here.stats().buffers_held == 0);
    });
}

TEST_CASE("data that finds no buffer while nobody reads waits in the kernel",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    rondo::run(with_pool(1, 1), [over]() -> task<> {
        raw_stream_pair first = connected_to_raw_peer(over);
        raw_stream_pair second = connected_to_raw_peer(over);
        co_await arm(second.socket, second.peer);
        first.peer.send("holds the only buffer");
        const chunk held = co_await first.socket.recv();
        second.peer.send("parked");
        const bool ended =
            co_await eventually([&] { return second.socket.state().stopped(); });
        CHECK(ended);
        co_await some_turns();
        CHECK(second.socket.state().stopped());  // nobody reads: nothing is tried again
        CHECK(second.socket.state().undelivered() == 0);
        const std::string got = co_await read_exactly(second.socket, 6);
        CHECK(got == "parked");
        CHECK(std::string("holds the only buffer").starts_with(held.text()));
    });
}

TEST_CASE("a pool at its cap leaves a copying receive to go on with", "[io][receive_state][tcp]") {
    rondo::run(with_pool(1, 1), []() -> task<> {
        raw_pair first = connected_to_raw_peer();
        raw_pair second = connected_to_raw_peer();
        scheduler& here = co_await this_scheduler();
        if (!here.buffers().usable()) SKIP("the engine has no buffer rings");
        first.peer.send("held");
        std::optional<chunk> held = co_await first.socket.recv();
        const std::string data = pattern(100'000);
        std::string got;
        bool copied = false;
        for (std::size_t sent = 0; got.size() < data.size();) {
            sent += second.peer.send_some(std::string_view(data).substr(sent));
            const chunk next = co_await second.socket.recv();
            got += next.text();
            copied = copied || here.stats().starvations > 0;
        }
        CHECK(got == data);
        CHECK(copied);
        CHECK(here.buffers().size() == 1);
        // The buffer is back: data arrives in it again.
        held.reset();
        for (int i = 0; i < 3; ++i) {
            second.peer.send("after");
            const std::string after = co_await read_exactly(second.socket, 5);
            CHECK(after == "after");
        }
        const bool back = co_await all_buffers_are_back();
        CHECK(back);
    });
}

TEST_CASE("a cancelled reader leaves its copying receive to the next one",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    rondo::run(with_pool(1, 1), [over]() -> task<> {
        raw_stream_pair first = connected_to_raw_peer(over);
        raw_stream_pair second = connected_to_raw_peer(over);
        first.peer.send("held");
        const chunk held = co_await first.socket.recv();
        reader_outcome outcome;
        second.peer.send("x");
        const std::string x = co_await read_exactly(second.socket, 1);
        CHECK(x == "x");
        cancel_scope scope;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                co_await scope.run(read_once(second.socket, outcome));
            });
            co_await some_turns();
            CHECK(second.socket.state().in_use());
            scope.cancel();
        });
        CHECK(outcome.error == std::errc::operation_canceled);
        second.peer.send("later");
        const std::string later = co_await read_exactly(second.socket, 5);
        CHECK(later == "later");
    });
}

// --- the multishot ends early ----------------------------------------------------------------

TEST_CASE("a multishot that ends early is armed again and loses nothing", "[io][receive_state]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    run_options options;
    options.make_engine = [](const engine_options& queues) -> std::unique_ptr<engine> {
        testing::fault_plan plan;
        plan.with(testing::fault::early_end, 1000);
        return std::make_unique<testing::faulty_engine>(
            make_engine(engine_kind::automatic, queues), plan, queues);
    };
    rondo::run(options, [over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        scheduler& here = co_await this_scheduler();
        if (!receives_multishot(here, over)) SKIP("the engine has no multishot");
        const auto entries = here.stats().entries;
        std::string got;
        for (std::size_t i = 0; i < 30; ++i) {
            pair.peer.send(pattern(50, 0, got.size()));
            const std::string next = co_await read_exactly(pair.socket, 50);
            got += next;
        }
        CHECK(got == pattern(1500));
        CHECK(here.stats().entries > entries + 1);
    });
}

// --- the reader is cancelled -----------------------------------------------------------------

TEST_CASE("a cancelled reader leaves the request armed, and what comes later is delivered",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        for (int i = 0; i < 10; ++i) {
            reader_outcome outcome;
            cancel_scope scope;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    co_await scope.run(read_once(pair.socket, outcome));
                });
                co_await some_turns(5);
                scope.cancel();
            });
            CHECK(outcome.error == std::errc::operation_canceled);
            pair.peer.send(pattern(10, 1, static_cast<std::size_t>(i) * 10));
            co_await some_turns(i);
            const std::string got = co_await read_exactly(pair.socket, 10);
            CHECK(got == pattern(10, 1, static_cast<std::size_t>(i) * 10));
        }
    });
}

TEST_CASE("a recv() in a cancelled scope takes nothing of what has arrived",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        pair.peer.send("kept");
        co_await some_turns();
        cancel_scope scope;
        scope.cancel();
        reader_outcome outcome;
        co_await scope.run(read_once(pair.socket, outcome));
        CHECK(outcome.error == std::errc::operation_canceled);
        const std::string got = co_await read_exactly(pair.socket, 4);
        CHECK(got == "kept");
    });
}

// --- the bound -------------------------------------------------------------------------------

TEST_CASE("a slow consumer stops the receive, its sender blocks, and nothing is lost",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        pair.socket.set(receive_buffer{65536});
        co_await arm(pair.socket, pair.peer);
        const std::string sent = co_await fill(pair.peer, pair.socket);
        scheduler& here = co_await this_scheduler();
        CHECK(pair.socket.state().current_phase() == phase::idle);
        if (!faulty() && here.carrier().has(feature::receive_limit)) {
            CHECK(here.stats().buffers_held * here.buffers().buffer_size() <= 256 * 1024);
        }
        pair.peer.finish();
        const std::string got = co_await read_to_end(pair.socket);
        CHECK(got.size() == sent.size());
        CHECK((got == sent));
        const bool back = co_await all_buffers_are_back();
        CHECK(back);
    });
}

TEST_CASE("without multishot each arrival is asked for, and none is lost",
          "[io][receive_state]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    rondo::run(without(feature::multishot_recv), [over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        std::string got;
        for (std::size_t i = 0; i < 20; ++i) {
            pair.peer.send(pattern(50, 0, i * 50));
            if (i % 2 == 1) co_await some_turns(2);
            const std::string next = co_await read_exactly(pair.socket, 50);
            got += next;
        }
        CHECK(got == pattern(1000));
    });
}

// The kernel reads 33 buffers at once and then may not look for what is behind them.
TEST_CASE("the end of a stream that came before its receive is told behind any count of buffers",
          "[io][receive_state]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    const feature missing =
        GENERATE(feature::registered_ring, feature::receive_limit, feature::unix_end);
    const std::size_t size = GENERATE(1u, 33u * 256, 33u * 256 + 1, 50u * 256);
    run_options options = without(missing);
    options.buffers.buffer_size = 256;
    rondo::run(options, [over, size]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        pair.peer.send(pattern(size));
        pair.peer.finish();
        const std::string got = co_await read_to_end(pair.socket);
        CHECK((got == pattern(size)));
    });
}

TEST_CASE("the end of a Unix stream is told behind many bytes with descriptors",
          "[io][receive_state]") {
    // Where the completions of one turn fit into the queue.
    if (faulty()) SKIP("a queue may be too small");
    test::run([]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(transport::unix_stream);
        const std::size_t count = 50;
        for (std::size_t i = 0; i < count; ++i) send_with_descriptor(pair.peer, 'x');
        pair.peer.finish();
        const std::string got = co_await read_to_end(pair.socket);
        CHECK(got == std::string(count, 'x'));
    });
}

TEST_CASE("the end of a stream that comes at once with bytes is told", "[io][receive_state]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    const feature missing = GENERATE(feature::registered_ring, feature::unix_end);
    rondo::run(without(missing), [over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        pair.peer.send("the last words");
        pair.peer.finish();
        const std::string got = co_await read_to_end(pair.socket);
        CHECK(got == "the last words");
    });
}

TEST_CASE("many chunks left unread stop the receive where the kernel knows no limit",
          "[io][receive_state]") {
    // From a Unix socket one buffer is received at a time then: see feature::unix_end.
    rondo::run(without(feature::receive_limit), []() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(transport::tcp);
        scheduler& here = co_await this_scheduler();
        if (!receives_multishot(here, transport::tcp)) SKIP("the engine has no multishot");
        co_await arm(pair.socket, pair.peer);
        std::size_t most = 0;
        std::string sent;
        for (int i = 0; i < 100; ++i) {
            const std::string next = pattern(10, 2, sent.size());
            pair.peer.send(next);
            sent += next;
            co_await next_turn();
            most = std::max(most, pair.socket.state().undelivered());
        }
        CHECK(most >= 1);
        CHECK(most <= 16);
        CHECK(pair.socket.state().stopped());
        const std::string got = co_await read_exactly(pair.socket, sent.size());
        CHECK(got == sent);
    });
}

// --- the socket moves or dies ----------------------------------------------------------------

TEST_CASE("a socket moved while armed goes on receiving", "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        stream_socket second = std::move(pair.socket);
        CHECK_FALSE(pair.socket.is_open());
        pair.peer.send("to the second");
        const std::string got = co_await read_exactly(second, 13);
        CHECK(got == "to the second");
        stream_socket third;
        third = std::move(second);
        pair.peer.send("to the third");
        co_await some_turns();
        const std::string more = co_await read_exactly(third, 12);
        CHECK(more == "to the third");
    });
}

TEST_CASE("a socket destroyed while armed closes its descriptor, and the peer sees the end",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    raw_stream_pair pair = connected_to_raw_peer(over);
    const int descriptor = pair.socket.descriptor();
    test::run([&]() -> task<> {
        co_await arm(pair.socket, pair.peer);
        pair.socket = stream_socket();
        CHECK(pair.peer.at_end());
        const bool closed = co_await eventually([&] { return !is_open(descriptor); });
        CHECK(closed);
    });
}

TEST_CASE("run() returns only when a socket destroyed while armed is closed",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    raw_stream_pair pair = connected_to_raw_peer(over);
    const int descriptor = pair.socket.descriptor();
    test::run([&]() -> task<> {
        stream_socket socket = std::move(pair.socket);
        co_await arm(socket, pair.peer);
    });
    CHECK_FALSE(is_open(descriptor));
    CHECK(pair.peer.at_end());
}

TEST_CASE("chunks undelivered when the socket is destroyed are given back",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        for (int i = 0; i < 3; ++i) {
            pair.peer.send("undelivered");
            co_await some_turns(3);
        }
        scheduler& here = co_await this_scheduler();
        // A receive that is no multishot is armed by who waits.
        const bool comes = !faulty() && receives_multishot(here, over);
        if (comes) CHECK(here.stats().buffers_held > 0);
        pair.socket = stream_socket();
        const bool back = co_await all_buffers_are_back();
        CHECK(back);
    });
}

TEST_CASE("data on its way when the socket is destroyed is given back too",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        const int descriptor = pair.socket.descriptor();
        pair.peer.send(pattern(50'000));  // not reaped yet
        pair.socket = stream_socket();
        const bool closed = co_await eventually([&] { return !is_open(descriptor); });
        CHECK(closed);
        const bool back = co_await all_buffers_are_back();
        CHECK(back);
    });
}

TEST_CASE("a socket destroyed while a receive copies is closed", "[io][receive_state]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    rondo::run(without(feature::buffer_ring), [over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        reader_outcome outcome;
        cancel_scope scope;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                co_await scope.run(read_once(pair.socket, outcome));
            });
            co_await some_turns();
            CHECK(pair.socket.state().current_phase() == phase::copying);
            scope.cancel();
        });
        CHECK(outcome.error == std::errc::operation_canceled);
        CHECK(pair.socket.state().current_phase() == phase::copying);
        const int descriptor = pair.socket.descriptor();
        pair.peer.send("nobody will read this");
        pair.socket = stream_socket();
        const bool closed = co_await eventually([&] { return !is_open(descriptor); });
        CHECK(closed);
    });
}

TEST_CASE("a copying receive is released, stopped and kept as an armed one",
          "[io][receive_state]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    raw_stream_pair pair = connected_to_raw_peer(over);
    rondo::run(without(feature::buffer_ring), [&]() -> task<> {
        co_await arm(pair.socket, pair.peer);
        cancel_scope scope;
        reader_outcome outcome;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                co_await scope.run(read_once(pair.socket, outcome));
            });
            co_await some_turns();
            scope.cancel();
        });
        released_socket released = co_await pair.socket.release();
        CHECK(released.received.empty());
        pair.socket = stream_socket(std::move(released.descriptor));
        pair.peer.send(pattern(1000));
        const std::string head = co_await read_exactly_into_buffer(pair.socket, 10, 10);
        CHECK(head == pattern(10));
        // From here on through the state, which brings more than is taken.
        chunk next = co_await pair.socket.recv();
        REQUIRE(next);
        CHECK(next.text() == pattern(990, 0, 10));
        pair.peer.send(pattern(1000, 0, 1000));
        outcome = {};
        cancel_scope again;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                co_await again.run(read_once(pair.socket, outcome));
            });
            co_await next_turn();
            again.cancel();
        });
        const bool arrived =
            co_await eventually([&] { return pair.socket.state().stopped(); });
        CHECK(arrived);
        if (!outcome.error) CHECK(outcome.text == pattern(1000, 0, 1000));
    });
    pair.peer.send("more");
    pair.peer.finish();
    rondo::run(without(feature::buffer_ring), [&]() -> task<> {
        const std::string rest = co_await read_to_end(pair.socket);
        CHECK(rest.ends_with("more"));
    });
}

TEST_CASE("without buffer rings the two ways to receive mix all the same",
          "[io][receive_state]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    rondo::run(without(feature::buffer_ring), [over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        const std::string data = pattern(100'000);
        std::string got;
        std::string buffer(3000, '\0');
        for (std::size_t sent = 0; got.size() < data.size();) {
            sent += pair.peer.send_some(std::string_view(data).substr(sent, 7000));
            const chunk next = co_await pair.socket.recv();
            REQUIRE(next);
            got += next.text();
            if (got.size() == sent) continue;
            const std::size_t n = co_await pair.socket.recv(writable(buffer));
            REQUIRE(n > 0);
            got.append(buffer, 0, n);
        }
        CHECK((got == data));
    });
}

TEST_CASE("without buffer rings ENOBUFS is the kernel's own lack of memory, and thrown",
          "[io][receive_state]") {
    run_options lacking;
    lacking.make_engine = [](const engine_options& queues) -> std::unique_ptr<engine> {
        testing::fault_plan plan;
        plan.without(feature::buffer_ring);
        plan.rules.push_back({IORING_OP_RECV, 1, testing::fault::error, ENOBUFS});
        return std::make_unique<testing::faulty_engine>(
            make_engine(engine_kind::automatic, queues), plan, queues);
    };
    rondo::run(lacking, []() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(transport::unix_stream);
        auto received = co_await as_result(pair.socket.recv());
        CHECK(received.error() == std::errc::no_buffer_space);
    });
}

TEST_CASE("a socket destroyed while its receive is being stopped is closed once",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        const int descriptor = pair.socket.descriptor();
        pair.socket.state().stop();
        pair.peer.send("too late");
        pair.socket = stream_socket();
        const bool closed = co_await eventually([&] { return !is_open(descriptor); });
        CHECK(closed);
        const bool back = co_await all_buffers_are_back();
        CHECK(back);
    });
}

TEST_CASE("a reader that comes while the receive is being stopped has it armed again",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        for (int i = 0; i < 10; ++i) {
            co_await arm(pair.socket, pair.peer);
            pair.socket.state().stop();
            reader_outcome outcome;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> { co_await read_once(pair.socket, outcome); });
                co_await some_turns(i);
                pair.peer.send("s");
            });
            CHECK(outcome.text == "s");
            CHECK_FALSE(outcome.error);
        }
    });
}

// --- the scheduler ends ----------------------------------------------------------------------

TEST_CASE("what has arrived undelivered is read on the next scheduler, in order",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    raw_stream_pair pair = connected_to_raw_peer(over);
    test::run([&]() -> task<> {
        co_await arm(pair.socket, pair.peer);
        for (std::size_t i = 0; i < 3; ++i) {
            pair.peer.send(pattern(1000, 0, i * 1000));
            co_await some_turns(5);
        }
        // A part of the first chunk was read: only the rest is kept.
        const std::string head = co_await read_exactly_into_buffer(pair.socket, 10, 10);
        CHECK(head == pattern(10));
    });
    CHECK(pair.socket.state().current_phase() == phase::idle);
    CHECK(pair.socket.state().owner() == nullptr);
    pair.peer.send(pattern(1000, 0, 3000));
    pair.peer.finish();
    test::run([&]() -> task<> {
        const std::string got = co_await read_to_end(pair.socket);
        CHECK(got == pattern(3990, 0, 10));
    });
    CHECK(is_open(pair.socket.descriptor()));
}

TEST_CASE("what a scheduler kept can be read by recv(buffer) and recv() in turn",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    raw_stream_pair pair = connected_to_raw_peer(over);
    test::run([&]() -> task<> {
        co_await arm(pair.socket, pair.peer);
        pair.peer.send(pattern(500));
        co_await some_turns();
    });
    test::run([&]() -> task<> {
        const std::string head = co_await read_exactly_into_buffer(pair.socket, 100, 30);
        CHECK(head == pattern(100));
        const std::string rest = co_await read_exactly(pair.socket, 400);
        CHECK(rest == pattern(400, 0, 100));
    });
}

TEST_CASE("the end of the stream that a scheduler has seen is told on the next one",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    raw_stream_pair pair = connected_to_raw_peer(over);
    test::run([&]() -> task<> {
        co_await arm(pair.socket, pair.peer);
        pair.peer.send("last");
        pair.peer.finish();
        co_await some_turns();
    });
    test::run([&]() -> task<> {
        const std::string got = co_await read_to_end(pair.socket);
        CHECK(got == "last");
    });
}

TEST_CASE("a socket destroyed after its scheduler has ended is closed at once",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    raw_stream_pair pair = connected_to_raw_peer(over);
    test::run([&]() -> task<> {
        co_await arm(pair.socket, pair.peer);
        pair.peer.send("kept");
        co_await some_turns();
    });
    const int descriptor = pair.socket.descriptor();
    pair.socket = stream_socket();
    CHECK_FALSE(is_open(descriptor));
}

// --- release() -------------------------------------------------------------------------------

TEST_CASE("release() while armed gives the descriptor and no bytes",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        const int descriptor = pair.socket.descriptor();
        released_socket released = co_await pair.socket.release();
        CHECK(released.descriptor.get() == descriptor);
        CHECK(released.received.empty());
        CHECK_FALSE(pair.socket.is_open());
        // It is connected still, and no request takes what comes now.
        pair.peer.send("direct");
        stream_socket again(std::move(released.descriptor));
        const std::string got = co_await read_exactly(again, 6);
        CHECK(got == "direct");
    });
}

TEST_CASE("release() gives what has arrived unread, less what was read",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        pair.peer.send(pattern(300));
        co_await some_turns();
        const std::string head = co_await read_exactly_into_buffer(pair.socket, 7, 7);
        CHECK(head == pattern(7));
        pair.peer.send(pattern(300, 0, 300));
        co_await some_turns();
        released_socket released = co_await pair.socket.release();
        std::string got(reinterpret_cast<const char*>(released.received.data()),
                        released.received.size());
        // What was not received yet is in the kernel, behind it.
        stream_socket again(std::move(released.descriptor));
        const std::string rest = co_await read_exactly(again, 593 - got.size());
        got += rest;
        CHECK(got == pattern(593, 0, 7));
        const bool back = co_await all_buffers_are_back();
        CHECK(back);
    });
}

TEST_CASE("release() while the receive is being stopped waits for its end",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        pair.socket.state().stop();
        pair.peer.send("kept");
        released_socket released = co_await pair.socket.release();
        std::string got(reinterpret_cast<const char*>(released.received.data()),
                        released.received.size());
        stream_socket again(std::move(released.descriptor));
        const std::string rest = co_await read_exactly(again, 4 - got.size());
        got += rest;
        CHECK(got == "kept");
    });
}

TEST_CASE("release() tells of a reset that nobody has read", "[io][receive_state][tcp]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        co_await arm(pair.socket, pair.peer);
        const bool armed = pair.socket.state().current_phase() == phase::armed;
        pair.peer.reset();
        co_await eventually([&] { return pair.socket.state().current_phase() == phase::idle; });
        released_socket released = co_await pair.socket.release();
        CHECK(released.received.empty());
        if (released.error) {
            CHECK(released.error == std::errc::connection_reset);
        } else {
            // No request was there to take it out of the kernel.
            CHECK((!armed || faulty()));
            raw_peer descriptor(std::move(released.descriptor));
            CHECK(descriptor.was_reset());
        }
    });
}

TEST_CASE("release() of a connection that was not reset tells no error",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    const bool ended = GENERATE(false, true);
    test::run([&]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        pair.peer.send("unread");
        if (ended) pair.peer.finish();
        co_await some_turns();
        const released_socket released = co_await pair.socket.release();
        CHECK_FALSE(released.error);
    });
}

TEST_CASE("release() of a socket that was never used is immediate",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        const int descriptor = pair.socket.descriptor();
        const released_socket released = co_await pair.socket.release();
        CHECK(released.descriptor.get() == descriptor);
        CHECK(is_open(descriptor));
    });
}

// --- two ways to receive ---------------------------------------------------------------------

TEST_CASE("recv(buffer) takes a part of a chunk and recv() the rest",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        co_await arm(pair.socket, pair.peer);
        pair.peer.send("0123456789");
        std::string got = co_await read_exactly_into_buffer(pair.socket, 4, 3);
        CHECK(got == "0123");
        const std::string rest = co_await read_exactly(pair.socket, 6);
        CHECK(rest == "456789");
    });
}

TEST_CASE("recv(buffer) gathers what several chunks have brought", "[io][receive_state]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        scheduler& here = co_await this_scheduler();
        if (!receives_multishot(here, over)) SKIP("the engine has no multishot");
        co_await arm(pair.socket, pair.peer);
        std::size_t chunks = 0;
        for (; chunks < 3; ++chunks) {
            pair.peer.send("abc");
            const bool arrived = co_await eventually(
                [&] { return pair.socket.state().undelivered() > chunks; });
            REQUIRE(arrived);
        }
        std::string buffer(100, '\0');
        const std::size_t n = co_await pair.socket.recv(writable(buffer));
        CHECK(n == 9);
        CHECK(buffer.starts_with("abcabcabc"));
        CHECK(here.stats().buffers_held == 0);
    });
}

TEST_CASE("recv() and recv(buffer) mix in any order without reordering",
          "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    rondo::run(with_pool(2, 4, 1024), [over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        std::minstd_rand random(20240217);
        const std::string data = pattern(300'000);
        std::string got;
        std::string buffer(3000, '\0');
        std::vector<chunk> held;
        for (std::size_t sent = 0; got.size() < data.size();) {
            if (random() % 2 == 0 || sent == got.size()) {
                const std::size_t most = 1 + random() % 5000;
                sent += pair.peer.send_some(std::string_view(data).substr(sent, most));
            }
            if (sent == got.size()) continue;
            if (random() % 2 == 0) {
                chunk next = co_await pair.socket.recv();
                REQUIRE(next);
                got += next.text();
                held.push_back(std::move(next));
                if (held.size() > random() % 6) held.clear();
            } else {
                const auto room = writable(buffer).first(1 + random() % buffer.size());
                const std::size_t n = co_await pair.socket.recv(room);
                REQUIRE(n > 0);
                got.append(buffer, 0, n);
            }
        }
        CHECK(got.size() == data.size());
        CHECK((got == data));
    });
}

TEST_CASE("recv() into no room returns 0 at once, armed or not", "[io][receive_state][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        const std::size_t before = co_await pair.socket.recv(std::span<std::byte>());
        CHECK(before == 0);
        co_await arm(pair.socket, pair.peer);
        const std::size_t armed = co_await pair.socket.recv(std::span<std::byte>());
        CHECK(armed == 0);
        pair.peer.send("kept");
        co_await some_turns();
        const std::size_t with_data = co_await pair.socket.recv(std::span<std::byte>());
        CHECK(with_data == 0);
        const std::string got = co_await read_exactly(pair.socket, 4);
        CHECK(got == "kept");
    });
}
