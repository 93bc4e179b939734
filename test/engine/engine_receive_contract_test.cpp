// What every engine promises of receives, held against each of them through the interface alone.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <liburing.h>
#include <sys/socket.h>

#include <support/engine_driver.hpp>
#include <support/engine_streams.hpp>

using namespace rondo::test;
using rondo::completion;
using rondo::engine;
using rondo::feature;

TEST_CASE("recv gives what is there, or waits for it", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 16> data{};
    write_to(ends.b, "first");
    on.recv(1, ends.a.get(), data.data(), data.size());
    const completion first = on.wait(1);
    CHECK(first.result == 5);
    CHECK((first.flags & (more | with_buffer)) == 0);
    on.recv(2, ends.a.get(), data.data(), data.size());
    on.settle();
    CHECK(on.of(2).empty());
    write_to(ends.b, "later");
    CHECK(on.wait(2).result == 5);
    CHECK(std::string_view(data.data(), 5) == "later");
}

TEST_CASE("requests that wait first find what is there", "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 4);
    pool.give_all();
    const pair ends = either_pair();
    write_to(ends.b, "already");
    const bool multishot = GENERATE(true, false);
    std::array<char, 8> data{};
    if (multishot) {
        on.recv_multishot(1, ends.a.get(), 1).ioprio |= IORING_RECVSEND_POLL_FIRST;
        on.wait(1, 2);
        CHECK(concatenate(on.of(1), pool) == "already");
    } else {
        on.recv(1, ends.a.get(), data.data(), data.size()).ioprio = IORING_RECVSEND_POLL_FIRST;
        CHECK(on.wait(1).result == 7);
    }
    on.send(2, ends.b.get(), "more", 4).ioprio = IORING_RECVSEND_POLL_FIRST;
    CHECK(on.wait(2).result == 4);
}

TEST_CASE("recv in small pieces finds all that is left", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 4> data{};
    write_to(ends.b, "aaaabbbbcc");
    std::string got;
    for (std::uint64_t n = 0; n < 3; ++n) {
        on.recv(n, ends.a.get(), data.data(), data.size());
        got.append(data.data(), static_cast<std::size_t>(on.wait(n).result));
    }
    CHECK(got == "aaaabbbbcc");
    on.recv(9, ends.a.get(), data.data(), data.size());
    on.settle();
    CHECK(on.of(9).empty());
    write_to(ends.b, "dd");
    CHECK(on.wait(9).result == 2);
}

TEST_CASE("recv looks at data without taking it", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 16> data{};
    write_to(ends.b, "peek");
    for (std::uint64_t n = 1; n <= 3; ++n) {
        on.recv(n, ends.a.get(), data.data(), data.size(), n < 3 ? MSG_PEEK : 0);
        CHECK(on.wait(n).result == 4);
    }
}

TEST_CASE("recv returns 0 after the peer shut down, every time", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 16> data{};
    on.recv(1, ends.a.get(), data.data(), data.size());
    on.enter(engine::no_wait);
    write_to(ends.b, "end");
    REQUIRE(::shutdown(ends.b.get(), SHUT_WR) == 0);
    CHECK(on.wait(1).result == 3);
    for (std::uint64_t n = 2; n <= 4; ++n) {
        on.recv(n, ends.a.get(), data.data(), data.size());
        CHECK(on.wait(n).result == 0);
    }
}

TEST_CASE("recv waiting when the peer resets fails", "[engine][contract][recv]") {
    driver on;
    pair ends = tcp_pair();
    std::array<char, 16> data{};
    on.recv(1, ends.a.get(), data.data(), data.size());
    on.enter(engine::no_wait);
    reset(ends.b);
    CHECK(on.wait(1).result == -ECONNRESET);
}

TEST_CASE("recv that must not wait says so", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 16> data{};
    on.recv(1, ends.a.get(), data.data(), data.size(), MSG_DONTWAIT);
    CHECK(on.wait(1).result == -EAGAIN);
    write_to(ends.b, "now");
    await_arrival(ends.a, 3);
    on.recv(2, ends.a.get(), data.data(), data.size(), MSG_DONTWAIT);
    CHECK(on.wait(2).result == 3);
}

TEST_CASE("recv of all waits for all, unless the stream ends", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 10> data{};
    on.recv(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    for (const char* part : {"abc", "def", "ghi"}) {
        write_to(ends.b, part);
        on.settle();
        CHECK(on.of(1).empty());
    }
    write_to(ends.b, "jk");
    CHECK(on.wait(1).result == 10);
    CHECK(std::string_view(data.data(), 10) == "abcdefghij");
    on.recv(2, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    on.settle();
    CHECK(on.of(2).empty());
    REQUIRE(::shutdown(ends.b.get(), SHUT_WR) == 0);
    CHECK(on.wait(2).result == 1);
}

TEST_CASE("recv of all that is cancelled half-way returns the half", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 10> data{};
    on.recv(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    write_to(ends.b, "abc");
    on.settle();
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    CHECK(on.wait(1).result == 3);
}

TEST_CASE("recv takes a buffer of its group only for data", "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 7, 16);
    const pair ends = either_pair();
    pool.give(5);
    for (std::uint64_t n = 1; n <= 3; ++n) {
        io_uring_sqe& entry = on.recv(n, ends.a.get(), nullptr, n == 1 ? 3 : 0);
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.buf_group = 7;
        if (n == 1) {
            on.settle();
            CHECK(on.seen().empty());
            write_to(ends.b, "select");
        }
        if (n == 3) REQUIRE(::shutdown(ends.b.get(), SHUT_WR) == 0);
        const completion c = on.wait(n);
        CHECK(c.result == (n == 3 ? 0 : 3));
        CHECK((c.flags & more) == 0);
        CHECK(((c.flags & with_buffer) != 0) == (n != 3));
        if (n == 3) continue;
        CHECK(buffers::id_of(c) == 5);
        CHECK(pool.text(c) == (n == 1 ? "sel" : "ect"));
        pool.give(5);
    }
}

TEST_CASE("a multishot receive delivers in buffers up to the end of the stream",
          "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    const pair ends = either_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1);
    for (std::size_t n = 1; n <= 3; ++n) {
        write_to(ends.b, "message");
        const completion c = on.wait(1, n);
        CHECK((c.flags & more) != 0);
        REQUIRE((c.flags & with_buffer) != 0);
        CHECK(buffers::id_of(c) == n - 1);
        CHECK(pool.text(c) == "message");
    }
    write_to(ends.b, "last");
    REQUIRE(::shutdown(ends.b.get(), SHUT_WR) == 0);
    CHECK(pool.text(on.wait(1, 4)) == "last");
    const completion end = on.wait(1, 5);
    CHECK(end.result == 0);
    CHECK((end.flags & (more | with_buffer)) == 0);
    on.settle();
    CHECK(on.of(1).size() == 5);
}

TEST_CASE("a multishot receive ends with the error of a reset", "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    pair ends = tcp_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1);
    on.enter(engine::no_wait);
    reset(ends.b);
    const completion c = on.wait(1);
    CHECK(c.result == -ECONNRESET);
    CHECK((c.flags & (more | with_buffer)) == 0);
}

TEST_CASE("a multishot receive without buffers is refused", "[engine][contract][recv]") {
    driver on;
    const pair ends = unix_pair();
    on.prepare(IORING_OP_RECV, 1, ends.a.get()).ioprio = IORING_RECV_MULTISHOT;
    CHECK(on.wait(1).result == -EINVAL);
    write_to(ends.b, "x");
    on.recv_multishot(2, ends.a.get(), 99);
    CHECK(on.wait(2).result == -ENOBUFS);
}

TEST_CASE("a multishot receive that finds no buffer ends and can be armed again",
          "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 4);
    const pair ends = either_pair();
    pool.give(0);
    pool.give(1);
    on.recv_multishot(1, ends.a.get(), 1);
    write_to(ends.b, "aaaabbbbcccc");
    const completion c = on.wait(1, 3);
    CHECK(c.result == -ENOBUFS);
    CHECK((c.flags & (more | with_buffer)) == 0);
    CHECK(concatenate(on.of(1), pool) == "aaaabbbb");
    pool.give(1);
    on.recv_multishot(2, ends.a.get(), 1);
    const completion rest = on.wait(2);
    CHECK(buffers::id_of(rest) == 1);
    CHECK(pool.text(rest) == "cccc");
}

TEST_CASE("a multishot receive keeps datagrams apart", "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    const pair ends = unix_pair(SOCK_DGRAM | SOCK_NONBLOCK);
    pool.give_all();
    write_to(ends.b, "one");
    write_to(ends.b, "three");
    on.recv_multishot(1, ends.a.get(), 1);
    on.wait(1, 2);
    write_to(ends.b, "x");
    on.wait(1, 3);
    const auto got = on.of(1);
    CHECK(pool.text(got[0]) == "one");
    CHECK(pool.text(got[1]) == "three");
    CHECK(pool.text(got[2]) == "x");
}

TEST_CASE("a multishot receive ends when its limit is reached", "[engine][contract][recv]") {
    driver on;
    if (!on.get().has(feature::receive_limit)) SKIP("this kernel has no such limit");
    buffers pool(on.get(), 1, 4);
    const pair ends = either_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1).file_index = 10;
    write_to(ends.b, "aaaabb");
    on.until([&] { return concatenate(on.of(1), pool).size() == 6; });
    CHECK((on.of(1).back().flags & more) != 0);
    write_to(ends.b, "bbccddddee");
    on.until([&] { return (on.of(1).back().flags & more) == 0; });
    on.settle();
    const auto got = on.of(1);
    CHECK(concatenate(got, pool) == "aaaabbbbcc");
    CHECK(got.back().result > 0);
    CHECK((got.back().flags & with_buffer) != 0);
    CHECK(read_from(ends.a) == "ddddee");
}

TEST_CASE("a receive that goes past the limit is delivered whole", "[engine][contract][recv]") {
    driver on;
    if (!on.get().has(feature::receive_limit)) SKIP("this kernel has no such limit");
    buffers pool(on.get(), 1, 16);
    const pair ends = either_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1).file_index = 10;
    write_to(ends.b, "aaaabbbbcccc");
    CHECK(on.wait(1).result == 12);
    CHECK((on.of(1)[0].flags & more) == 0);
}

TEST_CASE("a multishot receive of a length fills each buffer that far at most",
          "[engine][contract][recv]") {
    driver on;
    if (!on.get().has(feature::receive_limit)) SKIP("this kernel has no such length");
    buffers pool(on.get(), 1, 16);
    const pair ends = either_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1).len = 5;
    write_to(ends.b, "aaaaabbbbbcc");
    on.wait(1, 3);
    CHECK(pool.text(on.of(1)[0]) == "aaaaa");
    CHECK(pool.text(on.of(1)[1]) == "bbbbb");
    CHECK(pool.text(on.of(1)[2]) == "cc");
}

TEST_CASE("a byte limit is refused where nothing is multishot", "[engine][contract][recv]") {
    driver on;
    if (!on.get().has(feature::receive_limit)) SKIP("this kernel has no such limit");
    const pair ends = unix_pair();
    char byte = 0;
    on.recv(1, ends.a.get(), &byte, 1).file_index = 10;
    CHECK(on.wait(1).result == -EINVAL);
}

TEST_CASE("a receive and a send wait on one socket side by side", "[engine][contract]") {
    driver on;
    const pair ends = either_pair();
    const std::size_t before = fill_up(ends.a);
    std::array<char, 8> data{};
    on.recv(1, ends.a.get(), data.data(), data.size());
    on.send(2, ends.a.get(), "tail", 4, MSG_WAITALL);
    on.settle();
    CHECK(on.seen().empty());
    write_to(ends.b, "in");
    CHECK(on.wait(1).result == 2);
    const std::string out = drain_until(on, ends.b, 2);
    CHECK(on.wait(2).result == 4);
    CHECK(out.size() == before + 4);
    CHECK(out.ends_with("tail"));
}
