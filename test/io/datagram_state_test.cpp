#include <rondo/io/datagram_state.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/udp.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>
#include <rondo/testing/faulty_engine.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/raw_udp.hpp>
#include <support/receiving.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <linux/io_uring.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using namespace std::chrono_literals;
using phase = datagram_state::phase;

namespace {

const endpoint any(ip_address::v4_loopback(), 0);

run_options with_pool(unsigned initial, unsigned most, std::size_t buffer_size = 4096) {
    run_options made = options();
    made.buffers.initial = initial;
    made.buffers.most = most;
    made.buffers.buffer_size = buffer_size;
    return made;
}

// An engine that does what the plan says and nothing else.
run_options with_plan(testing::fault_plan plan) {
    run_options made;
    made.make_engine = [plan](const engine_options& queues) -> std::unique_ptr<engine> {
        return std::make_unique<testing::faulty_engine>(
            make_engine(engine_kind::automatic, queues), plan, queues);
    };
    return made;
}

// The nth request of this kind gets `error` instead of being carried out.
void refuse(testing::fault_plan& plan, std::uint8_t opcode, unsigned nth, int error) {
    plan.rules.push_back({opcode, nth, testing::fault::error, error});
}

run_options without(feature missing) {
    testing::fault_plan plan;
    plan.without(missing);
    return with_plan(plan);
}

struct fixture {
    udp_socket socket = udp_socket::bind(any, receive_buffer(1 << 20));
    raw_udp peer;
    endpoint where = socket.local_endpoint();

    void send(int first, int count) {
        for (int i = first; i < first + count; ++i) peer.send_to(std::to_string(i), where);
    }
    phase now() { return socket.state().current_phase(); }
};

task<std::string> next_text(udp_socket& socket) {
    const datagram next = co_await socket.recv_from();
    co_return std::string(next.text());
}

task<> expect(udp_socket& socket, int first, int count) {
    for (int i = first; i < first + count; ++i) {
        const std::string got = co_await next_text(socket);
        CHECK(got == std::to_string(i));
    }
}

// Receives one datagram, after which the request stays armed.
task<> arm(fixture& on) {
    on.send(0, 1);
    co_await expect(on.socket, 0, 1);
}

// Lets `count` datagrams come while nobody waits. A fault may end the request before they do, and
// without multishot it brings but one.
task<> let_come(fixture& on, std::size_t count) {
    scheduler& here = co_await this_scheduler();
    if (faulty() || !here.carrier().has(feature::multishot_recv)) {
        co_await some_turns(30);
        co_return;
    }
    const bool come = co_await eventually([&] { return on.socket.state().undelivered() == count; });
    CHECK(come);
}

struct reader_outcome {
    bool ended = false;
    std::error_code error;
    std::string text;
};
task<> read_once(udp_socket& socket, reader_outcome& outcome) {
    auto received = co_await as_result(socket.recv_from());
    if (received) {
        outcome.text = received->text();
    } else {
        outcome.error = received.error();
    }
    outcome.ended = true;
}
task<> read_once_into_buffer(udp_socket& socket, reader_outcome& outcome) {
    std::string buffer(100, '\0');
    auto received = co_await as_result(socket.recv_from(writable(buffer)));
    if (received) {
        outcome.text = buffer.substr(0, received->size);
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

}  // namespace

// --- idle and armed --------------------------------------------------------------------------

TEST_CASE("a datagram socket has nothing in the kernel before its first recv_from()",
          "[io][udp]") {
    test::run([]() -> task<> {
        fixture on;
        CHECK(on.now() == phase::idle);
        CHECK_FALSE(on.socket.state().in_use());
        on.send(0, 1);
        std::string buffer(10, '\0');
        const auto direct = co_await on.socket.recv_from(writable(buffer));
        CHECK(direct.size == 1);
        CHECK(on.now() == phase::idle);
    });
}

TEST_CASE("one request serves any number of datagrams", "[io][udp]") {
    if (faulty()) SKIP("faults end requests early");
    test::run([]() -> task<> {
        fixture on;
        co_await arm(on);
        scheduler& here = co_await this_scheduler();
        if (!here.carrier().has(feature::multishot_recv)) SKIP("the engine has no multishot");
        const auto before = here.stats().entries;
        for (int i = 0; i < 50; ++i) {
            on.send(i, 1);
            co_await expect(on.socket, i, 1);
        }
        CHECK(here.stats().entries == before);
        CHECK(on.now() == phase::armed);
    });
}

TEST_CASE("datagrams that come while nobody waits are kept in order", "[io][udp]") {
    test::run([]() -> task<> {
        fixture on;
        co_await arm(on);
        on.send(0, 100);
        co_await some_turns(10);
        co_await expect(on.socket, 0, 100);
        on.socket = udp_socket();
        const bool back = co_await all_buffers_are_back();
        CHECK(back);
    });
}

TEST_CASE("an empty datagram ends the request, and it is made again", "[io][udp]") {
    test::run([]() -> task<> {
        fixture on;
        for (int i = 0; i < 20; ++i) {
            on.peer.send_to("", on.where);
            const datagram empty = co_await on.socket.recv_from();
            CHECK(empty.empty());
            CHECK(empty.from() == on.peer.local_endpoint());
        }
        on.send(0, 3);
        co_await expect(on.socket, 0, 3);
    });
}

TEST_CASE("an engine without multishot receives gets datagrams one by one", "[io][udp]") {
    rondo::run(without(feature::multishot_recv), []() -> task<> {
        fixture on;
        on.send(0, 40);
        co_await expect(on.socket, 0, 40);
        on.peer.send_to(pattern(30000), on.where);
        const datagram large = co_await on.socket.recv_from();
        CHECK(large.truncated());
        CHECK(large.true_size() == 30000);
        CHECK(large.size() == 16384 - 32);
        CHECK(large.from() == on.peer.local_endpoint());
    });
}

TEST_CASE("buffers too small for a sender's name are not used", "[io][udp]") {
    rondo::run(with_pool(4, 8, 32), []() -> task<> {
        fixture on;
        on.send(0, 40);
        co_await expect(on.socket, 0, 40);
    });
}

// --- several tasks ---------------------------------------------------------------------------

TEST_CASE("datagrams go to the tasks that wait, to the longest waiting first", "[io][udp]") {
    if (faulty()) SKIP("held completions change who waits when");
    test::run([]() -> task<> {
        fixture on;
        std::vector<reader_outcome> outcomes(5);
        co_await with_task_group([&](task_group& group) -> task<> {
            for (reader_outcome& each : outcomes) {
                group.spawn(read_once, std::ref(on.socket), std::ref(each));
                co_await yield();
            }
            co_await some_turns(2);
            on.send(0, 5);
        });
        for (std::size_t i = 0; i < outcomes.size(); ++i) {
            CHECK(outcomes[i].text == std::to_string(i));
        }
    });
}

TEST_CASE("many tasks echo on one socket, and nothing is lost or mixed", "[io][udp]") {
    test::run([]() -> task<> {
        constexpr int tasks = 8;
        constexpr int rounds = 20;
        fixture on;
        cancel_scope serving;
        // Outside of the group's body, which ends before its children do.
        const auto echo = [&]() -> task<> {
            for (;;) {
                const datagram got = co_await on.socket.recv_from();
                co_await on.socket.send_to(got, got.from());
            }
        };
        co_await with_task_group([&](task_group& group) -> task<> {
            for (int i = 0; i < tasks; ++i) {
                group.spawn([&]() -> task<> {
                    const auto ended = co_await as_result(serving.run(echo()));
                    CHECK(ended.error() == std::errc::operation_canceled);
                });
            }
            std::vector<bool> seen(tasks * rounds);
            for (int round = 0; round < rounds; ++round) {
                on.send(round * tasks, tasks);
                int missing = tasks;
                const bool all = co_await eventually([&] {
                    for (const std::string& text : on.peer.receive_all()) {
                        seen.at(std::stoul(text)) = true;
                        --missing;
                    }
                    return missing == 0;
                });
                CHECK(all);
            }
            for (const bool each : seen) CHECK(each);
            serving.cancel();
        });
    });
}

TEST_CASE("what tasks answer in one turn leaves by one system call", "[io][udp]") {
    if (faulty()) SKIP("faults spread the work over more calls");
    test::run([]() -> task<> {
        constexpr int tasks = 16;
        fixture on;
        scheduler& here = co_await this_scheduler();
        cancel_scope serving;
        // Outside of the group's body, which ends before its children do.
        const auto echo = [&]() -> task<> {
            for (;;) {
                const datagram got = co_await on.socket.recv_from();
                co_await on.socket.send_to(got, got.from());
            }
        };
        co_await with_task_group([&](task_group& group) -> task<> {
            for (int i = 0; i < tasks; ++i) {
                group.spawn([&]() -> task<> {
                    const auto ended = co_await as_result(serving.run(echo()));
                    CHECK(ended.error() == std::errc::operation_canceled);
                });
            }
            co_await some_turns(2);
            const auto before = here.stats().entries;
            on.send(0, tasks);
            int missing = tasks;
            const bool all = co_await eventually([&] {
                missing -= static_cast<int>(on.peer.receive_all().size());
                return missing == 0;
            });
            CHECK(all);
            // All but the last, which is in nobody's company any more at the soonest.
            CHECK(here.stats().entries - before >= tasks - 1);
            serving.cancel();
        });
    });
}

// --- cancellation ----------------------------------------------------------------------------

TEST_CASE("a cancelled receive loses no datagram", "[io][udp][cancellation]") {
    test::run([]() -> task<> {
        fixture on;
        reader_outcome outcome;
        cancel_scope scope;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await scope.run(read_once(on.socket, outcome)); });
            co_await some_turns(2);
            scope.cancel();
        });
        CHECK(outcome.error == std::errc::operation_canceled);
        on.send(7, 2);
        co_await expect(on.socket, 7, 2);
    });
}

TEST_CASE("a datagram that had come wins over the cancellation", "[io][udp][cancellation]") {
    test::run([]() -> task<> {
        fixture on;
        reader_outcome first;
        reader_outcome second;
        cancel_scope scope;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await scope.run(read_once(on.socket, first)); });
            co_await some_turns(2);
            on.send(1, 1);
            scope.cancel();
            // Cancelled before the datagram was seen: it is there for the next one.
            co_await read_once(on.socket, second);
        });
        CHECK(first.error == std::errc::operation_canceled);
        CHECK(second.text == "1");
    });
}

TEST_CASE("a cancelled receive into a buffer is over before its await returns",
          "[io][udp][cancellation]") {
    test::run([]() -> task<> {
        fixture on;
        reader_outcome outcome;
        cancel_scope scope;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                co_await scope.run(read_once_into_buffer(on.socket, outcome));
            });
            co_await some_turns(2);
            scope.cancel();
        });
        CHECK(outcome.error == std::errc::operation_canceled);
        on.send(3, 1);
        std::string buffer(10, '\0');
        const auto got = co_await on.socket.recv_from(writable(buffer));
        CHECK(buffer.substr(0, got.size) == "3");
    });
}

TEST_CASE("in a cancelled scope every datagram operation fails, what is there stays",
          "[io][udp][cancellation]") {
    test::run([]() -> task<> {
        fixture on;
        co_await arm(on);
        on.send(1, 2);
        co_await let_come(on, 2);
        cancel_scope scope;
        scope.cancel();
        const auto all_fail = [&]() -> task<> {
            std::string buffer(10, '\0');
            for (int i = 0; i < 3; ++i) {
                const auto leased = co_await as_result(on.socket.recv_from());
                CHECK(leased.error() == std::errc::operation_canceled);
                const auto copied = co_await as_result(on.socket.recv_from(writable(buffer)));
                CHECK(copied.error() == std::errc::operation_canceled);
                const auto sent =
                    co_await as_result(on.socket.send_to("x", on.peer.local_endpoint()));
                CHECK(sent.error() == std::errc::operation_canceled);
            }
        };
        co_await scope.run(all_fail());
        CHECK_FALSE(on.peer.receive());
        co_await expect(on.socket, 1, 2);
    });
}

TEST_CASE("a time-out around a receive leaves the socket usable", "[io][udp][cancellation]") {
    test::run([]() -> task<> {
        fixture on;
        for (int i = 0; i < 5; ++i) {
            const auto timed = co_await as_result(with_timeout(1ms, on.socket.recv_from()));
            CHECK(timed.error() == std::errc::timed_out);
        }
        on.send(0, 5);
        co_await expect(on.socket, 0, 5);
    });
}

// --- the bounds ------------------------------------------------------------------------------

TEST_CASE("a socket whose task does not receive takes a bounded number of datagrams",
          "[io][udp]") {
    // Stopped by the bound on what is undelivered, or by the pool's end, whichever comes first.
    const unsigned buffers = GENERATE(16u, 1024u);
    rondo::run(with_pool(buffers, 1024), []() -> task<> {
        constexpr int many = 1000;
        fixture on;
        co_await arm(on);
        int sent = 0;
        bool parked = false;
        for (; sent < many && !parked; ++sent) {
            on.send(sent, 1);
            co_await next_turn();
            parked = on.now() == phase::idle;
        }
        CHECK(parked);
        CHECK(on.socket.state().undelivered() < 300);
        on.send(sent, 100);
        co_await some_turns(5);
        co_await expect(on.socket, 0, sent + 100);
        CHECK(on.socket.dropped() == 0);
    });
}

TEST_CASE("what does not fit into the receive buffer is lost, and counted", "[io][udp]") {
    test::run([]() -> task<> {
        udp_socket socket = udp_socket::bind(any, receive_buffer(4096));
        raw_udp peer;
        for (int i = 0; i < 200; ++i) peer.send_to(pattern(500), socket.local_endpoint());
        const auto dropped = socket.dropped();
        CHECK(dropped > 0);
        CHECK(dropped < 200);
        for (auto left = 200 - dropped; left != 0; --left) {
            const std::string got = co_await next_text(socket);
            CHECK(got.size() == 500);
        }
    });
}

TEST_CASE("an empty pool of buffers grows", "[io][udp]") {
    rondo::run(with_pool(1, 64), []() -> task<> {
        fixture on;
        std::vector<datagram> held;
        on.send(0, 40);
        for (int i = 0; i < 40; ++i) {
            datagram next = co_await on.socket.recv_from();
            held.push_back(std::move(next));
            CHECK(held.back().text() == std::to_string(i));
        }
    });
}

TEST_CASE("without any buffer left datagrams still come, in memory of their own", "[io][udp]") {
    rondo::run(with_pool(2, 2), []() -> task<> {
        fixture on;
        std::vector<datagram> held;
        on.send(0, 40);
        for (int i = 0; i < 40; ++i) {
            datagram next = co_await on.socket.recv_from();
            held.push_back(std::move(next));
            CHECK(held.back().text() == std::to_string(i));
            CHECK(held.back().from() == on.peer.local_endpoint());
        }
        held.clear();
        on.send(40, 20);
        co_await expect(on.socket, 40, 20);
        const bool back = co_await all_buffers_are_back();
        CHECK(back);
    });
}

// --- errors of requests ----------------------------------------------------------------------

TEST_CASE("a request that is interrupted or refused for now is made again", "[io][udp]") {
    const int error = GENERATE(EINTR, EAGAIN);
    testing::fault_plan plan;
    for (const unsigned nth : {1u, 2u, 4u}) refuse(plan, IORING_OP_RECVMSG, nth, error);
    rondo::run(with_plan(plan), []() -> task<> {
        fixture on;
        std::string buffer(10, '\0');
        on.send(0, 1);
        const auto direct = co_await on.socket.recv_from(writable(buffer));
        CHECK(buffer.substr(0, direct.size) == "0");
        on.send(1, 3);
        co_await expect(on.socket, 1, 3);
    });
}

TEST_CASE("a failed request is told once, and the next receive works", "[io][udp]") {
    testing::fault_plan plan;
    for (const unsigned nth : {1u, 2u}) refuse(plan, IORING_OP_RECVMSG, nth, ENOMEM);
    rondo::run(with_plan(plan), []() -> task<> {
        fixture on;
        on.send(0, 1);
        for (int i = 0; i < 2; ++i) {
            const auto failed = co_await as_result(on.socket.recv_from());
            CHECK(failed.error() == std::errc::not_enough_memory);
        }
        co_await expect(on.socket, 0, 1);
    });
}

TEST_CASE("a send through the engine that is interrupted is made again", "[io][udp]") {
    const int error = GENERATE(EINTR, EAGAIN);
    testing::fault_plan plan;
    for (unsigned nth = 1; nth < 6; ++nth) refuse(plan, IORING_OP_SEND, nth, error);
    rondo::run(with_plan(plan), []() -> task<> {
        fixture on;
        const auto echo = [&]() -> task<> {
            const datagram got = co_await on.socket.recv_from();
            co_await on.socket.send_to(got, got.from());
        };
        co_await with_task_group([&](task_group& group) -> task<> {
            for (int i = 0; i < 8; ++i) group.spawn(echo);
            co_await some_turns(2);
            on.send(0, 8);
        });
        std::vector<std::string> got;
        const bool all = co_await eventually([&] {
            for (std::string& each : on.peer.receive_all()) got.push_back(std::move(each));
            return got.size() == 8;
        });
        CHECK(all);
    });
}

// --- the end ---------------------------------------------------------------------------------

TEST_CASE("a socket destroyed while armed is closed soon, and its buffers come back",
          "[io][udp]") {
    test::run([]() -> task<> {
        for (int i = 0; i < 6; ++i) {
            fixture on;
            co_await arm(on);
            on.send(1, i);
            if (i % 2 == 0) co_await next_turn();
            const int descriptor = on.socket.descriptor();
            on.socket = udp_socket();
            const bool closed = co_await eventually([&] { return !is_open(descriptor); });
            CHECK(closed);
        }
        const bool back = co_await all_buffers_are_back();
        CHECK(back);
    });
}

TEST_CASE("run() returns after the last armed datagram socket is closed", "[io][udp]") {
    int descriptor = -1;
    test::run([&]() -> task<> {
        fixture on;
        co_await arm(on);
        descriptor = on.socket.descriptor();
    });
    CHECK_FALSE(is_open(descriptor));
}

TEST_CASE("a datagram socket moves while armed and while a task waits on it", "[io][udp]") {
    test::run([]() -> task<> {
        fixture on;
        reader_outcome outcome;
        udp_socket moved;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn(read_once, std::ref(on.socket), std::ref(outcome));
            co_await some_turns(2);
            moved = std::move(on.socket);
            on.send(5, 1);
        });
        CHECK(outcome.text == "5");
        on.send(6, 1);
        co_await expect(moved, 6, 1);
    });
}

TEST_CASE("close() ends what is awaited on a datagram socket, and then closes it",
          "[io][udp][cancellation]") {
    test::run([]() -> task<> {
        fixture on;
        const int descriptor = on.socket.descriptor();
        std::vector<reader_outcome> outcomes(3);
        reader_outcome direct;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn(read_once_into_buffer, std::ref(on.socket), std::ref(direct));
            co_await yield();
            for (reader_outcome& each : outcomes) {
                group.spawn(read_once, std::ref(on.socket), std::ref(each));
            }
            co_await some_turns(2);
            co_await on.socket.close();
            CHECK_FALSE(is_open(descriptor));
        });
        CHECK(direct.error == std::errc::operation_canceled);
        for (const reader_outcome& each : outcomes) {
            CHECK(each.error == std::errc::operation_canceled);
        }
    });
}

TEST_CASE("release() hands over the descriptor and what was not received", "[io][udp]") {
    test::run([]() -> task<> {
        fixture on;
        co_await arm(on);
        on.send(1, 3);
        co_await let_come(on, 3);
        const std::size_t come = on.socket.state().undelivered();
        auto released = co_await on.socket.release();
        CHECK_FALSE(on.socket.is_open());
        if (!faulty()) CHECK(released.received.size() == come);
        int next = 1;
        for (const datagram& each : released.received) {
            CHECK(each.text() == std::to_string(next++));
            CHECK(each.from() == on.peer.local_endpoint());
        }
        udp_socket again(std::move(released.descriptor));
        on.send(4, 1);
        co_await expect(again, next, 5 - next);
    });
}

TEST_CASE("a datagram socket outlives its scheduler with what has arrived", "[io][udp]") {
    fixture on;
    test::run([&]() -> task<> {
        co_await arm(on);
        on.send(1, 3);
        co_await let_come(on, 3);
    });
    CHECK(on.now() == phase::idle);
    on.send(4, 1);
    test::run([&]() -> task<> {
        std::string buffer(10, '\0');
        const auto first = co_await on.socket.recv_from(writable(buffer));
        CHECK(buffer.substr(0, first.size) == "1");
        co_await expect(on.socket, 2, 3);
    });
}

TEST_CASE("after finish_receiving() what has arrived is delivered, then receives fail",
          "[io][udp]") {
    const bool armed_before = GENERATE(true, false);
    test::run([](bool armed) -> task<> {
        fixture on;
        if (armed) co_await arm(on);
        on.send(1, 50);
        on.socket.finish_receiving();
        co_await expect(on.socket, 1, 50);
        std::string buffer(10, '\0');
        for (int i = 0; i < 3; ++i) {
            const auto leased = co_await as_result(on.socket.recv_from());
            CHECK(leased.error() == std::errc::operation_canceled);
            const auto copied = co_await as_result(on.socket.recv_from(writable(buffer)));
            CHECK(copied.error() == std::errc::operation_canceled);
        }
        co_await on.socket.send_to("still sends", on.peer.local_endpoint());
        const auto got = on.peer.receive();
        REQUIRE(got);
        CHECK(got->text == "still sends");
    }, armed_before);
}

TEST_CASE("finish_receiving() ends those who wait", "[io][udp]") {
    test::run([]() -> task<> {
        fixture on;
        std::vector<reader_outcome> outcomes(3);
        co_await with_task_group([&](task_group& group) -> task<> {
            for (reader_outcome& each : outcomes) {
                group.spawn(read_once, std::ref(on.socket), std::ref(each));
            }
            co_await some_turns(2);
            on.socket.finish_receiving();
        });
        for (const reader_outcome& each : outcomes) {
            CHECK(each.error == std::errc::operation_canceled);
        }
    });
}

TEST_CASE("destroying a datagram socket that is awaited is misuse", "[io][udp]") {
    const child_result outcome = in_child([] {
        test::run([]() -> task<> {
            fixture on;
            reader_outcome unused;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn(read_once, std::ref(on.socket), std::ref(unused));
                co_await some_turns(2);
                on.socket = udp_socket();
            });
        });
        return 0;
    });
    CHECK(outcome.code == -SIGABRT);
    CHECK(outcome.error_text.find("a socket is destroyed while a task awaits it") !=
          std::string::npos);
}
