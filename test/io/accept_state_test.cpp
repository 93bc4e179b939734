#include <rondo/io/accept_state.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/testing/faulty_engine.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <linux/io_uring.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using phase = accept_state::phase;

namespace {

struct accept_outcome {
    bool ended = false;
    std::error_code error;
    tcp_socket socket;
};
task<> accept_once(tcp_listener& listener, accept_outcome& outcome) {
    auto accepted = co_await as_result(listener.accept());
    if (accepted) {
        outcome.socket = std::move(*accepted);
    } else {
        outcome.error = accepted.error();
    }
    outcome.ended = true;
}

// After it the listener's request stays armed.
task<> arm(tcp_listener& listener) {
    raw_peer first = raw_peer::connect_to(listener.local_endpoint());
    const tcp_socket accepted = co_await accept_one(listener);
    CHECK(accepted.remote_endpoint() == first.local_endpoint());
}

// Starts an accept, lets it wait, and cancels it.
task<std::error_code> cancelled_accept(tcp_listener& listener) {
    accept_outcome outcome;
    cancel_scope scope;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> { co_await scope.run(accept_once(listener, outcome)); });
        co_await some_turns();
        scope.cancel();
    });
    CHECK_FALSE(outcome.socket.is_open());
    co_return outcome.error;
}

// Of this process, with those that io_uring has made for it.
auto threads() {
    return std::ranges::distance(std::filesystem::directory_iterator("/proc/self/task"));
}

bool can_bind(const endpoint& local) {
    try {
        tcp_listener::listen(local, reuse_address{});
        return true;
    } catch (const socket_error&) {
        return false;
    }
}

}  // namespace

TEST_CASE("one armed request accepts many connections", "[io][accept_state]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        scheduler& here = co_await this_scheduler();
        if (!here.carrier().has(feature::multishot_accept)) SKIP("the engine has no multishot");
        co_await arm(listener);
        const auto entries = here.stats().entries;
        for (int i = 0; i < 10; ++i) co_await arm(listener);
        CHECK(here.stats().entries == entries);
        CHECK(listener.state().current_phase() == phase::armed);
    });
}

TEST_CASE("accept() takes connections in the order in which they came", "[io][accept_state][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        std::vector<raw_peer> peers;
        for (int i = 0; i < 20; ++i) {
            peers.push_back(raw_peer::connect_to(listener.local_endpoint()));
        }
        for (const raw_peer& peer : peers) {
            const tcp_socket accepted = co_await accept_one(listener);
            CHECK(accepted.remote_endpoint() == peer.local_endpoint());
            CHECK(accepted.local_endpoint() == listener.local_endpoint());
        }
    });
}

TEST_CASE("who connects while nobody accepts is accepted ahead up to a few, the rest waits",
          "[io][accept_state][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        co_await arm(listener);
        std::vector<raw_peer> peers;
        for (int i = 0; i < 40; ++i) {
            peers.push_back(raw_peer::connect_to(listener.local_endpoint()));
            co_await some_turns(faulty() ? 20 : 2);
        }
        CHECK(listener.state().undelivered() <= 16);
        if (!faulty()) CHECK(listener.state().stopped());
        std::set<endpoint> remotes;
        for (int i = 0; i < 40; ++i) {
            const tcp_socket accepted = co_await accept_one(listener);
            remotes.insert(accepted.remote_endpoint());
        }
        for (const raw_peer& peer : peers) CHECK(remotes.contains(peer.local_endpoint()));
    });
}

TEST_CASE("a cancelled accept leaves the connection that comes later to the next one",
          "[io][accept_state][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        for (int i = 0; i < 5; ++i) {
            const std::error_code error = co_await cancelled_accept(listener);
            if (error != std::errc::operation_canceled) {
                CHECK(faulty());
                continue;
            }
            raw_peer peer = raw_peer::connect_to(listener.local_endpoint());
            co_await some_turns(i);
            const tcp_socket accepted = co_await accept_one(listener);
            CHECK(accepted.remote_endpoint() == peer.local_endpoint());
        }
    });
}

TEST_CASE("an accept in a cancelled scope takes nothing", "[io][accept_state][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        co_await arm(listener);
        raw_peer peer = raw_peer::connect_to(listener.local_endpoint());
        co_await some_turns();
        cancel_scope scope;
        scope.cancel();
        accept_outcome outcome;
        co_await scope.run(accept_once(listener, outcome));
        CHECK(outcome.error == std::errc::operation_canceled);
        const tcp_socket accepted = co_await accept_one(listener);
        CHECK(accepted.remote_endpoint() == peer.local_endpoint());
    });
}

TEST_CASE("near its limit a listener accepts one connection at a time", "[io][accept_state]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        listener.state().set_room(3);
        std::vector<raw_peer> peers;
        for (int i = 0; i < 3; ++i) {
            peers.push_back(raw_peer::connect_to(listener.local_endpoint()));
        }
        for (const raw_peer& peer : peers) {
            const tcp_socket accepted = co_await accept_one(listener);
            CHECK(accepted.remote_endpoint() == peer.local_endpoint());
            co_await some_turns();
            CHECK(listener.state().stopped());
            CHECK(listener.state().undelivered() == 0);
        }
    });
}

TEST_CASE("a listener that comes near its limit stops its armed request, also while awaited",
          "[io][accept_state]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        scheduler& here = co_await this_scheduler();
        if (!here.carrier().has(feature::multishot_accept)) SKIP("the engine has no multishot");
        co_await arm(listener);
        CHECK(listener.state().current_phase() == phase::armed);
        listener.state().set_room(2);
        CHECK(listener.state().current_phase() == phase::stopping);
        accept_outcome outcome;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await accept_once(listener, outcome); });
            co_await some_turns();
            raw_peer peer = raw_peer::connect_to(listener.local_endpoint());
            raw_peer other = raw_peer::connect_to(listener.local_endpoint());
            co_await some_turns();
            CHECK(outcome.ended);
            CHECK(listener.state().undelivered() == 0);
            // With room again it takes many.
            listener.state().set_room(1000);
            const tcp_socket next = co_await accept_one(listener);
            CHECK(next.remote_endpoint() == other.local_endpoint());
        });
        CHECK(outcome.socket.is_open());
        CHECK_FALSE(outcome.error);
    });
}

TEST_CASE("a listener destroyed while armed frees its port and refuses newcomers",
          "[io][accept_state][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        co_await arm(listener);
        const endpoint local = listener.local_endpoint();
        const int descriptor = listener.descriptor();
        listener = tcp_listener();
        CHECK_THROWS(raw_peer::connect_to(local));
        const bool closed = co_await eventually([&] { return !is_open(descriptor); });
        CHECK(closed);
    });
}

TEST_CASE("after close() a listener's port is free at once", "[io][accept_state][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        const std::error_code error = co_await cancelled_accept(listener);
        CHECK((faulty() || error == std::errc::operation_canceled));
        const endpoint local = listener.local_endpoint();
        CHECK_FALSE(can_bind(local));
        co_await listener.close();
        CHECK_FALSE(listener.is_open());
        CHECK(can_bind(local));
    });
}

TEST_CASE("close() ends an accept that another task awaits", "[io][accept_state][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        accept_outcome outcome;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                while (outcome.error != std::errc::operation_canceled) {
                    co_await accept_once(listener, outcome);
                }
            });
            co_await some_turns();
            co_await listener.close();
            CHECK(outcome.ended);
        });
        CHECK(outcome.error == std::errc::operation_canceled);
    });
}

TEST_CASE("connections accepted ahead are closed with their listener",
          "[io][accept_state][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        co_await arm(listener);
        std::vector<raw_peer> peers;
        for (int i = 0; i < 5; ++i) {
            peers.push_back(raw_peer::connect_to(listener.local_endpoint()));
        }
        co_await some_turns();
        listener = tcp_listener();
        for (raw_peer& peer : peers) {
            const bool ended =
                co_await eventually([&] { return peer.at_end() || peer.was_reset(); });
            CHECK(ended);
        }
    });
}

TEST_CASE("run() returns only when a listener destroyed while armed is closed",
          "[io][accept_state][tcp]") {
    endpoint local;
    test::run([&]() -> task<> {
        // Both must reuse the address: the accepted connection lingers in TIME_WAIT.
        tcp_listener listener =
            tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0), reuse_address{});
        co_await arm(listener);
        local = listener.local_endpoint();
    });
    CHECK(can_bind(local));
}

TEST_CASE("a listener is used on one scheduler after the other and loses nobody",
          "[io][accept_state][tcp]") {
    tcp_listener listener = listen_on_loopback();
    std::vector<raw_peer> peers;
    for (int turn = 0; turn < 3; ++turn) {
        test::run([&]() -> task<> {
            if (turn == 0) co_await arm(listener);
            for (const raw_peer& peer : peers) {
                const tcp_socket accepted = co_await accept_one(listener);
                CHECK(accepted.remote_endpoint() == peer.local_endpoint());
            }
            peers.clear();
            // Some are accepted ahead, the last one comes between two schedulers.
            for (int i = 0; i < 3; ++i) {
                peers.push_back(raw_peer::connect_to(listener.local_endpoint()));
                co_await some_turns(2);
            }
        });
        CHECK(listener.state().stopped());
        peers.push_back(raw_peer::connect_to(listener.local_endpoint()));
    }
}

TEST_CASE("an accept that finds no descriptor throws, and the connection waits in the backlog",
          "[io][accept_state]") {
    for (const int error : {EMFILE, ENFILE, ENOBUFS}) {
        run_options options;
        options.make_engine = [error](const engine_options& queues) -> std::unique_ptr<engine> {
            testing::fault_plan plan;
            plan.rules.push_back({IORING_OP_ACCEPT, 1, testing::fault::accept_error, error});
            return std::make_unique<testing::faulty_engine>(
                make_engine(engine_kind::automatic, queues), plan, queues);
        };
        rondo::run(options, [error]() -> task<> {
            tcp_listener listener = listen_on_loopback();
            raw_peer peer = raw_peer::connect_to(listener.local_endpoint());
            std::string text;
            try {
                co_await listener.accept();
            } catch (const socket_error& failure) {
                CHECK(failure.code().value() == error);
                text = failure.what();
            }
            CHECK(text.starts_with("accept " + listener.local_endpoint().to_string() + ": "));
            const tcp_socket accepted = co_await listener.accept();
            CHECK(accepted.remote_endpoint() == peer.local_endpoint());
        });
    }
}

TEST_CASE("a connection that failed in the backlog is nobody's error", "[io][accept_state]") {
    for (const int error : {ECONNABORTED, ENETDOWN, EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET,
                            EHOSTUNREACH, ENETUNREACH}) {
        CAPTURE(error);
        run_options options;
        options.make_engine = [error](const engine_options& queues) -> std::unique_ptr<engine> {
            testing::fault_plan plan;
            plan.rules.push_back({IORING_OP_ACCEPT, 1, testing::fault::accept_error, error});
            return std::make_unique<testing::faulty_engine>(
                make_engine(engine_kind::automatic, queues), plan, queues);
        };
        rondo::run(options, []() -> task<> {
            tcp_listener listener = listen_on_loopback();
            raw_peer peer = raw_peer::connect_to(listener.local_endpoint());
            const tcp_socket accepted = co_await listener.accept();
            CHECK(accepted.remote_endpoint() == peer.local_endpoint());
        });
    }
}

TEST_CASE("a Unix listener that accepts one by one ends without a thread of the kernel",
          "[io][accept_state][unix]") {
    const child_result outcome = in_child([] {
        // With it the cancellation comes before the kernel's first try.
        ::setenv("RONDO_WITHOUT", "deferred_taskrun", 1);
        bool ends_quietly = false;
        test::run([&]() -> task<> {
            unix_listener listener = unix_listener::listen(unix_address("*"));
            scheduler& here = co_await this_scheduler();
            listener.state().use_on(here);
            listener.state().set_room(1);
            listener.state().arm();
            co_await some_turns();
            const bool armed = listener.state().current_phase() == phase::armed;
            const auto before = threads();
            listener = unix_listener();
            ends_quietly = armed && threads() == before;
        });
        return ends_quietly ? 0 : 1;
    });
    CHECK(outcome.code == 0);
}

TEST_CASE("two accepts at once on one listener are misuse", "[io][accept_state]") {
    const child_result outcome = in_child([] {
        test::run([]() -> task<> {
            tcp_listener listener = listen_on_loopback();
            co_await with_task_group([&](task_group& group) -> task<> {
                for (int i = 0; i < 2; ++i) {
                    group.spawn([&]() -> task<> { co_await listener.accept(); });
                }
                co_return;
            });
        });
        return 0;
    });
    CHECK(outcome.code == -SIGABRT);
    CHECK(outcome.error_text.find("misuse: two accepts at once") != std::string::npos);
}

TEST_CASE("a listener destroyed while a task awaits it is misuse", "[io][accept_state]") {
    const child_result outcome = in_child([] {
        test::run([]() -> task<> {
            tcp_listener listener = listen_on_loopback();
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> { co_await listener.accept(); });
                co_await some_turns();
                listener = tcp_listener();
            });
        });
        return 0;
    });
    CHECK(outcome.code == -SIGABRT);
    CHECK(outcome.error_text.find("misuse: a listener is destroyed while a task awaits it") !=
          std::string::npos);
}
