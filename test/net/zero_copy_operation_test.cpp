#include <rondo/net/zero_copy_operation.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/net/socket_option.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/with_timeout.hpp>
#include <rondo/testing/faulty_engine.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <linux/io_uring.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

using namespace rondo;
using namespace rondo::test;

namespace {

/// Sends a megabyte over sockets that take little at a time; returns what arrived.
task<std::string> send_much(stream_socket& from, stream_socket& to, const std::string& text) {
    std::string got;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> {
            co_await from.send_zero_copy(text);
            from.shutdown(shutdown_mode::send);
        });
        while (const chunk next = co_await to.recv()) got += next.text();
    });
    co_return got;
}

}  // namespace

TEST_CASE("send_zero_copy sends all, large or empty", "[net][zero_copy]") {
    test::run([]() -> task<> {
        tcp_pair pair = co_await narrow_pair();
        co_await pair.a.send_zero_copy("");
        co_await pair.a.send_zero_copy("small");
        const std::string first = co_await read_exactly(pair.b, 5);
        CHECK(first == "small");
        const std::string text = pattern(1'000'000);
        const std::string got = co_await send_much(pair.a, pair.b, text);
        CHECK(got == text);
    });
}

TEST_CASE("send_zero_copy on a Unix socket, which has none, copies", "[net][zero_copy]") {
    test::run([]() -> task<> {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
        stream_socket a{detail::unique_fd(ends[0])};
        stream_socket b{detail::unique_fd(ends[1])};
        const std::string text = pattern(1'000'000);
        const std::string got = co_await send_much(a, b, text);
        CHECK(got == text);
    });
}

TEST_CASE("send_zero_copy copies where the kernel refuses it", "[net][zero_copy]") {
    for (const int error : {EINVAL, ENOMEM, ENOBUFS, EOPNOTSUPP}) {
        run_options options = test::options();
        const auto inner = options.make_engine;
        options.make_engine = [&](const engine_options& queues) {
            testing::fault_plan plan;
            plan.rules.push_back(
                {IORING_OP_SEND_ZC, 1, testing::fault::error, error});
            auto made = inner ? inner(queues) : make_engine(options.engine, queues);
            return std::make_unique<testing::faulty_engine>(std::move(made), plan);
        };
        rondo::run(options, []() -> task<> {
            tcp_pair pair = co_await connected_pair();
            co_await pair.a.send_zero_copy("refused, then copied");
            const std::string got = co_await read_exactly(pair.b, 20);
            CHECK(got == "refused, then copied");
        });
    }
}

TEST_CASE("send_zero_copy fails as send does", "[net][zero_copy]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        pair.socket.shutdown(shutdown_mode::send);
        auto failed = co_await as_result(pair.socket.send_zero_copy("too late"));
        CHECK(failed.error() == std::errc::broken_pipe);
        std::string text;
        try {
            co_await pair.socket.send_zero_copy("too late");
        } catch (const connection_lost& error) {
            text = error.what();
        }
        CHECK(text.starts_with("send 127.0.0.1:"));
    });
}

TEST_CASE("send_zero_copy cancelled in any turn tells what went through", "[net][zero_copy]") {
    test::run([]() -> task<> {
        const std::string text = pattern(400'000);
        for (int turns = 0; turns < 12; ++turns) {
            tcp_pair pair = co_await narrow_pair();
            cancel_scope scope;
            std::optional<std::size_t> transferred;
            std::string got;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    try {
                        co_await scope.run(pair.a.send_zero_copy(text));
                        transferred = text.size();
                    } catch (const operation_canceled& cut) {
                        transferred = cut.transferred();
                    }
                    pair.a.shutdown(shutdown_mode::send);
                });
                co_await some_turns(turns);
                scope.cancel();
                // The kernel lets go of the memory when the peer has acknowledged.
                while (const chunk next = co_await pair.b.recv()) got += next.text();
            });
            REQUIRE(transferred);
            CHECK(got.size() == *transferred);
            CHECK(text.starts_with(got));
            if (turns == 0) CHECK(*transferred < text.size());
        }
    });
}

TEST_CASE("send_zero_copy is interrupted by close", "[net][zero_copy]") {
    test::run([]() -> task<> {
        tcp_pair pair = co_await narrow_pair();
        const std::string text = pattern(1'000'000);
        std::error_code outcome;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                auto sent = co_await as_result(pair.a.send_zero_copy(text));
                outcome = sent.error();
            });
            co_await some_turns();
            group.spawn([&]() -> task<> { co_await pair.a.close(); });
            while (const chunk next = co_await pair.b.recv()) {
                CHECK(next.size() > 0);
            }
        });
        CHECK(outcome == std::errc::operation_canceled);
    });
}

namespace {

/// Of bytes for a peer that reads none, while `end` is awaited; the error it ends with.
template <typename End>
task<std::error_code> end_stuck_send(stream_socket& from, End end) {
    const std::string text = pattern(8'000'000);
    std::error_code outcome;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> {
            auto sent = co_await as_result(from.send_zero_copy(text));
            outcome = sent.error();
        });
        co_await some_turns();
        co_await end();
    });
    co_return outcome;
}

task<bool> comes_to_reset(raw_peer& peer) {
    // Behind what came before; whoever reads the error uses it up.
    std::string unread(65536, '\0');
    co_return co_await eventually([&] {
        ::ssize_t n = 0;
        do n = ::recv(peer.descriptor(), unread.data(), unread.size(), MSG_DONTWAIT);
        while (n > 0);
        return n < 0 && errno == ECONNRESET;
    });
}

/// The timer of a cancelled send passes at once.
template <typename Body>
void run_in_virtual_time(Body body) {
    run_options options = test::options();
    options.virtual_time = true;
    rondo::run(options, body);
}

}  // namespace

TEST_CASE("send_zero_copy cancelled while the peer reads nothing resets the connection",
          "[net][zero_copy]") {
    run_in_virtual_time([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        const std::string text = pattern(8'000'000);
        std::size_t transferred = 0;
        try {
            co_await with_timeout(std::chrono::milliseconds(10), pair.socket.send_zero_copy(text));
            FAIL("it was sent to nobody");
        } catch (const operation_timed_out& late) {
            transferred = late.transferred();
        }
        CHECK(transferred < text.size());
        scheduler& here = co_await this_scheduler();
        if (!here.carrier().has(feature::send_zero_copy) || transferred == 0) co_return;
        auto after = co_await as_result(pair.socket.send("more"));
        CHECK_FALSE(after);
        const bool reset = co_await comes_to_reset(pair.peer);
        CHECK(reset);
    });
}

TEST_CASE("close ends a send_zero_copy to a peer that reads nothing", "[net][zero_copy]") {
    run_in_virtual_time([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        const std::error_code outcome =
            co_await end_stuck_send(pair.socket, [&] { return pair.socket.close(); });
        CHECK(outcome == std::errc::operation_canceled);
    });
}

TEST_CASE("abort ends a send_zero_copy to a peer that reads nothing, at once",
          "[net][zero_copy]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        scheduler& here = co_await this_scheduler();
        clock::time_point began;
        const std::error_code outcome = co_await end_stuck_send(pair.socket, [&] {
            began = here.now();
            return pair.socket.abort();
        });
        CHECK(outcome == std::errc::operation_canceled);
        CHECK(here.now() - began < std::chrono::milliseconds(900));
        const bool reset = co_await comes_to_reset(pair.peer);
        CHECK(reset);
    });
}

TEST_CASE("abort ends a send_zero_copy that was cancelled already, at once", "[net][zero_copy]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        pair.socket.set(linger_time(std::chrono::seconds(3600)));
        cancel_scope scope;
        std::error_code outcome;
        const std::string text = pattern(8'000'000);
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                auto sent = co_await as_result(scope.run(pair.socket.send_zero_copy(text)));
                outcome = sent.error();
            });
            co_await some_turns();
            scope.cancel();
            co_await some_turns();
            co_await pair.socket.abort();
        });
        CHECK(outcome == std::errc::operation_canceled);
    });
}

TEST_CASE("send_zero_copy that had to be dropped is no success", "[net][zero_copy]") {
    run_in_virtual_time([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        // Fills the peer's window, so that what follows is taken but never acknowledged.
        pair.socket.set(send_buffer{4'000'000});
        scheduler& here = co_await this_scheduler();
        if (!here.carrier().has(feature::send_zero_copy)) SKIP("the engine has none such");
        std::string filling(65536, 'x');
        while (::send(pair.socket.descriptor(), filling.data(), filling.size(), MSG_DONTWAIT) ==
               static_cast<::ssize_t>(filling.size())) {}
        pair.socket.set(send_buffer{8'000'000});
        try {
            co_await with_timeout(std::chrono::milliseconds(10),
                                  pair.socket.send_zero_copy("never acknowledged"));
            FAIL("it was not acknowledged");
        } catch (const operation_timed_out& late) {
            INFO(late.transferred());
            CHECK(late.transferred() <= 18);
        }
    });
}
