// What every engine promises of sends, and of messages, through the interface alone.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <liburing.h>
#include <sys/socket.h>

#include <support/engine_driver.hpp>
#include <support/engine_streams.hpp>

using namespace rondo::test;
using rondo::engine;

// Send

TEST_CASE("send of all goes on until all is sent", "[engine][contract][send]") {
    driver on;
    const pair ends = either_pair();
    const auto data = pattern(2 << 20);
    on.send(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    const std::string got = drain_until(on, ends.b, 1);
    CHECK(on.wait(1).result == static_cast<int>(data.size()));
    CHECK(std::equal(got.begin(), got.end(), data.begin(), data.end()));
}

TEST_CASE("send of all that is cancelled returns what was sent", "[engine][contract][send]") {
    driver on;
    const pair ends = either_pair();
    const auto data = pattern(2 << 20);
    on.send(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    on.settle();
    CHECK(on.seen().empty());
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    const int sent = on.wait(1).result;
    CHECK(sent > 0);
    CHECK(sent < static_cast<int>(data.size()));
    std::string got;
    on.until([&] {
        got += read_from(ends.b);
        return got.size() == static_cast<std::size_t>(sent);
    });
    CHECK(std::equal(got.begin(), got.end(), data.begin()));
}

TEST_CASE("send of all returns what was sent when the peer goes away", "[engine][contract][send]") {
    driver on;
    pair ends = either_pair();
    const auto data = pattern(2 << 20);
    on.send(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    on.settle();
    CHECK(on.seen().empty());
    ends.b.reset();
    const int sent = on.wait(1).result;
    CHECK(sent > 0);
    CHECK(sent < static_cast<int>(data.size()));
}

TEST_CASE("send that may be partial waits only while nothing can be sent",
          "[engine][contract][send]") {
    driver on;
    const pair ends = either_pair();
    const auto data = pattern(2 << 20);
    on.send(1, ends.a.get(), data.data(), data.size());
    const int sent = on.wait(1).result;
    CHECK(sent > 0);
    CHECK(sent < static_cast<int>(data.size()));
    fill_up(ends.a);
    on.send(2, ends.a.get(), data.data(), 100);
    on.settle();
    CHECK(on.of(2).empty());
    drain_until(on, ends.b, 2);
    CHECK(on.wait(2).result == 100);
}

TEST_CASE("send that must not wait completes in its turn", "[engine][contract][send]") {
    driver on;
    const pair ends = either_pair();
    const auto data = pattern(2 << 20);
    const int flags = MSG_DONTWAIT | GENERATE(0, MSG_WAITALL);
    on.send(1, ends.a.get(), data.data(), data.size(), flags);
    on.enter(engine::no_wait);
    on.reap();
    REQUIRE(on.of(1).size() == 1);
    const int sent = on.wait(1).result;
    CHECK(sent > 0);
    CHECK(sent < static_cast<int>(data.size()));
    fill_up(ends.a);
    on.send(2, ends.a.get(), data.data(), 100, flags);
    CHECK(on.wait(2).result == -EAGAIN);
}

TEST_CASE("send to a peer that is gone is EPIPE and no signal", "[engine][contract][send]") {
    driver on;
    pair ends = unix_pair();
    ends.b.reset();
    on.send(1, ends.a.get(), "x", 1);
    on.send(2, ends.a.get(), "x", 1, MSG_WAITALL);
    CHECK(on.wait(1).result == -EPIPE);
    CHECK(on.wait(2).result == -EPIPE);
}

// Messages

namespace {

struct gathered {
    std::array<::iovec, 3> parts{};
    ::msghdr header{};

    explicit gathered(std::array<std::vector<char>, 3>& data) {
        for (std::size_t i = 0; i < 3; ++i) parts[i] = {data[i].data(), data[i].size()};
        header.msg_iov = parts.data();
        header.msg_iovlen = parts.size();
    }
    std::uint64_t number() { return reinterpret_cast<std::uintptr_t>(&header); }
};

}  // namespace

TEST_CASE("sendmsg and recvmsg carry several buffers whole", "[engine][contract][message]") {
    driver on;
    const pair ends = either_pair();
    std::array<std::vector<char>, 3> out{pattern(1000), pattern(3 << 20), pattern(1 << 20)};
    std::array<std::vector<char>, 3> in{std::vector<char>(2 << 20), std::vector<char>(1),
                                        std::vector<char>((2 << 20) + 999)};
    gathered sent(out);
    gathered received(in);
    for (const int opcode : {IORING_OP_SENDMSG, IORING_OP_RECVMSG}) {
        const bool sends = opcode == IORING_OP_SENDMSG;
        io_uring_sqe& entry = on.prepare(opcode, sends ? 1 : 2, (sends ? ends.a : ends.b).get());
        entry.addr = (sends ? sent : received).number();
        entry.len = 1;
        entry.msg_flags = MSG_WAITALL;
    }
    CHECK(on.wait(1).result == 1000 + (4 << 20));
    CHECK(on.wait(2).result == 1000 + (4 << 20));
    std::string expected;
    std::string got;
    for (const auto& part : out) expected.append(part.data(), part.size());
    for (const auto& part : in) got.append(part.data(), part.size());
    CHECK((got == expected));
}

TEST_CASE("sendmsg that is cancelled half-way returns the half", "[engine][contract][message]") {
    driver on;
    const pair ends = either_pair();
    std::array<std::vector<char>, 3> out{pattern(10), pattern(1 << 20), pattern(1 << 20)};
    gathered sent(out);
    io_uring_sqe& entry = on.prepare(IORING_OP_SENDMSG, 1, ends.a.get());
    entry.addr = sent.number();
    entry.len = 1;
    entry.msg_flags = MSG_WAITALL;
    on.settle();
    CHECK(on.seen().empty());
    on.cancel(2, 1);
    const int result = on.wait(1).result;
    CHECK(result > 10);
    CHECK(result < (2 << 20));
}

TEST_CASE("recvmsg waits for a datagram and tells that it was cut", "[engine][contract][message]") {
    driver on;
    const pair ends = unix_pair(SOCK_DGRAM | SOCK_NONBLOCK);
    std::array<std::vector<char>, 3> in{std::vector<char>(2), std::vector<char>(1),
                                        std::vector<char>(1)};
    gathered received(in);
    io_uring_sqe& entry = on.prepare(IORING_OP_RECVMSG, 1, ends.a.get());
    entry.addr = received.number();
    entry.len = 1;
    on.settle();
    CHECK(on.seen().empty());
    write_to(ends.b, "datagram");
    CHECK(on.wait(1).result == 4);
    CHECK((received.header.msg_flags & MSG_TRUNC) != 0);
    CHECK(in[0] == std::vector<char>{'d', 'a'});
    CHECK(in[2] == std::vector<char>{'a'});
}
