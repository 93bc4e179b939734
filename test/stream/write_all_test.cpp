#include <rondo/stream/write_all.hpp>

#include <rondo/stream/stream_error.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/when_any.hpp>
#include <rondo/testing/scripted_stream.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/stream_pairs.hpp>
#include <support/without_leases.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <string>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using rondo::testing::scripted_stream;

TEMPLATE_TEST_CASE("write_all sends its buffers as if they were one", "[stream][tcp]", over_tcp,
                   over_unix, over_pipe) {
    test::run([]() -> task<> {
        auto pair = co_await TestType::connect_narrow();
        const std::string middle = pattern(100'000);
        std::vector<std::string> many;
        std::vector<const_buffer> list;
        for (std::size_t i = 0; i < 40; ++i) many.push_back(pattern(i * 3, i));
        for (const std::string& text : many) list.emplace_back(text);
        const auto send = [&]() -> task<> {
            co_await write_all(pair.a, "head", middle, std::string_view("tail"));
            co_await write_all(pair.a, list);
            co_await write_all(pair.a, "end");
            co_await write_all(pair.a, std::span<const const_buffer>());
            pair.a.shutdown(shutdown_mode::send);
        };
        const auto [sent, got] = co_await when_all(send(), receive_text(pair.b));
        std::string expected = "head" + middle + "tail";
        for (const std::string& text : many) expected += text;
        CHECK((got == expected + "end"));
    });
}

TEST_CASE("write_all sends one buffer after the other where the stream does not gather",
          "[stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.expect("onetwothree");
        without_leases<scripted_stream> plain(script);
        STATIC_REQUIRE_FALSE(gather_stream<without_leases<scripted_stream>>);
        co_await write_all(plain, "one", "", std::string("two"), "three");
        script.verify();
    });
}

TEST_CASE("write_all cut short tells what the stream has taken, wherever it is cut",
          "[stream][cancellation]") {
    test::run([]() -> task<> {
        const std::string all = "onetwothree";
        for (const bool gathers : {true, false}) {
            for (std::size_t at = 0; at < all.size(); ++at) {
                CAPTURE(gathers, at);
                scripted_stream script;
                if (at != 0) script.expect(all.substr(0, at));
                script.stall_send().expect(all.substr(at));
                without_leases<scripted_stream> plain(script);
                std::size_t moved = all.size();
                const auto send = [&]() -> task<> {
                    try {
                        if (gathers) {
                            co_await write_all(script, "one", "two", "three");
                        } else {
                            co_await write_all(plain, "one", "two", "three");
                        }
                    } catch (const operation_canceled& error) {
                        moved = error.transferred();
                        throw;
                    }
                };
                const auto [sent, over] = co_await when_any(send(), some_turns(2));
                CHECK_FALSE(sent);
                CHECK(moved == at);
                co_await write_all(script, std::string_view(all).substr(at));
                script.verify();
            }
        }
    });
}

TEST_CASE("write_all into a stream that fails throws the stream's error", "[stream]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.expect("onet").fail_send(std::make_error_code(std::errc::broken_pipe));
        std::size_t moved = 0;
        try {
            co_await write_all(script, "one", "two");
        } catch (const stream_error& error) {
            moved = error.transferred();
        }
        CHECK(moved == 4);
        script.verify();
    });
}
