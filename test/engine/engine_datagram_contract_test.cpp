// Messages with names and control data: what every engine promises about RECVMSG and SENDMSG.
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rondo/detail/unique_fd.hpp>

#include <support/engine_driver.hpp>

using namespace rondo::test;
using rondo::completion;
using rondo::detail::unique_fd;

namespace {

/// A UDP socket on the loopback, and its name.
struct udp_end {
    unique_fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    ::sockaddr_in name{};

    udp_end() {
        name.sin_family = AF_INET;
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ::socklen_t size = sizeof name;
        REQUIRE(::bind(socket.get(), address(), size) == 0);
        REQUIRE(::getsockname(socket.get(), address(), &size) == 0);
    }
    ::sockaddr* address() { return reinterpret_cast<::sockaddr*>(&name); }
    void connect(udp_end& to) {
        REQUIRE(::connect(socket.get(), to.address(), sizeof to.name) == 0);
    }
    void send(std::string_view text) const {
        REQUIRE(::send(socket.get(), text.data(), text.size(), 0) ==
                static_cast<ssize_t>(text.size()));
    }
};

io_uring_sqe& message(driver& on, int opcode, std::uint64_t user_data, int descriptor,
                      const ::msghdr& header, int flags = 0) {
    io_uring_sqe& entry = on.prepare(opcode, user_data, descriptor);
    entry.addr = reinterpret_cast<std::uintptr_t>(&header);
    entry.len = 1;
    entry.msg_flags = static_cast<std::uint32_t>(flags);
    return entry;
}

io_uring_sqe& select(io_uring_sqe& entry, std::uint16_t group) {
    entry.flags = IOSQE_BUFFER_SELECT;
    entry.buf_group = group;
    return entry;
}

io_uring_sqe& recvmsg_multishot(driver& on, std::uint64_t user_data, int descriptor,
                                const ::msghdr& header, std::uint16_t group, int flags = 0) {
    io_uring_sqe& entry = message(on, IORING_OP_RECVMSG, user_data, descriptor, header, flags);
    entry.ioprio = IORING_RECV_MULTISHOT;
    return select(entry, group);
}

/// A buffer of a multishot RECVMSG, taken apart.
struct framed {
    io_uring_recvmsg_out header{};
    std::string name;
    std::string control;
    std::string payload;

    framed(const buffers& pool, const completion& c, const ::msghdr& asked) {
        REQUIRE(c.result >= static_cast<int>(sizeof header));
        const std::string all = pool.text(c);
        std::memcpy(&header, all.data(), sizeof header);
        name = all.substr(sizeof header, asked.msg_namelen);
        control = all.substr(sizeof header + asked.msg_namelen, asked.msg_controllen);
        payload = all.substr(sizeof header + asked.msg_namelen + asked.msg_controllen);
    }
    std::uint16_t port() const {
        ::sockaddr_in from{};
        REQUIRE(name.size() >= sizeof from);
        std::memcpy(&from, name.data(), sizeof from);
        return from.sin_port;
    }
};

::msghdr asking(::socklen_t name, std::size_t control = 0) {
    ::msghdr header{};
    header.msg_namelen = name;
    header.msg_controllen = control;
    return header;
}

}  // namespace

TEST_CASE("a multishot recvmsg delivers header, name, control data and payload",
          "[engine][contract][message]") {
    driver on;
    udp_end server;
    udp_end client;
    client.connect(server);
    const int enabled = 1;
    REQUIRE(::setsockopt(server.socket.get(), SOL_IP, IP_PKTINFO, &enabled, sizeof enabled) == 0);
    buffers pool(on.get(), 3, 512);
    pool.give_all();
    const ::msghdr asked = asking(sizeof(::sockaddr_in6), CMSG_SPACE(sizeof(::in_pktinfo)));
    recvmsg_multishot(on, 1, server.socket.get(), asked, 3);
    on.settle();
    CHECK(on.seen().empty());
    for (const std::string_view text : {"first", "second and longer"}) {
        client.send(text);
        const completion c = on.wait(1, on.of(1).size() + 1);
        CHECK((c.flags & more) != 0);
        REQUIRE((c.flags & with_buffer) != 0);
        const framed got(pool, c, asked);
        CHECK(got.payload == text);
        CHECK(got.header.payloadlen == text.size());
        CHECK(got.header.flags == 0);
        CHECK(got.header.namelen == sizeof(::sockaddr_in));
        CHECK(got.port() == client.name.sin_port);
        REQUIRE(got.header.controllen == CMSG_SPACE(sizeof(::in_pktinfo)));
        ::cmsghdr control{};
        std::memcpy(&control, got.control.data(), sizeof control);
        CHECK(control.cmsg_level == SOL_IP);
        CHECK(control.cmsg_type == IP_PKTINFO);
    }
    on.cancel(2, 1);
    CHECK(on.wait(1, 3).result == -ECANCELED);
}

TEST_CASE("a multishot recvmsg tells what it cut", "[engine][contract][message]") {
    driver on;
    udp_end server;
    udp_end client;
    client.connect(server);
    const int enabled = 1;
    REQUIRE(::setsockopt(server.socket.get(), SOL_IP, IP_PKTINFO, &enabled, sizeof enabled) == 0);
    buffers pool(on.get(), 0, 64);
    pool.give_all();
    const ::msghdr asked = asking(8, 8);
    const std::size_t room = 64 - sizeof(io_uring_recvmsg_out) - 16;
    const bool real_length = GENERATE(false, true);
    const unsigned cut = MSG_TRUNC;
    const unsigned lost = MSG_CTRUNC;
    recvmsg_multishot(on, 1, server.socket.get(), asked, 0, real_length ? MSG_TRUNC : 0);
    client.send("fits");
    client.send(std::string(300, 'x'));
    on.wait(1, 2);
    const framed whole(pool, on.of(1)[0], asked);
    CHECK(whole.payload == "fits");
    CHECK(whole.header.controllen == 0);
    CHECK(whole.header.flags == lost);
    // The name is cut, its length is not.
    CHECK(whole.header.namelen == sizeof(::sockaddr_in));
    const framed part(pool, on.of(1)[1], asked);
    CHECK(on.of(1)[1].result == 64);
    CHECK(part.payload == std::string(room, 'x'));
    CHECK(part.header.flags == (lost | cut));
    CHECK(part.header.payloadlen == (real_length ? 300 : room));
}

TEST_CASE("a multishot recvmsg delivers an empty datagram in a buffer, and ends",
          "[engine][contract][message]") {
    driver on;
    udp_end server;
    udp_end client;
    client.connect(server);
    buffers pool(on.get(), 0, 128);
    pool.give_all();
    const ::msghdr asked = asking(sizeof(::sockaddr_in));
    recvmsg_multishot(on, 1, server.socket.get(), asked, 0);
    on.settle();
    client.send("");
    const completion c = on.wait(1);
    CHECK((c.flags & more) == 0);
    REQUIRE((c.flags & with_buffer) != 0);
    const framed got(pool, c, asked);
    CHECK(got.payload.empty());
    CHECK(got.header.payloadlen == 0);
    CHECK(got.port() == client.name.sin_port);
    client.send("next");
    recvmsg_multishot(on, 2, server.socket.get(), asked, 0);
    CHECK(framed(pool, on.wait(2), asked).payload == "next");
}

TEST_CASE("a multishot recvmsg reads its message only once", "[engine][contract][message]") {
    driver on;
    udp_end server;
    udp_end client;
    client.connect(server);
    buffers pool(on.get(), 0, 128);
    pool.give_all();
    ::msghdr asked = asking(sizeof(::sockaddr_in));
    recvmsg_multishot(on, 1, server.socket.get(), asked, 0);
    on.settle();
    const ::msghdr before = asked;
    asked = asking(100, 100);
    client.send("sized as asked");
    CHECK(framed(pool, on.wait(1), before).payload == "sized as asked");
}

TEST_CASE("a multishot recvmsg without a buffer for what came ends and can be armed again",
          "[engine][contract][message]") {
    driver on;
    udp_end server;
    udp_end client;
    client.connect(server);
    buffers pool(on.get(), 0, 128);
    pool.give(0);
    const ::msghdr asked = asking(sizeof(::sockaddr_in));
    recvmsg_multishot(on, 1, server.socket.get(), asked, 0);
    client.send("one");
    client.send("two");
    CHECK(on.wait(1, 2).result == -ENOBUFS);
    CHECK((on.of(1)[1].flags & more) == 0);
    pool.give(1);
    recvmsg_multishot(on, 2, server.socket.get(), asked, 0);
    CHECK(framed(pool, on.wait(2), asked).payload == "two");
}

TEST_CASE("a multishot recvmsg that cannot be is refused", "[engine][contract][message]") {
    driver on;
    udp_end server;
    udp_end client;
    client.connect(server);
    buffers pool(on.get(), 0, 64);
    pool.give_all();
    client.send("stays");
    const ::msghdr large = asking(60);
    recvmsg_multishot(on, 1, server.socket.get(), large, 0);
    CHECK(on.wait(1).result == -EFAULT);
    const ::msghdr asked = asking(16);
    recvmsg_multishot(on, 2, server.socket.get(), asked, 0, MSG_WAITALL);
    CHECK(on.wait(2).result == -EINVAL);
    message(on, IORING_OP_RECVMSG, 3, server.socket.get(), asked).ioprio = IORING_RECV_MULTISHOT;
    CHECK(on.wait(3).result == -EINVAL);
    std::array<::iovec, 2> two{};
    ::msghdr vectors = asking(16);
    vectors.msg_iov = two.data();
    vectors.msg_iovlen = two.size();
    recvmsg_multishot(on, 4, server.socket.get(), vectors, 0);
    CHECK(on.wait(4).result == -EINVAL);
    recvmsg_multishot(on, 5, server.socket.get(), asked, 0);
    CHECK(framed(pool, on.wait(5), asked).payload == "stays");
}

TEST_CASE("a multishot recvmsg on a connected socket ends with what the network refused",
          "[engine][contract][message]") {
    driver on;
    udp_end client;
    {
        udp_end server;
        client.connect(server);
    }
    buffers pool(on.get(), 0, 128);
    pool.give_all();
    const ::msghdr asked = asking(0);
    recvmsg_multishot(on, 1, client.socket.get(), asked, 0);
    on.settle();
    client.send("to nobody");
    CHECK(on.wait(1).result == -ECONNREFUSED);
}

TEST_CASE("a multishot recvmsg keeps up with more datagrams than it has buffers",
          "[engine][contract][message]") {
    driver on;
    udp_end server;
    udp_end client;
    client.connect(server);
    buffers pool(on.get(), 0, 128);
    pool.give_all();
    const ::msghdr asked = asking(sizeof(::sockaddr_in));
    recvmsg_multishot(on, 1, server.socket.get(), asked, 0);
    std::vector<std::string> got;
    for (int n = 0; n < 100; ++n) {
        client.send(std::to_string(n));
        const completion c = on.wait(1, got.size() + 1);
        REQUIRE((c.flags & more) != 0);
        got.push_back(framed(pool, c, asked).payload);
        pool.give(buffers::id_of(c));
        REQUIRE(got.back() == std::to_string(n));
    }
}

TEST_CASE("a one-shot recvmsg puts its payload into a selected buffer",
          "[engine][contract][message]") {
    driver on;
    udp_end server;
    udp_end client;
    client.connect(server);
    buffers pool(on.get(), 0, 32);
    pool.give_all();
    ::sockaddr_in from{};
    ::msghdr header{};
    header.msg_name = &from;
    header.msg_namelen = sizeof from;
    ::iovec length{nullptr, 4};
    const bool limited = GENERATE(false, true);
    if (limited) header.msg_iov = &length;
    if (limited) header.msg_iovlen = 1;
    select(message(on, IORING_OP_RECVMSG, 1, server.socket.get(), header), 0);
    on.settle();
    client.send("payload");
    const completion c = on.wait(1);
    REQUIRE((c.flags & with_buffer) != 0);
    CHECK(pool.text(c) == (limited ? "payl" : "payload"));
    CHECK(from.sin_port == client.name.sin_port);
    CHECK(header.msg_namelen == sizeof from);
    CHECK((header.msg_flags & MSG_TRUNC) == (limited ? MSG_TRUNC : 0));
    // No bytes need no buffer.
    select(message(on, IORING_OP_RECVMSG, 2, server.socket.get(), header), 0);
    client.send("");
    const completion empty = on.wait(2);
    CHECK(empty.result == 0);
    CHECK((empty.flags & with_buffer) == 0);
}

TEST_CASE("sendmsg carries a name and control data", "[engine][contract][message]") {
    driver on;
    udp_end server;
    udp_end client;
    const int enabled = 1;
    REQUIRE(::setsockopt(server.socket.get(), SOL_IP, IP_RECVTOS, &enabled, sizeof enabled) == 0);
    alignas(::cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    std::string text = "named";
    ::iovec payload{text.data(), text.size()};
    ::msghdr header{};
    header.msg_name = server.address();
    header.msg_namelen = sizeof server.name;
    header.msg_iov = &payload;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    ::cmsghdr& tos = *CMSG_FIRSTHDR(&header);
    tos.cmsg_level = SOL_IP;
    tos.cmsg_type = IP_TOS;
    tos.cmsg_len = CMSG_LEN(sizeof(int));
    const int low_delay = 0x10;
    std::memcpy(CMSG_DATA(&tos), &low_delay, sizeof low_delay);
    message(on, IORING_OP_SENDMSG, 1, client.socket.get(), header);
    CHECK(on.wait(1).result == 5);

    buffers pool(on.get(), 0, 128);
    pool.give_all();
    const ::msghdr asked = asking(sizeof(::sockaddr_in), CMSG_SPACE(1));
    recvmsg_multishot(on, 2, server.socket.get(), asked, 0);
    const framed got(pool, on.wait(2), asked);
    CHECK(got.payload == "named");
    CHECK(got.port() == client.name.sin_port);
    REQUIRE(got.header.controllen >= CMSG_LEN(1));
    CHECK(got.control[CMSG_LEN(0)] == 0x10);
}

TEST_CASE("a descriptor passed to a recvmsg of all arrives once and is not lost",
          "[engine][contract][message]") {
    driver on;
    const pair ends = unix_pair();
    const unique_fd passed(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(passed.get() >= 0);
    alignas(::cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> outgoing{};
    std::string text = "with";
    ::iovec payload{text.data(), text.size()};
    ::msghdr header{};
    header.msg_iov = &payload;
    header.msg_iovlen = 1;
    header.msg_control = outgoing.data();
    header.msg_controllen = outgoing.size();
    ::cmsghdr& rights = *CMSG_FIRSTHDR(&header);
    rights.cmsg_level = SOL_SOCKET;
    rights.cmsg_type = SCM_RIGHTS;
    rights.cmsg_len = CMSG_LEN(sizeof(int));
    const int number = passed.get();
    std::memcpy(CMSG_DATA(&rights), &number, sizeof number);
    message(on, IORING_OP_SENDMSG, 1, ends.a.get(), header);
    CHECK(on.wait(1).result == 4);

    alignas(::cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> incoming{};
    std::array<char, 64> room{};
    ::iovec into{room.data(), room.size()};
    ::msghdr taken{};
    taken.msg_iov = &into;
    taken.msg_iovlen = 1;
    taken.msg_control = incoming.data();
    taken.msg_controllen = incoming.size();
    message(on, IORING_OP_RECVMSG, 2, ends.b.get(), taken, MSG_WAITALL | MSG_CMSG_CLOEXEC);
    CHECK(on.wait(2).result == 4);
    ::cmsghdr* got = CMSG_FIRSTHDR(&taken);
    REQUIRE(got != nullptr);
    REQUIRE(got->cmsg_type == SCM_RIGHTS);
    int arrived = -1;
    std::memcpy(&arrived, CMSG_DATA(got), sizeof arrived);
    const unique_fd owned(arrived);
    CHECK(::fcntl(owned.get(), F_GETFD) == FD_CLOEXEC);
}
