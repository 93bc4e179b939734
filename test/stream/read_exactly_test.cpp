#include <rondo/stream/read_exactly.hpp>

#include <rondo/stream/buffered_reader.hpp>
#include <rondo/stream/stream_error.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/when_any.hpp>
#include <rondo/testing/scripted_stream.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/stream_pairs.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <string>

using namespace rondo;
using namespace rondo::test;
using rondo::testing::scripted_stream;

TEMPLATE_TEST_CASE("read_exactly fills a buffer of any size", "[stream][tcp]", over_tcp,
                   over_unix, over_pipe) {
    test::run([]() -> task<> {
        auto pair = co_await TestType::connect_narrow();
        const std::string sent = pattern(60'000);
        const auto receive = [&]() -> task<std::string> {
            std::string all;
            for (std::size_t size = 0; all.size() < sent.size(); size = size * 2 + 1) {
                std::string part(std::min(size, sent.size() - all.size()), '\0');
                co_await rondo::read_exactly(pair.b, writable(part));
                all += part;
            }
            co_return all;
        };
        const auto [done, got] = co_await when_all(pair.a.send(sent), receive());
        CHECK((got == sent));
    });
}

TEST_CASE("read_exactly tells how far it came before the end of the stream", "[stream]") {
    test::run([]() -> task<> {
        for (std::size_t size = 0; size < 5; ++size) {
            scripted_stream script;
            script.answer_in_pieces(std::string_view("abcde").substr(0, size), 2).end();
            std::string buffer(5, '?');
            std::size_t moved = 9;
            std::string text;
            try {
                co_await rondo::read_exactly(script, writable(buffer));
            } catch (const unexpected_end& error) {
                moved = error.transferred();
                text = error.what();
            }
            CHECK(moved == size);
            CHECK(buffer.substr(0, size) == std::string("abcde").substr(0, size));
            CHECK(text == "read_exactly: the stream ended after " + std::to_string(size) +
                              " of 5 bytes");
        }
    });
}

TEST_CASE("a cancelled read_exactly tells what is in the buffer, wherever it is cut",
          "[stream][cancellation]") {
    test::run([]() -> task<> {
        const std::string all = "abcdef";
        for (std::size_t at = 0; at < all.size(); ++at) {
            scripted_stream script;
            script.answer_in_pieces(all.substr(0, at), 2).stall_recv().answer(all.substr(at));
            std::string buffer(all.size(), '?');
            std::size_t moved = 9;
            const auto receive = [&]() -> task<> {
                try {
                    co_await rondo::read_exactly(script, writable(buffer));
                } catch (const operation_canceled& error) {
                    moved = error.transferred();
                    throw;
                }
            };
            const auto [got, over] = co_await when_any(receive(), some_turns(2));
            CHECK_FALSE(got);
            CHECK(moved == at);
            co_await rondo::read_exactly(script, writable(buffer).subspan(moved));
            CHECK(buffer == all);
        }
    });
}

TEST_CASE("read_exactly takes a reader as it takes any stream", "[stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.answer("line\nab").answer("cd");
        buffered_reader reader(script);
        auto line = co_await reader.read_line();
        CHECK(line == "line");
        std::string buffer(4, '\0');
        co_await rondo::read_exactly(reader, writable(buffer));
        CHECK(buffer == "abcd");
    });
}
