#include <rondo/testing/scripted_stream.hpp>

#include <rondo/stream/stream.hpp>
#include <rondo/stream/stream_error.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_any.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/receiving.hpp>
#include <support/stream_pairs.hpp>
#include <support/thrown_by.hpp>

#include <catch2/catch_test_macros.hpp>

#include <csignal>
#include <string>

using namespace rondo;
using namespace rondo::test;
using rondo::testing::script_error;
using rondo::testing::scripted_stream;

namespace {

const std::error_code reset = std::make_error_code(std::errc::connection_reset);
const std::error_code canceled = std::make_error_code(std::errc::operation_canceled);

// What the script says of `operation`; empty where it completes.
template <awaitable A>
task<std::string> complaint_of(A&& operation) {
    try {
        auto&& inner = detail::as_task(std::forward<A>(operation));
        co_await std::move(inner);
    } catch (const script_error& error) {
        co_return error.what();
    }
    co_return std::string();
}

std::string verdict(const scripted_stream& script) {
    try {
        script.verify();
    } catch (const script_error& error) {
        return error.what();
    }
    return {};
}

}  // namespace

TEST_CASE("a script answers what it expects, in order", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        STATIC_REQUIRE(stream<scripted_stream>);
        STATIC_REQUIRE(lease_stream<scripted_stream>);
        STATIC_REQUIRE(gather_stream<scripted_stream>);
        STATIC_REQUIRE(half_close_stream<scripted_stream>);
        scripted_stream server;
        server.answer("hello\n").expect("PING\n").answer("PONG\n").expect("BYE\n").end();
        const std::string greeting = co_await receive_text(server, 6);
        CHECK(greeting == "hello\n");
        co_await server.send("PING\n");
        {
            auto pong = co_await server.recv();
            CHECK(pong.text() == "PONG\n");
            CHECK(server.leases_held() == 1);
        }
        CHECK(server.leases_held() == 0);
        co_await server.send("BYE\n");
        const std::string rest = co_await receive_text(server);
        CHECK(rest.empty());
        auto end = co_await server.recv();
        CHECK_FALSE(end);
        server.verify();
    });
}

TEST_CASE("what is sent may be cut in any way", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        const std::string all = "onetwothree";
        for (std::size_t first = 0; first <= all.size(); ++first) {
            for (std::size_t second = first; second <= all.size(); ++second) {
                scripted_stream script;
                script.expect("one").expect("two").expect("three").end();
                const std::string_view text(all);
                const std::array<const_buffer, 2> list = {text.substr(first, second - first),
                                                          text.substr(second)};
                co_await script.send(text.substr(0, first));
                co_await script.send(std::span<const const_buffer>(list));
                auto end = co_await script.recv();
                CHECK_FALSE(end);
                script.verify();
            }
        }
    });
}

TEST_CASE("an answer comes in the pieces that the script says", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.answer_in_pieces("abcde", 2).end();
        std::string pieces;
        while (auto piece = co_await script.recv()) pieces += std::string(piece.text()) + "|";
        CHECK(pieces == "ab|cd|e|");
    });
}

TEST_CASE("an answer waits for what is expected before it", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.expect("question").answer("answer");
        co_await with_task_group([&](task_group& group) -> task<> {
            std::string got;
            group.spawn([&]() -> task<> { got = co_await receive_text(script, 6); });
            co_await some_turns(2);
            co_await script.send("quest");
            co_await some_turns(2);
            CHECK(got.empty());
            co_await script.send("ion");
            co_await eventually([&] { return !got.empty(); });
            CHECK(got == "answer");
        });
        script.verify();
    });
}

TEST_CASE("a difference is told with its place, and stays", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.expect("HELLO\r\n").expect("PING\r\n").answer("PONG\r\n");
        co_await script.send("HELLO\r\nPI");
        const std::string said = co_await complaint_of(script.send("CK\r\n"));
        CHECK(said == "scripted_stream: step 2 expects \"PING\\r\\n\", and \"CK\\r\\n\" was sent: "
                      "they differ at byte 2 of the step, byte 9 of all that was sent");
        const std::string again = co_await complaint_of(script.send("PING\r\n"));
        CHECK(again == said);
        const std::string receiving = co_await complaint_of(script.recv());
        CHECK(receiving == said);
        CHECK(verdict(script) == said);
    });
}

TEST_CASE("a difference ends a receive that waits", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.expect("a").answer("b");
        co_await with_task_group([&](task_group& group) -> task<> {
            std::string said;
            group.spawn([&]() -> task<> { said = co_await complaint_of(script.recv()); });
            co_await some_turns(2);
            const std::string sending = co_await complaint_of(script.send("x"));
            CHECK_FALSE(sending.empty());
            co_await eventually([&] { return !said.empty(); });
            CHECK(said == sending);
        });
    });
}

TEST_CASE("long and strange bytes are told in a readable way", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        std::string expected(200, 'a');
        expected += std::string("\t\"\\\x01\xff!", 6) + std::string(100, 'b');
        script.expect(expected);
        expected[206] = '?';
        const std::string said = co_await complaint_of(script.send(expected));
        const std::string start = "...\"aaaaaaaaaaaaaa\\t\\\"\\\\\\x01\\xff!";
        CHECK(said == "scripted_stream: step 1 expects " + start + std::string(60, 'b') +
                          "...\", and " + start + "?" + std::string(59, 'b') +
                          "...\" was sent: they differ at byte 206 of the step, byte 206 of all "
                          "that was sent");
    });
}

TEST_CASE("what goes beyond the script is told", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream sends;
        sends.expect("ab");
        std::string said = co_await complaint_of(sends.send("abc"));
        CHECK(said == "scripted_stream: \"c\" was sent behind the last step that expects anything, "
                      "at byte 2 of all that was sent");
        scripted_stream receives;
        receives.answer("ab");
        co_await receives.recv();
        said = co_await complaint_of(receives.recv());
        CHECK(said == "scripted_stream: a receive behind the last of 1 steps; end() would be the "
                      "end of the stream");
        scripted_stream ends;
        ends.expect_end();
        said = co_await complaint_of(ends.send("x"));
        CHECK(said == "scripted_stream: step 1 expects the end, and \"x\" was sent at byte 0 of "
                      "all that was sent");
    });
}

TEST_CASE("verify tells what was not reached", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.expect("abc").answer("def").end();
        CHECK(verdict(script) ==
              "scripted_stream: not all 3 steps were reached: step 1 expects \"abc\"");
        co_await script.send("ab");
        CHECK(verdict(script) == "scripted_stream: not all 3 steps were reached: step 1 expects "
                                 "\"abc\", of which 2 bytes were sent");
        co_await script.send("c");
        co_await receive_text(script, 1);
        CHECK(verdict(script) == "scripted_stream: not all 3 steps were reached: step 2 delivers "
                                 "\"def\", of which 1 bytes were received");
        co_await receive_text(script, 2);
        CHECK(verdict(script) ==
              "scripted_stream: not all 3 steps were reached: step 3 delivers the end");
        co_await receive_text(script);
        CHECK(verdict(script).empty());
        scripted_stream other;
        other.fail_send(reset).stall_recv();
        CHECK(verdict(other) == "scripted_stream: not all 2 steps were reached: step 1 fails");
        const auto failed = co_await as_result(other.send("x"));
        CHECK(failed.error() == reset);
        CHECK(verdict(other) == "scripted_stream: not all 2 steps were reached: step 2 stalls");
    });
}

TEST_CASE("a script can fail a receive and a send", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.answer("a").fail_recv(reset).expect("bc").fail_send(reset).answer("d");
        co_await script.recv();
        std::string text;
        try {
            co_await script.recv();
        } catch (const stream_error& error) {
            CHECK(error.code() == reset);
            text = error.what();
        }
        CHECK(text == "recv of a scripted_stream: Connection reset by peer");
        std::size_t moved = 0;
        try {
            co_await script.send("bcde");
        } catch (const stream_error& error) {
            CHECK(error.code() == reset);
            moved = error.transferred();
        }
        CHECK(moved == 2);
        auto last = co_await as_result(script.recv());
        REQUIRE(last);
        CHECK(last->text() == "d");
        script.verify();
    });
}

TEST_CASE("as_result gives scripted failures as values", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.fail_recv(reset).fail_send(reset).end();
        auto received = co_await as_result(script.recv());
        CHECK(received.error() == reset);
        auto sent = co_await as_result(script.send("x"));
        CHECK(sent.error() == reset);
        auto end = co_await as_result(script.recv());
        REQUIRE(end);
        CHECK_FALSE(*end);
    });
}

TEST_CASE("what stalls waits until it is cancelled, and the script goes on",
          "[testing][scripted_stream][cancellation]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.expect("ab").stall_send().expect("c").stall_recv().answer("d");
        std::size_t moved = 0;
        const auto send = [&]() -> task<bool> {
            try {
                co_await script.send("abc");
            } catch (const operation_canceled& error) {
                moved = error.transferred();
                throw;
            }
            co_return true;
        };
        const auto [sent, first] = co_await when_any(send(), some_turns(3));
        CHECK_FALSE(sent);
        CHECK(moved == 2);
        co_await script.send("c");
        const auto [received, second] = co_await when_any(script.recv(), some_turns(3));
        CHECK_FALSE(received);
        auto data = co_await script.recv();
        CHECK(data.text() == "d");
        script.verify();
    });
}

TEST_CASE("a cancelled scope leaves a script where it is",
          "[testing][scripted_stream][cancellation]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.answer("a").expect("b").stall_send();
        cancel_scope scope;
        scope.cancel();
        for (int i = 0; i < 3; ++i) {
            std::error_code failure = co_await thrown_by(scope.run(script.recv()));
            CHECK(failure == canceled);
            failure = co_await thrown_by(scope.run(script.send("x")));
            CHECK(failure == canceled);
        }
        CHECK(verdict(script) ==
              "scripted_stream: not all 3 steps were reached: step 1 delivers \"a\"");
    });
}

TEST_CASE("an expected end is a shutdown of the sending side", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.expect("a").expect_end().answer("b").end();
        co_await script.send("a");
        script.shutdown(shutdown_mode::send);
        const std::string got = co_await receive_text(script);
        CHECK(got == "b");
        script.verify();
        CHECK_THROWS_AS(script.shutdown(shutdown_mode::send), script_error);
        CHECK(verdict(script) ==
              "scripted_stream: the sending side was shut down behind the last step");
        scripted_stream early;
        early.expect("a").expect_end();
        CHECK_THROWS_AS(early.shutdown(shutdown_mode::both), script_error);
        CHECK(verdict(early) ==
              "scripted_stream: the sending side was shut down, and step 1 expects \"a\"");
    });
}

TEST_CASE("a script shut down for receiving has ended", "[testing][scripted_stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.stall_recv();
        co_await with_task_group([&](task_group& group) -> task<> {
            bool ended = false;
            group.spawn([&]() -> task<> {
                auto end = co_await script.recv();
                ended = !end;
            });
            co_await some_turns(2);
            script.shutdown(shutdown_mode::receive);
            const bool done = co_await eventually([&] { return ended; });
            CHECK(done);
        });
    });
}

TEST_CASE("misuse of a scripted_stream ends the program with a sentence",
          "[testing][scripted_stream]") {
    const child_result ended = in_child([] {
        test::run([]() -> task<> {
            scripted_stream script;
            script.stall_recv();
            co_await when_any(script.recv(), script.recv());
        });
        return 0;
    });
    CHECK(ended.code == -SIGABRT);
    CHECK(ended.error_text.find("two receives at once on one scripted_stream") !=
          std::string::npos);
    const child_result empty = in_child([] {
        scripted_stream script;
        script.answer("");
        return 0;
    });
    CHECK(empty.code == -SIGABRT);
}
