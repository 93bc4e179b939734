// A short count is one that the kernel could have given, and never one that loses something.
#include <rondo/testing/short_entry.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <rondo/detail/unique_fd.hpp>

#include <support/faulty_stage.hpp>

namespace {

using namespace rondo::test;
using rondo::detail::unique_fd;
using rondo::testing::fault;
using rondo::testing::fault_plan;

TEST_CASE("receives are shortened on streams, never to nothing", "[testing][faulty]") {
    const auto [reader, writer] = socket_pair(SOCK_STREAM);
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        stage s{all_of(seed, fault::short_receive)};
        s.add(IORING_OP_RECV, 1, reader.get()).len = 100;
        s.turn();
        CHECK(s.passed().len >= 1);
        CHECK(s.passed().len < 100);
        io_uring_sqe& selecting = s.add(IORING_OP_RECV, 2, reader.get());
        selecting.flags = IOSQE_BUFFER_SELECT;
        s.turn();
        CHECK(s.passed().len >= 1);
        s.add_multishot(3, reader.get());
        s.turn();
        CHECK(s.passed().ioprio == 0);
        CHECK(s.passed().len >= 1);
        CHECK(s.faulty.injected(fault::short_receive) == 3);
    }
}

TEST_CASE("a receive is left whole where a part would be wrong", "[testing][faulty]") {
    const auto [stream, other] = socket_pair(SOCK_STREAM);
    const auto [datagrams, other_end] = socket_pair(SOCK_DGRAM);
    stage s{all_of(1, fault::short_receive)};
    io_uring_sqe& whole = s.add(IORING_OP_RECV, 1, stream.get());
    whole.len = 100;
    whole.msg_flags = unsigned_flag(MSG_WAITALL);
    s.add(IORING_OP_RECV, 2, datagrams.get()).len = 100;
    s.add(IORING_OP_RECV, 3, -1).len = 100;
    s.turn();
    for (const io_uring_sqe& each : s.script->taken) CHECK(each.len == 100);
    s.add(IORING_OP_RECV, 4, stream.get()).len = 1;
    s.turn();
    CHECK(s.passed().len == 1);
    CHECK(s.faulty.injected(fault::short_receive) == 0);
}

TEST_CASE("reads and writes of files are shortened, writes to a pipe never",
          "[testing][faulty]") {
    const unique_fd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    REQUIRE(file.get() >= 0);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const unique_fd reader(ends[0]);
    const unique_fd writer(ends[1]);
    for (std::uint64_t seed = 0; seed < 16; ++seed) {
        stage s{all_of(seed, fault::short_receive, fault::short_send)};
        s.add(IORING_OP_READ, 1, file.get()).len = 100;
        s.add(IORING_OP_WRITE, 2, file.get()).len = 100;
        s.add(IORING_OP_READ, 3, reader.get()).len = 100;
        s.turn();
        for (const io_uring_sqe& each : s.script->taken) {
            CHECK(each.len >= 1);
            CHECK(each.len < 100);
        }
        s.add(IORING_OP_WRITE, 4, writer.get()).len = 100;
        s.turn();
        CHECK(s.passed().len == 100);
        s.add(IORING_OP_WRITE, 5, file.get()).len = 1;
        s.turn();
        CHECK(s.passed().len == 1);
        CHECK(s.faulty.injected(fault::short_receive) == 2);
        CHECK(s.faulty.injected(fault::short_send) == 1);
    }
}

TEST_CASE("a short send completes visibly", "[testing][faulty]") {
    const auto [stream, other] = socket_pair(SOCK_STREAM);
    const auto [datagrams, other_end] = socket_pair(SOCK_DGRAM);
    stage s{all_of(1, fault::short_send)};
    io_uring_sqe& all = s.add(IORING_OP_SEND, 1, stream.get());
    all.len = 1000;
    all.flags = IOSQE_CQE_SKIP_SUCCESS;
    all.msg_flags = unsigned_flag(MSG_WAITALL | MSG_NOSIGNAL);
    s.turn();
    CHECK(s.passed().len >= 1);
    CHECK(s.passed().len < 1000);
    CHECK(s.passed().flags == 0);
    CHECK(s.passed().msg_flags == unsigned_flag(MSG_NOSIGNAL));
    s.add(IORING_OP_SEND, 2, stream.get()).len = 1000;
    s.turn();
    CHECK(s.passed().len < 1000);
    CHECK(s.faulty.injected(fault::short_send) == 2);

    io_uring_sqe& hidden = s.add(IORING_OP_SEND, 3, stream.get());
    hidden.len = 1000;
    hidden.flags = IOSQE_CQE_SKIP_SUCCESS;
    s.turn();
    CHECK(s.passed().len == 1000);
    CHECK(s.passed().flags == IOSQE_CQE_SKIP_SUCCESS);
    s.add(IORING_OP_SEND, 4, datagrams.get()).len = 1000;
    s.turn();
    CHECK(s.passed().len == 1000);
    CHECK(s.faulty.injected(fault::short_send) == 2);
}

TEST_CASE("a gather send is shortened in a copy that lives until its completion",
          "[testing][faulty]") {
    const auto [stream, other] = socket_pair(SOCK_STREAM);
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        stage s{all_of(seed, fault::short_send)};
        std::array<char, 30> bytes{};
        std::array<iovec, 3> parts{{{bytes.data(), 10}, {bytes.data() + 10, 0},
                                    {bytes.data() + 10, 20}}};
        msghdr header{};
        header.msg_iov = parts.data();
        header.msg_iovlen = parts.size();
        io_uring_sqe& entry = s.add(IORING_OP_SENDMSG, 1, stream.get());
        entry.addr = reinterpret_cast<std::uintptr_t>(&header);
        entry.len = 1;
        entry.flags = IOSQE_CQE_SKIP_SUCCESS;
        entry.msg_flags = unsigned_flag(MSG_WAITALL);
        s.turn();
        header = {};
        parts = {};
        s.turn();
        CHECK(s.passed().flags == 0);
        CHECK(s.passed().msg_flags == 0);
        const auto* copy = reinterpret_cast<const msghdr*>(s.passed().addr);
        REQUIRE(copy->msg_iovlen == 3);
        const iovec* part = copy->msg_iov;
        const std::size_t total = part[0].iov_len + part[1].iov_len + part[2].iov_len;
        CHECK(total >= 1);
        CHECK(total < 30);
        CHECK(part[0].iov_base == bytes.data());
        CHECK(part[0].iov_len == std::min<std::size_t>(total, 10));
        s.script->post(1, static_cast<int>(total));
        CHECK(s.turn().size() == 1);
    }
}

TEST_CASE("a message is received in part on a stream alone", "[testing][faulty]") {
    const auto [stream, other] = socket_pair(SOCK_STREAM);
    const auto [datagrams, other_end] = socket_pair(SOCK_DGRAM);
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        for (const bool is_stream : {true, false}) {
            stage s{all_of(seed, fault::short_receive)};
            std::array<std::byte, 100> room{};
            ::iovec part{room.data(), room.size()};
            ::msghdr header{};
            header.msg_iov = &part;
            header.msg_iovlen = 1;
            const int descriptor = is_stream ? stream.get() : datagrams.get();
            s.add(IORING_OP_RECVMSG, 1, descriptor).addr =
                reinterpret_cast<std::uintptr_t>(&header);
            s.turn();
            CHECK(part.iov_len >= 1);
            CHECK((part.iov_len < room.size()) == is_stream);
            CHECK(s.faulty.injected(fault::short_receive) == (is_stream ? 1 : 0));
        }
    }
}

TEST_CASE("a receive on a Unix socket is left no room for a descriptor", "[testing][faulty]") {
    const auto [unix_end, other_end] = socket_pair(SOCK_DGRAM);
    const unique_fd udp(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    REQUIRE(udp.get() >= 0);
    for (std::uint64_t seed = 0; seed < 32; ++seed) {
        stage s{all_of(seed, fault::control_cut)};
        msghdr header{};
        const auto room_left = [&](int descriptor, std::size_t room, unsigned multishot) {
            header.msg_controllen = room;
            io_uring_sqe& entry = s.add(IORING_OP_RECVMSG, 1, descriptor);
            entry.addr = reinterpret_cast<std::uintptr_t>(&header);
            entry.ioprio = static_cast<__u16>(multishot);
            s.turn();
            CHECK(s.passed().addr == entry.addr);
            return header.msg_controllen;
        };
        CHECK(room_left(unix_end.get(), CMSG_LEN(3 * sizeof(int)), 0) < CMSG_LEN(sizeof(int)));
        CHECK(room_left(unix_end.get(), 4, 0) < 4);
        CHECK(s.faulty.injected(fault::control_cut) == 2);
        CHECK(room_left(unix_end.get(), 0, 0) == 0);
        CHECK(room_left(unix_end.get(), 64, IORING_RECV_MULTISHOT) == 64);
        CHECK(room_left(udp.get(), 64, 0) == 64);
        CHECK(s.faulty.injected(fault::control_cut) == 2);
    }
}

}  // namespace
