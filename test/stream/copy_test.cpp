#include <rondo/stream/copy.hpp>

#include <rondo/stream/buffered_reader.hpp>
#include <rondo/stream/stream_error.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/when_any.hpp>
#include <rondo/testing/scripted_stream.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/stream_pairs.hpp>
#include <support/thrown_by.hpp>
#include <support/without_leases.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <string>
#include <utility>

using namespace rondo;
using namespace rondo::test;
using rondo::testing::scripted_stream;

namespace {

// One half of a proxy.
template <typename From, typename To>
task<std::uint64_t> forward(From& from, To& to) {
    const std::uint64_t size = co_await rondo::copy(from, to);
    to.shutdown(shutdown_mode::send);
    co_return size;
}

template <typename Stream>
task<> send_and_end(Stream& to, std::string_view text) {
    co_await to.send(text);
    to.shutdown(shutdown_mode::send);
}

}  // namespace

TEMPLATE_TEST_CASE("two copies make a proxy that passes both ends on", "[stream][tcp]",
                   (std::pair<over_tcp, over_tcp>), (std::pair<over_tcp, over_pipe>),
                   (std::pair<over_unix, over_tcp>), (std::pair<over_pipe, over_unix>)) {
    test::run([]() -> task<> {
        auto client = co_await TestType::first_type::connect_narrow();
        auto server = co_await TestType::second_type::connect_narrow();
        const std::string question = pattern(50'000, 1);
        const std::string answer = pattern(70'000, 2);
        std::string question_got;
        std::string answer_got;
        // The server answers when the question has ended, and the client hears it after that.
        const auto ask = [&]() -> task<> {
            co_await send_and_end(client.a, question);
            answer_got = co_await receive_text(client.a);
        };
        const auto serve = [&]() -> task<> {
            question_got = co_await receive_text(server.b);
            co_await send_and_end(server.b, answer);
        };
        const auto [asked, served, forth, back] = co_await when_all(
            ask(), serve(), forward(client.b, server.a), forward(server.a, client.b));
        CHECK((question_got == question));
        CHECK((answer_got == answer));
        CHECK(forth == question.size());
        CHECK(back == answer.size());
    });
}

TEST_CASE("copy sends each piece as it came, with leases and without", "[stream]") {
    test::run([]() -> task<> {
        for (const bool leased : {true, false}) {
            scripted_stream from;
            scripted_stream to;
            from.answer("one").answer("two").end();
            to.expect("one").expect("two");
            without_leases<scripted_stream> bare(from);
            std::uint64_t size = 0;
            if (leased) {
                size = co_await rondo::copy(from, to);
            } else {
                size = co_await rondo::copy(bare, to);
            }
            CHECK(size == 6);
            CHECK(from.leases_held() == 0);
            to.verify();
        }
    });
}

TEST_CASE("copy from a reader begins with what is buffered", "[stream]") {
    test::run([]() -> task<> {
        scripted_stream from;
        scripted_stream to;
        from.answer("header\nbo").answer("dy").end();
        to.expect("body");
        buffered_reader reader(from);
        auto header = co_await reader.read_line();
        CHECK(header == "header");
        const std::uint64_t size = co_await rondo::copy(reader, to);
        CHECK(size == 4);
        to.verify();
    });
}

TEST_CASE("a cancelled copy tells how much went through, wherever it is cut",
          "[stream][cancellation]") {
    test::run([]() -> task<> {
        const std::string all = "abcdefg";
        for (const bool leased : {true, false}) {
            for (const bool receiving : {true, false}) {
                for (std::size_t at = 0; at < all.size(); ++at) {
                    CAPTURE(leased, receiving, at);
                    scripted_stream from;
                    scripted_stream to;
                    if (receiving) {
                        from.answer_in_pieces(all.substr(0, at), 2).stall_recv();
                        to.expect(all);
                    } else {
                        from.answer_in_pieces(all, 2).end();
                        if (at != 0) to.expect(all.substr(0, at));
                        to.stall_send();
                    }
                    without_leases<scripted_stream> bare(from);
                    std::size_t moved = 99;
                    const auto run_copy = [&]() -> task<> {
                        try {
                            if (leased) {
                                co_await rondo::copy(from, to);
                            } else {
                                co_await rondo::copy(bare, to);
                            }
                        } catch (const operation_canceled& error) {
                            moved = error.transferred();
                            throw;
                        }
                    };
                    const auto [copied, over] = co_await when_any(run_copy(), some_turns(2));
                    CHECK_FALSE(copied);
                    CHECK(moved == at);
                    CHECK(from.leases_held() == 0);
                }
            }
        }
    });
}

TEST_CASE("a copy fails with the error of either side", "[stream]") {
    test::run([]() -> task<> {
        const std::error_code reset = std::make_error_code(std::errc::connection_reset);
        scripted_stream failing;
        scripted_stream to;
        failing.answer("a").fail_recv(reset);
        to.expect("a");
        std::error_code failure = co_await thrown_by(rondo::copy(failing, to));
        CHECK(failure == reset);
        rondo::pipe source;
        rondo::pipe closed;
        closed.b = pipe_end();
        co_await source.a.send("x");
        failure = co_await thrown_by(rondo::copy(source.b, closed.a));
        CHECK(failure == std::errc::broken_pipe);
    });
}
