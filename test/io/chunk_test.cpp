#include <rondo/io/chunk.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/net/tcp.hpp>

#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>

#include <catch2/catch_test_macros.hpp>

#include <type_traits>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

task<chunk> received(raw_pair& pair, std::string_view text) {
    pair.peer.send(text);
    chunk got = co_await pair.socket.recv();
    while (got.size() < text.size()) {  // a fault has cut it short: start over with all of it
        const std::string rest = co_await read_exactly(pair.socket, text.size() - got.size());
        pair.peer.send(text);
        got = co_await pair.socket.recv();
    }
    co_return got;
}

}  // namespace

TEST_CASE("a chunk moves and does not copy", "[io][chunk]") {
    STATIC_CHECK(std::is_nothrow_move_constructible_v<chunk>);
    STATIC_CHECK(std::is_nothrow_move_assignable_v<chunk>);
    STATIC_CHECK_FALSE(std::is_copy_constructible_v<chunk>);
    STATIC_CHECK_FALSE(std::is_copy_assignable_v<chunk>);
    STATIC_CHECK_FALSE(std::is_convertible_v<chunk, bool>);
}

TEST_CASE("a default chunk is false and empty", "[io][chunk]") {
    const chunk none;
    CHECK_FALSE(none);
    CHECK(none.empty());
    CHECK(none.bytes().empty());
    CHECK(none.text().empty());
    CHECK_FALSE(none.to_owned());
}

TEST_CASE("a chunk shows its bytes as bytes and as text, and lets them be changed",
          "[io][chunk][tcp]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        const chunk got = co_await received(pair, "hello");
        CHECK(got);
        CHECK_FALSE(got.empty());
        CHECK(got.size() == 5);
        CHECK(got.bytes().size() == 5);
        CHECK(got.text() == "hello");
        got.bytes()[0] = std::byte{'J'};
        CHECK(got.text() == "Jello");
    });
}

TEST_CASE("a chunk gives its buffer back once, whichever object held it last", "[io][chunk]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        scheduler& here = co_await this_scheduler();
        if (!here.buffers().usable()) SKIP("the engine has no buffer rings");
        chunk first = co_await received(pair, "first");
        chunk second = co_await received(pair, "second");
        CHECK(here.stats().buffers_held == 2);
        chunk moved(std::move(first));
        CHECK_FALSE(first);
        CHECK(moved.text() == "first");
        CHECK(here.stats().buffers_held == 2);
        second = std::move(moved);  // gives back what it held
        CHECK(here.stats().buffers_held == 1);
        CHECK(second.text() == "first");
        CHECK_FALSE(moved);
        chunk& same = second;
        second = std::move(same);
        CHECK(second.text() == "first");
        CHECK(here.stats().buffers_held == 1);
        second = chunk();
        CHECK(here.stats().buffers_held == 0);
    });
}

TEST_CASE("to_owned() copies the bytes, and the lease can be given back", "[io][chunk][tcp]") {
    test::run([]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        scheduler& here = co_await this_scheduler();
        chunk lease = co_await received(pair, "kept for long");
        chunk owned = lease.to_owned();
        CHECK(owned.data() != lease.data());
        lease = chunk();
        CHECK(here.stats().buffers_held == 0);
        CHECK(owned.text() == "kept for long");
        const chunk again = owned.to_owned();
        owned = chunk();
        CHECK(again.text() == "kept for long");
    });
}

TEST_CASE("chunks that outlive their scheduler keep their memory until the last is gone",
          "[io][chunk][tcp]") {
    raw_pair pair = connected_to_raw_peer();
    std::vector<chunk> kept;
    test::run([&]() -> task<> {
        for (int i = 0; i < 5; ++i) {
            pair.peer.send(pattern(100, 3));
            std::size_t got = 0;
            while (got < 100) {
                kept.push_back(co_await pair.socket.recv());
                got += kept.back().size();
            }
        }
    });
    std::string all;
    for (const chunk& each : kept) all += each.text();
    std::string expected;
    for (int i = 0; i < 5; ++i) expected += pattern(100, 3);
    CHECK(all == expected);
    while (!kept.empty()) {
        CHECK_FALSE(kept.back().empty());
        kept.pop_back();
    }
    // The socket goes on with the pool of another scheduler.
    test::run([&]() -> task<> {
        pair.peer.send("again");
        const std::string got = co_await read_exactly(pair.socket, 5);
        CHECK(got == "again");
    });
}
