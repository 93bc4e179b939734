#include <rondo/stream/pipe.hpp>

#include <rondo/stream/stream.hpp>
#include <rondo/stream/stream_error.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/when_any.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/stream_pairs.hpp>
#include <support/thrown_by.hpp>

#include <catch2/catch_test_macros.hpp>

#include <csignal>
#include <string>

using namespace rondo;
using namespace rondo::test;

namespace {

const std::error_code broken = std::make_error_code(std::errc::broken_pipe);
const std::error_code canceled = std::make_error_code(std::errc::operation_canceled);

// What `operation`, a send that is cut short, says to have moved.
template <awaitable A>
task<std::size_t> moved_by(A&& operation) {
    try {
        auto&& inner = detail::as_task(std::forward<A>(operation));
        co_await std::move(inner);
    } catch (const operation_canceled& error) {
        co_return error.transferred();
    } catch (const stream_error& error) {
        co_return error.transferred();
    }
    co_return std::string::npos;
}

}  // namespace

TEST_CASE("what one end of a pipe sends the other receives, both ways", "[stream][pipe]") {
    test::run([]() -> task<> {
        STATIC_REQUIRE(gather_stream<pipe_end>);
        STATIC_REQUIRE(half_close_stream<pipe_end>);
        STATIC_REQUIRE_FALSE(lease_stream<pipe_end>);
        rondo::pipe link;
        co_await link.a.send("question");
        co_await link.b.send("ans", std::string("w"), "er");
        const std::string question = co_await receive_text(link.b, 8);
        const std::string answer = co_await receive_text(link.a, 6);
        CHECK(question == "question");
        CHECK(answer == "answer");
    });
}

TEST_CASE("every size of send and receive comes through every capacity", "[stream][pipe]") {
    test::run([]() -> task<> {
        for (std::size_t capacity = 1; capacity <= 7; ++capacity) {
            for (std::size_t step = 1; step <= 9; ++step) {
                rondo::pipe link(capacity);
                const std::string sent = pattern(40);
                const auto send_all = [&]() -> task<> {
                    for (std::size_t at = 0; at < sent.size(); at += step) {
                        co_await link.a.send(std::string_view(sent).substr(at, step));
                    }
                    link.a.shutdown(shutdown_mode::send);
                };
                const auto receive_all = [&]() -> task<std::string> {
                    std::string all;
                    std::string buffer(9, '\0');
                    for (std::size_t room = 1;; room = room % 9 + 1) {
                        const auto n = co_await link.b.recv(writable(buffer).first(room));
                        if (n == 0) co_return all;
                        all.append(buffer, 0, n);
                    }
                };
                const auto [done, got] = co_await when_all(send_all(), receive_all());
                CHECK(got == sent);
            }
        }
    });
}

TEST_CASE("a send into a full pipe waits for room", "[stream][pipe]") {
    test::run([]() -> task<> {
        rondo::pipe link(4);
        bool sent = false;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                co_await link.a.send("0123456789");
                sent = true;
            });
            co_await some_turns(3);
            CHECK_FALSE(sent);
            const std::string first = co_await receive_text(link.b, 4);
            CHECK(first == "0123");
            co_await some_turns(3);
            CHECK_FALSE(sent);
            const std::string second = co_await receive_text(link.b, 2);
            CHECK(second == "45");
            const bool completed = co_await eventually([&] { return sent; });
            CHECK(completed);
            const std::string rest = co_await receive_text(link.b, 4);
            CHECK(rest == "6789");
        });
    });
}

TEST_CASE("a receive from an empty pipe waits for bytes or the end", "[stream][pipe]") {
    test::run([]() -> task<> {
        rondo::pipe link;
        const auto send_later = [&]() -> task<> {
            co_await some_turns(3);
            co_await link.a.send("late");
            co_await some_turns(3);
            link.a = pipe_end();
        };
        const auto [done, got] = co_await when_all(send_later(), receive_text(link.b));
        CHECK(got == "late");
        CHECK_FALSE(link.a.is_open());
    });
}

TEST_CASE("an end shut down for sending still receives", "[stream][pipe]") {
    test::run([]() -> task<> {
        rondo::pipe link;
        co_await link.a.send("last words");
        link.a.shutdown(shutdown_mode::send);
        const std::error_code failure = co_await thrown_by(link.a.send("more"));
        CHECK(failure == broken);
        const std::string got = co_await receive_text(link.b);
        CHECK(got == "last words");
        const std::string again = co_await receive_text(link.b);
        CHECK(again.empty());
        co_await link.b.send("answer");
        const std::string answer = co_await receive_text(link.a, 6);
        CHECK(answer == "answer");
    });
}

TEST_CASE("an end shut down for receiving delivers what had come, then the end",
          "[stream][pipe]") {
    test::run([]() -> task<> {
        rondo::pipe link(4);
        co_await with_task_group([&](task_group& group) -> task<> {
            std::size_t moved = 0;
            group.spawn([&]() -> task<> { moved = co_await moved_by(link.a.send("012345")); });
            co_await some_turns(3);
            link.b.shutdown(shutdown_mode::receive);
            const std::string got = co_await receive_text(link.b);
            CHECK(got == "0123");
            const bool failed = co_await eventually([&] { return moved == 4; });
            CHECK(failed);
            co_await link.b.send("and");
            const std::string still = co_await receive_text(link.a, 3);
            CHECK(still == "and");
        });
    });
}

TEST_CASE("a send to a closed end fails and tells what went through", "[stream][pipe]") {
    test::run([]() -> task<> {
        rondo::pipe link(4);
        co_await with_task_group([&](task_group& group) -> task<> {
            std::string text;
            group.spawn([&]() -> task<> {
                try {
                    co_await link.a.send("0123456789");
                } catch (const stream_error& error) {
                    CHECK(error.code() == broken);
                    CHECK(error.transferred() == 4);
                    text = error.what();
                }
            });
            co_await some_turns(3);
            link.b = pipe_end();
            co_await eventually([&] { return !text.empty(); });
            CHECK(text == "send into a pipe: Broken pipe after 4 bytes (nobody will receive it)");
        });
        auto failed = co_await as_result(link.a.send("more"));
        CHECK(failed.error() == broken);
        const std::string end = co_await receive_text(link.a);
        CHECK(end.empty());
    });
}

TEST_CASE("an end moves, also while the other waits for it", "[stream][pipe]") {
    test::run([]() -> task<> {
        rondo::pipe link;
        const auto move_and_send = [&]() -> task<> {
            co_await some_turns(3);
            pipe_end moved = std::move(link.a);
            CHECK_FALSE(link.a.is_open());
            co_await moved.send("from the new place");
        };
        const auto [done, got] = co_await when_all(move_and_send(), receive_text(link.b));
        CHECK(got == "from the new place");
    });
}

TEST_CASE("an end outlives the run it was first used in", "[stream][pipe]") {
    rondo::pipe link;
    test::run([&]() -> task<> { co_await link.a.send("before"); });
    const std::string got =
        test::run([&]() -> task<std::string> { co_return co_await receive_text(link.b, 6); });
    CHECK(got == "before");
}

// --- cancellation --------------------------------------------------------------------------------

TEST_CASE("a cancelled receive from a pipe loses nothing", "[stream][pipe][cancellation]") {
    test::run([]() -> task<> {
        rondo::pipe link;
        std::string got;
        std::string buffer(3, '\0');
        const std::string sent = pattern(600);
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                for (std::size_t at = 0; at < sent.size(); at += 2) {
                    for (std::size_t i = 0; i < at % 5; ++i) co_await yield();
                    co_await link.a.send(std::string_view(sent).substr(at, 2));
                }
            });
            for (std::size_t i = 0; got.size() < sent.size(); ++i) {
                const auto wait = [&]() -> task<> {
                    for (std::size_t j = 0; j < i % 4; ++j) co_await yield();
                };
                const auto [n, over] = co_await when_any(link.b.recv(writable(buffer)), wait());
                if (n) got.append(buffer, 0, *n);
            }
        });
        CHECK(got == sent);
    });
}

TEST_CASE("a cancelled send into a pipe tells what is in it", "[stream][pipe][cancellation]") {
    test::run([]() -> task<> {
        for (std::size_t capacity = 1; capacity < 9; ++capacity) {
            rondo::pipe link(capacity);
            cancel_scope scope;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    const std::size_t moved =
                        co_await moved_by(scope.run(link.a.send("0123", "456789")));
                    CHECK(moved == capacity);
                });
                co_await some_turns(2);
                scope.cancel();
            });
            link.a.shutdown(shutdown_mode::send);
            const std::string got = co_await receive_text(link.b);
            CHECK(got == std::string("0123456789").substr(0, capacity));
        }
    });
}

TEST_CASE("in a cancelled scope a pipe neither takes nor delivers",
          "[stream][pipe][cancellation]") {
    test::run([]() -> task<> {
        rondo::pipe link;
        co_await link.a.send("there");
        cancel_scope scope;
        scope.cancel();
        std::string buffer(9, '\0');
        for (int i = 0; i < 3; ++i) {
            std::error_code failure = co_await thrown_by(scope.run(link.b.recv(writable(buffer))));
            CHECK(failure == canceled);
            failure = co_await thrown_by(scope.run(link.a.send("not")));
            CHECK(failure == canceled);
        }
        link.a.shutdown(shutdown_mode::send);
        const std::string got = co_await receive_text(link.b);
        CHECK(got == "there");
    });
}

TEST_CASE("as_result gives a pipe's cancellations as values", "[stream][pipe][cancellation]") {
    test::run([]() -> task<> {
        rondo::pipe link(1);
        cancel_scope scope;
        scope.cancel();
        std::string buffer(1, '\0');
        const auto both = [&]() -> task<> {
            auto received = co_await as_result(link.a.recv(writable(buffer)));
            CHECK(received.error() == canceled);
            auto sent = co_await as_result(link.a.send("12"));
            CHECK(sent.error() == canceled);
        };
        co_await scope.run(both());
    });
}

// --- fairness and misuse -------------------------------------------------------------------------

TEST_CASE("a pipe that is never empty starves nobody", "[stream][pipe]") {
    test::run([]() -> task<> {
        rondo::pipe link;
        co_await link.a.send(pattern(10000));
        int turns = 0;
        int received = 0;
        bool over = false;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                while (!over) {
                    ++turns;
                    co_await yield();
                }
            });
            std::string buffer(1, '\0');
            for (; received < 1000; ++received) co_await link.b.recv(writable(buffer));
            over = true;
        });
        CHECK(turns >= received / 40);
    });
}

TEST_CASE("misuse of a pipe ends the program with a sentence", "[stream][pipe]") {
    const auto twice = [](bool sending) {
        return in_child([&] {
            test::run([&]() -> task<> {
                rondo::pipe link(1);
                std::string buffer(1, '\0');
                if (sending) {
                    co_await when_all(link.a.send("abc"), link.a.send("def"));
                } else {
                    co_await when_all(link.a.recv(writable(buffer)),
                                      link.a.recv(writable(buffer)));
                }
            });
            return 0;
        });
    };
    const child_result receives = twice(false);
    CHECK(receives.code == -SIGABRT);
    CHECK(receives.error_text.find("two receives at once on one end of a pipe") !=
          std::string::npos);
    const child_result sends = twice(true);
    CHECK(sends.code == -SIGABRT);
    CHECK(sends.error_text.find("two sends at once on one end of a pipe") != std::string::npos);
    const child_result destroyed = in_child([] {
        test::run([]() -> task<> {
            rondo::pipe link;
            std::string buffer(1, '\0');
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> { co_await link.a.recv(writable(buffer)); });
                co_await some_turns(2);
                link.a = pipe_end();
            });
        });
        return 0;
    });
    CHECK(destroyed.code == -SIGABRT);
    CHECK(destroyed.error_text.find("an end of a pipe destroyed while it is awaited") !=
          std::string::npos);
}
