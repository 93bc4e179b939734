#include <rondo/testing/socket_pair.hpp>

#include <support/harness.hpp>
#include <support/receiving.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <string>
#include <utility>

using namespace rondo;
using namespace rondo::test;

TEST_CASE("what one end of a socket pair sends the other receives, to the end",
          "[testing][socket_pair][tcp][unix]") {
    const bool over_tcp = GENERATE(false, true);
    test::run([over_tcp]() -> task<> {
        testing::socket_pair<stream_socket> pair;
        if (over_tcp) {
            auto made = testing::tcp_socket_pair();
            pair = {std::move(made.a), std::move(made.b)};
        } else {
            auto made = testing::unix_socket_pair();
            pair = {std::move(made.a), std::move(made.b)};
        }
        co_await pair.a.send("there");
        co_await pair.b.send("back");
        const std::string there = co_await read_exactly(pair.b, 5);
        CHECK(there == "there");
        pair.b.shutdown(shutdown_mode::send);
        const std::string back = co_await read_to_end(pair.a);
        CHECK(back == "back");
    });
}

TEST_CASE("the ends of a TCP socket pair are each other's peers", "[testing][socket_pair]") {
    const auto pair = testing::tcp_socket_pair();
    CHECK(pair.a.local_endpoint() == pair.b.remote_endpoint());
    CHECK(pair.a.remote_endpoint() == pair.b.local_endpoint());
}
