// Every fault is seen to happen, to be legal and to lose nothing: on a scripted inner engine for
// the exact entries and completions, on the real engines for whole conversations.
#include <rondo/testing/faulty_engine.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/abi.hpp>
#include <rondo/engine/epoll_engine.hpp>
#include <rondo/engine/uring_engine.hpp>
#include <rondo/testing/kernel_errors.hpp>

#include <support/needs_ring.hpp>

namespace {

using rondo::completion;
using rondo::engine;
using rondo::engine_options;
using rondo::feature;
using rondo::detail::unique_fd;
using rondo::testing::fault;
using rondo::testing::fault_plan;
using rondo::testing::faulty_engine;

constexpr unsigned always = 1000;
constexpr engine::duration no_wait = engine::no_wait;

template <typename... Kinds>
fault_plan all_of(std::uint64_t seed, Kinds... kinds) {
    fault_plan plan;
    plan.seed = seed;
    (plan.with(kinds, always), ...);
    return plan;
}

/// Takes entries and remembers them; completes what it is told to, at its next enter().
class scripted_engine final : public engine {
public:
    explicit scripted_engine(unsigned entries = 64) : memory_(entries * entry_size) {
        sq_ = {memory_.data(), 0, entries, 0, entries - 1, entries};
        cq_ = {completions_.data(), &head_, &tail_, 4095};
        features_ = rondo::feature_set::all();
    }

    bool enter(duration timeout) override {
        waits.push_back(timeout);
        if (on_enter) on_enter();
        const bool any = pending_entries() != 0;
        for (; sq_.head != sq_.tail; set_taken(sq_.head + 1)) {
            io_uring_sqe entry{};
            const std::byte* at = sq_.entries + entry_size * (sq_.head & sq_.mask);
            std::copy_n(at, entry_size, reinterpret_cast<std::byte*>(&entry));
            taken.push_back(entry);
            if (on_entry) on_entry(entry);
        }
        for (const completion& each : posted) completions_[tail_++ & cq_.mask] = each;
        posted.clear();
        return any;
    }
    std::error_code register_buffer_ring(std::uint16_t group, void*, unsigned) override {
        groups.insert(group);
        return {};
    }
    void unregister_buffer_ring(std::uint16_t group) noexcept override { groups.erase(group); }
    void forget(int descriptor) noexcept override { forgotten = descriptor; }
    std::string_view name() const noexcept override { return "scripted"; }
    std::uint64_t overflows() const noexcept override { return 0; }

    void deny(feature f) noexcept { features_ = features_ - f; }
    void post(std::uint64_t user_data, int result, unsigned flags = 0) {
        posted.push_back({user_data, result, flags});
    }

    std::vector<io_uring_sqe> taken;
    std::vector<duration> waits;
    std::vector<completion> posted;
    std::function<void(const io_uring_sqe&)> on_entry;
    std::function<void()> on_enter;
    std::set<std::uint16_t> groups;
    int forgotten = -1;

private:
    std::vector<std::byte> memory_;
    std::array<completion, 4096> completions_{};
    unsigned head_ = 0;
    unsigned tail_ = 0;
};

/// A faulty engine around a scripted one.
struct stage {
    scripted_engine* script;
    faulty_engine faulty;

    explicit stage(fault_plan plan, engine_options options = {.entries = 64, .completions = 256},
                   std::unique_ptr<scripted_engine> inner = std::make_unique<scripted_engine>())
        : script(inner.get()), faulty(std::move(inner), std::move(plan), options) {}

    io_uring_sqe& add(unsigned opcode, std::uint64_t user_data, int descriptor = -1) {
        io_uring_sqe* entry = faulty.next_entry();
        REQUIRE(entry != nullptr);
        *entry = {};
        entry->opcode = static_cast<__u8>(opcode);
        entry->fd = descriptor;
        entry->user_data = user_data;
        return *entry;
    }
    io_uring_sqe& add_multishot(std::uint64_t user_data, int descriptor = -1) {
        io_uring_sqe& entry = add(IORING_OP_RECV, user_data, descriptor);
        entry.ioprio = IORING_RECV_MULTISHOT;
        entry.flags = IOSQE_BUFFER_SELECT;
        return entry;
    }
    std::vector<completion> turn(engine::duration timeout = no_wait) {
        faulty.enter(timeout);
        std::vector<completion> seen;
        const unsigned end = faulty.completions_end();
        for (unsigned i = faulty.completions_begin(); i != end; ++i) {
            seen.push_back(faulty.completion_at(i));
        }
        faulty.completions_consumed(end);
        return seen;
    }
    /// The one entry that came through last.
    const io_uring_sqe& passed() const {
        REQUIRE(!script->taken.empty());
        return script->taken.back();
    }
};

std::pair<unique_fd, unique_fd> socket_pair(int type) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}

constexpr unsigned unsigned_flag(int message_flag) { return static_cast<unsigned>(message_flag); }

TEST_CASE("without faults entries and completions go through unchanged", "[testing][faulty]") {
    stage s{fault_plan{}};
    io_uring_sqe& entry = s.add_multishot(7, 3);
    entry.file_index = 99;
    entry.msg_flags = unsigned_flag(MSG_DONTWAIT);
    CHECK(s.turn().empty());
    CHECK(s.faulty.pending_entries() == 0);
    REQUIRE(s.script->taken.size() == 1);
    CHECK(s.passed().opcode == IORING_OP_RECV);
    CHECK(s.passed().ioprio == IORING_RECV_MULTISHOT);
    CHECK(s.passed().flags == IOSQE_BUFFER_SELECT);
    CHECK(s.passed().file_index == 99);
    CHECK(s.passed().fd == 3);
    s.script->post(7, 5, IORING_CQE_F_MORE | IORING_CQE_F_BUFFER);
    s.script->post(7, 0);
    const auto seen = s.turn(engine::forever);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].flags == (IORING_CQE_F_MORE | IORING_CQE_F_BUFFER));
    CHECK(seen[1].result == 0);
    CHECK(s.script->waits.back() == engine::forever);
    for (const std::uint64_t count : s.faulty.injected()) CHECK(count == 0);
    CHECK(s.faulty.name() == "faulty(scripted)");
}

TEST_CASE("a rule strikes the nth entry of its opcode, skipped success or not",
          "[testing][faulty]") {
    fault_plan plan;
    plan.rules.push_back({IORING_OP_CONNECT, 2, fault::error, ECONNREFUSED});
    plan.rules.push_back({IORING_OP_SEND, 1, fault::error, EPIPE});
    stage s{plan};
    s.add(IORING_OP_CONNECT, 1);
    s.add(IORING_OP_CONNECT, 2);
    s.add(IORING_OP_CONNECT, 3);
    s.add(IORING_OP_SEND, 4).flags = IOSQE_CQE_SKIP_SUCCESS;
    const auto seen = s.turn(engine::forever);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].user_data == 2);
    CHECK(seen[0].result == -ECONNREFUSED);
    CHECK(seen[0].flags == 0);
    CHECK(seen[1].user_data == 4);
    CHECK(seen[1].result == -EPIPE);
    REQUIRE(s.script->taken.size() == 2);
    CHECK(s.script->taken[0].user_data == 1);
    CHECK(s.script->taken[1].user_data == 3);
    CHECK(s.script->waits.back() == no_wait);
    CHECK(s.faulty.injected(fault::error) == 2);
}

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

TEST_CASE("requests are refused only with what the kernel can answer", "[testing][faulty]") {
    struct {
        fault kind;
        unsigned opcode;
        int message_flags;
        unsigned entry_flags;
        int error;  // 0: let through
    } const cases[] = {
        {fault::interrupted_request, IORING_OP_RECV, 0, 0, EINTR},
        {fault::interrupted_request, IORING_OP_SEND, MSG_WAITALL, 0, EINTR},
        {fault::interrupted_request, IORING_OP_SENDMSG, 0, 0, EINTR},
        {fault::interrupted_request, IORING_OP_ACCEPT, 0, 0, EINTR},
        {fault::interrupted_request, IORING_OP_SEND_ZC, 0, 0, EINTR},
        {fault::interrupted_request, IORING_OP_READ, 0, 0, EINTR},
        {fault::interrupted_request, IORING_OP_WRITE, 0, 0, EINTR},
        {fault::interrupted_request, IORING_OP_OPENAT, 0, 0, EINTR},
        {fault::interrupted_request, IORING_OP_FSYNC, 0, 0, 0},
        {fault::interrupted_request, IORING_OP_POLL_ADD, 0, 0, 0},
        {fault::interrupted_request, IORING_OP_CONNECT, 0, 0, 0},
        {fault::interrupted_request, IORING_OP_ASYNC_CANCEL, 0, 0, 0},
        {fault::would_block, IORING_OP_RECV, MSG_DONTWAIT, 0, EAGAIN},
        {fault::would_block, IORING_OP_SEND, MSG_DONTWAIT, 0, EAGAIN},
        {fault::would_block, IORING_OP_RECV, 0, 0, 0},
        {fault::would_block, IORING_OP_ACCEPT, MSG_DONTWAIT, 0, 0},
        {fault::no_buffers, IORING_OP_RECV, 0, IOSQE_BUFFER_SELECT, ENOBUFS},
        {fault::no_buffers, IORING_OP_RECVMSG, 0, IOSQE_BUFFER_SELECT, ENOBUFS},
        {fault::no_buffers, IORING_OP_RECV, 0, 0, 0},
        {fault::out_of_memory, IORING_OP_RECV, 0, 0, ENOMEM},
        {fault::out_of_memory, IORING_OP_POLL_ADD, 0, 0, ENOMEM},
        {fault::out_of_memory, IORING_OP_ASYNC_CANCEL, 0, 0, 0},
        {fault::out_of_memory, IORING_OP_CONNECT, 0, 0, 0},
    };
    for (const auto& each : cases) {
        CAPTURE(to_string(each.kind), each.opcode, each.message_flags);
        stage s{all_of(1, each.kind)};
        io_uring_sqe& entry = s.add(each.opcode, 1);
        entry.msg_flags = unsigned_flag(each.message_flags);
        entry.flags = static_cast<__u8>(each.entry_flags);
        const auto seen = s.turn();
        CHECK(s.faulty.injected(each.kind) == (each.error != 0 ? 1 : 0));
        CHECK(s.script->taken.size() == (each.error != 0 ? 0 : 1));
        REQUIRE(seen.size() == (each.error != 0 ? 1 : 0));
        if (each.error == 0) continue;
        CHECK(seen[0].result == -each.error);
        CHECK(seen[0].flags == 0);
    }
}

TEST_CASE("an accept fails with each error that leaves the listener usable",
          "[testing][faulty]") {
    std::set<int> errors;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        stage s{all_of(seed, fault::accept_error)};
        s.add(IORING_OP_ACCEPT, 1);
        const auto seen = s.turn();
        REQUIRE(seen.size() == 1);
        errors.insert(-seen[0].result);
    }
    CHECK(errors == std::set<int>{EMFILE, ENFILE, ECONNABORTED, ENOBUFS});
    fault_plan plan;
    plan.rules.push_back({IORING_OP_ACCEPT, 1, fault::accept_error, EMFILE});
    stage s{plan};
    s.add(IORING_OP_ACCEPT, 1);
    CHECK(s.turn().at(0).result == -EMFILE);
}

TEST_CASE("ENOBUFS ends a multishot at once or behind its data, never behind the end",
          "[testing][faulty]") {
    int at_once = 0;
    int later = 0;
    for (std::uint64_t seed = 0; seed < 64; ++seed) {
        stage s{all_of(seed, fault::no_buffers)};
        s.add_multishot(1);
        if (const auto seen = s.turn(); !seen.empty()) {
            ++at_once;
            CHECK(seen.size() == 1);
            CHECK(seen[0].result == -ENOBUFS);
            CHECK(s.script->taken.empty());
            continue;
        }
        ++later;
        CHECK(s.passed().ioprio == 0);
        const int result = seed % 2 == 0 ? 9 : 0;
        s.script->post(1, result, result != 0 ? IORING_CQE_F_BUFFER | (5u << 16) : 0);
        const auto seen = s.turn();
        if (result == 0) {
            REQUIRE(seen.size() == 1);
            CHECK(seen[0].result == 0);
            CHECK(seen[0].flags == 0);
            continue;
        }
        REQUIRE(seen.size() == 2);
        CHECK(seen[0].result == 9);
        CHECK(seen[0].flags == (IORING_CQE_F_BUFFER | IORING_CQE_F_MORE | (5u << 16)));
        CHECK(seen[1].result == -ENOBUFS);
        CHECK(seen[1].flags == 0);
    }
    CHECK(at_once > 0);
    CHECK(later > 0);
}

TEST_CASE("a multishot ended early is a request that ends by itself", "[testing][faulty]") {
    const auto [stream, other] = socket_pair(SOCK_STREAM);
    int limited = 0;
    for (std::uint64_t seed = 0; seed < 64; ++seed) {
        stage s{all_of(seed, fault::early_end)};
        s.add_multishot(1, stream.get()).file_index = 50;
        s.turn();
        if (s.passed().ioprio == IORING_RECV_MULTISHOT) {
            ++limited;
            CHECK(s.passed().file_index >= 1);
            CHECK(s.passed().file_index <= 50);
        } else {
            // What the limit promised holds for the one-shot, too.
            CHECK(s.passed().file_index == 0);
            CHECK(s.passed().len == 50);
        }
    }
    CHECK(limited > 0);
    CHECK(limited < 64);

    auto inner = std::make_unique<scripted_engine>();
    inner->deny(feature::receive_limit);
    stage s{all_of(1, fault::early_end), {}, std::move(inner)};
    s.add_multishot(1, stream.get());
    s.turn();
    CHECK(s.passed().ioprio == 0);
    s.add(IORING_OP_ACCEPT, 2).ioprio = IORING_ACCEPT_MULTISHOT;
    s.turn();
    CHECK(s.passed().ioprio == 0);
    s.add(IORING_OP_POLL_ADD, 3).len = IORING_POLL_ADD_MULTI;
    s.turn();
    CHECK(s.passed().len == 0);
    io_uring_sqe& message = s.add(IORING_OP_RECVMSG, 4);
    message.ioprio = IORING_RECV_MULTISHOT;
    s.turn();
    CHECK(s.passed().ioprio == IORING_RECV_MULTISHOT);
    CHECK(s.faulty.injected(fault::early_end) == 4);
}

TEST_CASE("a multishot of messages ends early behind its data, by a cancel nobody sees",
          "[testing][faulty]") {
    // With an error behind the data, and without one.
    const fault kind = GENERATE(fault::early_end, fault::no_buffers);
    constexpr unsigned data = IORING_CQE_F_BUFFER;
    int cut = 0;
    for (std::uint64_t seed = 0; seed < 16; ++seed) {
        stage s{all_of(seed, kind)};
        io_uring_sqe& entry = s.add(IORING_OP_RECVMSG, 4);
        entry.ioprio = IORING_RECV_MULTISHOT;
        entry.flags = IOSQE_BUFFER_SELECT;
        std::vector<completion> seen = s.turn();
        if (seen.size() == 1) {
            CHECK(seen[0].result == -ENOBUFS);
            CHECK(s.script->taken.empty());
            continue;
        }
        ++cut;
        s.script->post(4, 10, data | IORING_CQE_F_MORE);
        s.script->post(4, 11, data | IORING_CQE_F_MORE);
        seen = s.turn();
        CHECK(seen.size() == 1);
        s.turn();
        CHECK(s.passed().opcode == IORING_OP_ASYNC_CANCEL);
        CHECK(s.passed().addr == 4);
        CHECK((s.passed().flags & IOSQE_CQE_SKIP_SUCCESS) != 0);
        s.script->post(4, -ECANCELED);
        for (const completion& each : s.turn()) seen.push_back(each);
        const std::size_t count = kind == fault::no_buffers ? 3 : 2;
        REQUIRE(seen.size() == count);
        CHECK(seen[0].result == 10);
        CHECK(seen[0].flags == (data | IORING_CQE_F_MORE));
        CHECK(seen[1].result == 11);
        CHECK(seen[1].flags == (count == 2 ? data : data | IORING_CQE_F_MORE));
        if (count == 3) CHECK(seen[2].result == -ENOBUFS);
        if (count == 3) CHECK(seen[2].flags == 0);
    }
    CHECK(cut > 0);
    CHECK((kind == fault::early_end) == (cut == 16));
}

TEST_CASE("a multishot of messages that ends by itself first is left as it is",
          "[testing][faulty]") {
    stage s{all_of(1, fault::early_end)};
    io_uring_sqe& entry = s.add(IORING_OP_RECVMSG, 4);
    entry.ioprio = IORING_RECV_MULTISHOT;
    entry.flags = IOSQE_BUFFER_SELECT;
    s.turn();
    s.script->post(4, 10, IORING_CQE_F_BUFFER | IORING_CQE_F_MORE);
    s.script->post(4, -ENOBUFS);
    const std::vector<completion> seen = s.turn();
    REQUIRE(seen.size() == 2);
    CHECK((seen[0].flags & IORING_CQE_F_MORE) != 0);
    CHECK(seen[1].result == -ENOBUFS);
    s.turn();
    CHECK(s.script->taken.size() == 1);
}

TEST_CASE("held completions come later, in the order of their request", "[testing][faulty]") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        fault_plan plan;
        plan.seed = seed;
        plan.with(fault::held_completion, 400);
        plan.longest_hold = 4;
        stage s{plan};
        for (std::uint64_t id = 1; id <= 8; ++id) s.add_multishot(id);
        s.turn();
        for (int round = 1; round <= 10; ++round) {
            for (std::uint64_t id = 1; id <= 8; ++id) {
                s.script->post(id, round, round < 10 ? IORING_CQE_F_MORE : 0);
            }
        }
        std::map<std::uint64_t, std::vector<int>> results;
        // Nothing is held longer than longest_hold, whatever queues up behind it.
        for (int turns = 0; turns <= 4; ++turns) {
            for (const completion& each : s.turn()) {
                results[each.user_data].push_back(each.result);
            }
        }
        REQUIRE(results.size() == 8);
        for (const auto& [id, got] : results) {
            CHECK(got == std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
        }
        CHECK(s.faulty.injected(fault::held_completion) > 0);
    }
}

TEST_CASE("while a completion is held, enter does not wait for long", "[testing][faulty]") {
    fault_plan plan;
    plan.longest_hold = 3;
    plan.rules.push_back({IORING_OP_POLL_ADD, 1, fault::held_completion});
    stage s{plan};
    s.script->on_entry = [&](const io_uring_sqe& entry) { s.script->post(entry.user_data, 1); };
    s.add(IORING_OP_POLL_ADD, 1);
    s.add(IORING_OP_POLL_ADD, 2);
    const auto first = s.turn(engine::forever);
    REQUIRE(first.size() == 1);
    CHECK(first[0].user_data == 2);
    std::vector<completion> seen;
    for (int turns = 0; turns < 3 && seen.empty(); ++turns) {
        seen = s.turn(engine::forever);
        CHECK(s.script->waits.back() <= std::chrono::milliseconds(1));
    }
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user_data == 1);
    CHECK(s.turn(engine::forever).empty());
    CHECK(s.script->waits.back() == engine::forever);
}

TEST_CASE("swapped completions keep each request's order", "[testing][faulty]") {
    bool swapped = false;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        fault_plan plan;
        plan.seed = seed;
        plan.with(fault::swapped_completions, 600);
        stage s{plan};
        for (std::uint64_t id = 1; id <= 5; ++id) s.add_multishot(id);
        s.turn();
        for (int round = 0; round < 6; ++round) {
            for (std::uint64_t id = 1; id <= 5; ++id) {
                s.script->post(id, round, round < 5 ? IORING_CQE_F_MORE : 0);
            }
        }
        std::array<int, 6> next{};
        std::vector<std::uint64_t> order;
        for (const completion& each : s.turn()) {
            order.push_back(each.user_data);
            CHECK(each.result == next[each.user_data]++);
        }
        CHECK(order.size() == 30);
        for (std::size_t i = 0; i < order.size(); ++i) swapped |= order[i] != i % 5 + 1;
    }
    CHECK(swapped);
}

TEST_CASE("a partial submission leaves the rest prepared, in order", "[testing][faulty]") {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        stage s{all_of(seed, fault::partial_submit), {.entries = 4, .completions = 8}};
        CHECK(s.faulty.entry_capacity() == 4);
        std::uint64_t next = 1;
        while (next <= 40) {
            if (io_uring_sqe* entry = s.faulty.next_entry()) {
                *entry = {};
                entry->opcode = IORING_OP_NOP;
                entry->user_data = next++;
                continue;
            }
            CHECK(s.faulty.pending_entries() == 4);
            s.faulty.enter(no_wait);
            CHECK(s.faulty.pending_entries() < 4);
        }
        CHECK(s.script->taken.size() + s.faulty.pending_entries() == 40);
        s.faulty.enter(engine::forever);
        // What was left is to be taken: no waiting.
        CHECK(s.script->waits.back() == (s.faulty.pending_entries() != 0 ? no_wait
                                                                         : engine::forever));
        for (std::size_t i = 0; i < s.script->taken.size(); ++i) {
            CHECK(s.script->taken[i].user_data == i + 1);
        }
        CHECK(s.faulty.injected(fault::partial_submit) > 0);
    }
}

TEST_CASE("a chain of links is taken whole and left alone", "[testing][faulty]") {
    const auto [stream, other] = socket_pair(SOCK_STREAM);
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        stage s{all_of(seed, fault::partial_submit, fault::short_send,
                       fault::interrupted_request),
                {.entries = 8, .completions = 8}, std::make_unique<scripted_engine>(8)};
        for (std::uint64_t id = 1; id <= 8; ++id) {
            io_uring_sqe& entry = s.add(IORING_OP_SEND, id, stream.get());
            entry.len = 100;
            if (id % 4 != 0) entry.flags = IOSQE_IO_LINK;
        }
        s.faulty.enter(no_wait);
        CHECK(s.script->taken.size() % 4 == 0);
        while (s.faulty.pending_entries() != 0) s.faulty.enter(no_wait);
        REQUIRE(s.script->taken.size() == 8);
        for (const io_uring_sqe& each : s.script->taken) CHECK(each.len == 100);
    }
}

TEST_CASE("what overflows is counted and delivered later, in order", "[testing][faulty]") {
    stage s{fault_plan{}, {.entries = 4, .completions = 8}};
    CHECK(s.faulty.completion_capacity() == 8);
    s.add_multishot(1);
    s.turn();
    for (int i = 0; i < 30; ++i) s.script->post(1, i, i < 29 ? IORING_CQE_F_MORE : 0);
    s.faulty.enter(engine::forever);
    CHECK(s.faulty.completions_end() - s.faulty.completions_begin() == 8);
    CHECK(s.faulty.overflows() == 22);
    // Nothing was read: nothing moves, and nobody waits.
    s.faulty.enter(engine::forever);
    CHECK(s.script->waits.back() == no_wait);
    CHECK(s.faulty.overflows() == 22);
    std::vector<int> results;
    for (int turns = 0; turns < 5; ++turns) {
        for (const completion& each : s.turn(engine::forever)) results.push_back(each.result);
    }
    REQUIRE(results.size() == 30);
    CHECK(std::ranges::is_sorted(results));
}

TEST_CASE("an interrupted enter does nothing, an interrupted wait submits", "[testing][faulty]") {
    stage before{all_of(1, fault::interrupted_enter)};
    before.add(IORING_OP_NOP, 1);
    CHECK(before.faulty.enter(engine::forever));
    CHECK(before.script->waits.empty());
    CHECK(before.faulty.pending_entries() == 1);
    CHECK(before.faulty.injected(fault::interrupted_enter) == 1);

    stage during{all_of(1, fault::interrupted_wait)};
    during.add(IORING_OP_NOP, 1);
    during.faulty.enter(engine::forever);
    CHECK(during.script->taken.size() == 1);
    CHECK(during.script->waits == std::vector<engine::duration>{no_wait});
    CHECK(during.faulty.injected(fault::interrupted_wait) == 1);

    stage idle{all_of(1, fault::interrupted_enter, fault::interrupted_wait)};
    CHECK_FALSE(idle.faulty.enter(no_wait));
    CHECK(idle.faulty.injected(fault::interrupted_enter) == 0);
    CHECK(idle.faulty.injected(fault::interrupted_wait) == 0);
}

TEST_CASE("a late cancel holds up what is behind it and nothing overtakes it",
          "[testing][faulty]") {
    fault_plan plan = all_of(1, fault::late_cancel);
    plan.longest_hold = 4;
    stage s{plan};
    s.add_multishot(1);
    s.add(IORING_OP_ASYNC_CANCEL, 2).addr = 1;
    s.add(IORING_OP_NOP, 3);
    s.turn(engine::forever);
    REQUIRE(s.script->taken.size() == 1);
    CHECK(s.script->waits.back() == no_wait);
    CHECK(s.faulty.pending_entries() == 2);
    int turns = 1;
    for (; s.faulty.pending_entries() != 0 && turns <= 4; ++turns) s.turn();
    CHECK(s.faulty.pending_entries() == 0);
    REQUIRE(s.script->taken.size() == 3);
    CHECK(s.script->taken[1].opcode == IORING_OP_ASYNC_CANCEL);
    CHECK(s.script->taken[2].opcode == IORING_OP_NOP);
    CHECK(s.faulty.injected(fault::late_cancel) == 1);
}

TEST_CASE("a cancel answered by EALREADY still ends its target", "[testing][faulty]") {
    fault_plan plan = all_of(1, fault::cancel_already);
    plan.longest_hold = 4;
    stage s{plan};
    s.add_multishot(10);
    io_uring_sqe& cancel = s.add(IORING_OP_ASYNC_CANCEL, 11);
    cancel.addr = 10;
    cancel.flags = IOSQE_CQE_SKIP_SUCCESS;
    const auto seen = s.turn(engine::forever);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user_data == 11);
    CHECK(seen[0].result == -EALREADY);
    REQUIRE(s.script->taken.size() == 1);
    // It is asked, and asked again where the kernel has missed it, so no wait is for ever.
    for (int turns = 0; turns < 9 && s.script->taken.size() < 3; ++turns) {
        CHECK(s.turn(engine::forever).empty());
        CHECK(s.script->waits.back() != engine::forever);
        if (s.script->taken.size() == 1) continue;
        CHECK(s.passed().opcode == IORING_OP_ASYNC_CANCEL);
        CHECK(s.passed().addr == 10);
        // Its own answer is nobody's business.
        s.script->post(s.passed().user_data, -ENOENT);
    }
    REQUIRE(s.script->taken.size() == 3);
    s.script->post(10, -ECANCELED);
    const auto end = s.turn(engine::forever);
    REQUIRE(end.size() == 1);
    CHECK(end[0].user_data == 10);
    CHECK(s.turn(engine::forever).empty());
    CHECK(s.script->waits.back() == engine::forever);
    CHECK(s.script->taken.size() == 3);
}

TEST_CASE("a deferred cancel never reaches a later request", "[testing][faulty]") {
    stage s{all_of(1, fault::cancel_already)};
    s.add(IORING_OP_RECV, 10);
    s.add(IORING_OP_ASYNC_CANCEL, 11).addr = 10;
    s.turn();
    s.script->post(10, 5);
    CHECK(s.turn().size() == 1);
    s.add(IORING_OP_RECV, 10);
    for (int turns = 0; turns < 20; ++turns) s.turn();
    CHECK(s.script->taken.size() == 2);

    // For a target that is not under way the inner engine answers.
    s.script->post(10, 5);
    s.turn();
    s.add(IORING_OP_ASYNC_CANCEL, 12).addr = 10;
    s.turn();
    CHECK(s.passed().user_data == 12);
    CHECK(s.faulty.injected(fault::cancel_already) == 1);
}

TEST_CASE("a poll ends with what it asked for, although nothing is there", "[testing][faulty]") {
    stage s{all_of(1, fault::spurious_readiness)};
    s.add(IORING_OP_POLL_ADD, 1).poll32_events = POLLOUT;
    io_uring_sqe& many = s.add(IORING_OP_POLL_ADD, 2);
    many.poll32_events = POLLIN;
    many.len = IORING_POLL_ADD_MULTI;
    const auto seen = s.turn();
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].result == POLLOUT);
    CHECK(seen[1].result == POLLIN);
    CHECK((seen[1].flags & IORING_CQE_F_MORE) == 0);
    CHECK(s.script->taken.empty());
    CHECK(s.faulty.injected(fault::spurious_readiness) == 2);
}

TEST_CASE("the notification of a zero-copy send comes late, behind its count",
          "[testing][faulty]") {
    fault_plan plan = all_of(1, fault::late_notification);
    plan.longest_hold = 4;
    stage s{plan};
    s.add(IORING_OP_SEND_ZC, 1).len = 10;
    s.turn();
    s.script->post(1, 10, IORING_CQE_F_MORE);
    s.script->post(1, 0, IORING_CQE_F_NOTIF);
    auto seen = s.turn();
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].result == 10);
    CHECK(seen[0].flags == IORING_CQE_F_MORE);
    seen.clear();
    for (int turns = 0; turns < 4 && seen.empty(); ++turns) seen = s.turn(engine::forever);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].flags == IORING_CQE_F_NOTIF);
    CHECK(s.faulty.injected(fault::late_notification) == 1);
}

TEST_CASE("a zero-copy send that failed notifies all the same", "[testing][faulty]") {
    fault_plan plan;
    plan.rules.push_back({IORING_OP_SEND_ZC, 1, fault::notified_error, ECONNRESET});
    stage s{plan};
    s.add(IORING_OP_SEND_ZC, 1).len = 10;
    auto seen = s.turn();
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].result == -ECONNRESET);
    CHECK(seen[0].flags == IORING_CQE_F_MORE);
    seen.clear();
    for (int turns = 0; turns < 8 && seen.empty(); ++turns) seen = s.turn();
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].flags == IORING_CQE_F_NOTIF);
    CHECK(s.script->taken.empty());
}

TEST_CASE("a close that fails has closed, unless it was withdrawn", "[testing][faulty]") {
    fault_plan plan;
    plan.rules.push_back({IORING_OP_CLOSE, 1, fault::error, EIO});
    plan.rules.push_back({IORING_OP_CLOSE, 2, fault::error, ECANCELED});
    stage s{plan};
    s.add(IORING_OP_CLOSE, 1, 77);
    CHECK(s.turn().empty());
    CHECK(s.passed().fd == 77);
    s.script->post(1, 0);
    const auto failed = s.turn();
    REQUIRE(failed.size() == 1);
    CHECK(failed[0].result == -EIO);
    s.add(IORING_OP_CLOSE, 2, 78);
    const auto withdrawn = s.turn();
    REQUIRE(withdrawn.size() == 1);
    CHECK(withdrawn[0].result == -ECANCELED);
    CHECK(s.script->taken.size() == 1);
}

TEST_CASE("by seed an operation fails with each error that the kernel has for it",
          "[testing][faulty]") {
    for (const unsigned opcode : {IORING_OP_RECV, IORING_OP_CONNECT, IORING_OP_OPENAT}) {
        const auto all = rondo::testing::kernel_errors(static_cast<std::uint8_t>(opcode));
        const std::set<int> expected(all.begin(), all.end());
        CHECK(expected.size() == all.size());
        std::set<int> seen;
        for (std::uint64_t seed = 0; seed < 400; ++seed) {
            stage s{all_of(seed, fault::error)};
            s.add(opcode, 1);
            seen.insert(-s.turn().at(0).result);
        }
        CHECK(seen == expected);
    }
    stage s{all_of(1, fault::error)};
    s.add(IORING_OP_ASYNC_CANCEL, 1).addr = 99;
    CHECK(s.turn().empty());
    CHECK(s.script->taken.size() == 1);
    CHECK(s.faulty.injected(fault::cancel_missed) == 1);
}

TEST_CASE("an ordered plan delivers in the order of the requests, whatever comes first",
          "[testing][faulty]") {
    fault_plan plan;
    plan.ordered = true;
    const auto play = [&plan](std::vector<std::uint64_t> order) {
        stage s{plan};
        for (std::uint64_t id = 1; id <= 4; ++id) s.add_multishot(id * 4096);
        s.turn();
        for (const std::uint64_t id : order) s.script->post(id * 4096, 5, IORING_CQE_F_MORE);
        std::vector<std::uint64_t> seen;
        for (const completion& each : s.turn()) seen.push_back(each.user_data / 4096);
        CHECK(seen == std::vector<std::uint64_t>{1, 2, 3, 4});
        return s.faulty.record();
    };
    const std::uint64_t record = play({1, 2, 3, 4});
    CHECK(play({4, 2, 3, 1}) == record);
    CHECK(play({3, 4, 1, 2}) == record);
}

TEST_CASE("a record tells one run from another, not one address from another",
          "[testing][faulty]") {
    const auto play = [](std::uint64_t user_data, int result) {
        stage s{fault_plan{}};
        s.add(IORING_OP_RECV, user_data);
        s.turn();
        s.script->post(user_data, result);
        s.turn();
        return s.faulty.record();
    };
    CHECK(play(4096, 7) == play(8192, 7));
    CHECK(play(4096, 7) != play(4096, 8));
}

TEST_CASE("an ordered plan waits for what ends by itself", "[testing][faulty]") {
    const unique_fd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    REQUIRE(file.get() >= 0);
    fault_plan plan;
    plan.ordered = true;
    stage s{plan};
    // A disk that takes three looks to answer.
    int looks = 0;
    s.script->on_enter = [&] {
        if (++looks == 3) s.script->post(1, 4);
    };
    s.add(IORING_OP_READ, 1, file.get()).len = 4;
    const auto seen = s.turn();
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].result == 4);
}

TEST_CASE("masked features are denied and what needs them refused", "[testing][faulty]") {
    fault_plan plan;
    plan.without(feature::multishot_recv).without(feature::buffer_ring);
    plan.without(feature::receive_limit).without(feature::multishot_accept);
    stage s{plan};
    CHECK_FALSE(s.faulty.has(feature::multishot_recv));
    CHECK_FALSE(s.faulty.has(feature::multishot_accept));
    s.add_multishot(1);
    s.add(IORING_OP_ACCEPT, 2).ioprio = IORING_ACCEPT_MULTISHOT;
    const auto seen = s.turn();
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].result == -EINVAL);
    CHECK(seen[1].result == -EINVAL);
    CHECK(s.script->taken.empty());
    CHECK(s.faulty.register_buffer_ring(1, nullptr, 8) == std::errc::invalid_argument);
    CHECK(s.script->groups.empty());

    fault_plan only_limit;
    only_limit.without(feature::receive_limit);
    stage limit{only_limit};
    limit.add_multishot(1);
    limit.add_multishot(2).file_index = 4096;
    CHECK(limit.turn().at(0).user_data == 2);
    CHECK(limit.script->taken.size() == 1);

    fault_plan copies;
    copies.without(feature::send_zero_copy);
    stage copying{copies};
    CHECK_FALSE(copying.faulty.has(feature::send_zero_copy));
    copying.add(IORING_OP_SEND_ZC, 1);
    CHECK(copying.turn().at(0).result == -EINVAL);

    CHECK(stage{fault_plan{}}.faulty.has(feature::receive_limit));
    CHECK(stage{fault_plan{}}.faulty.has(feature::send_zero_copy));
}

TEST_CASE("buffer rings and forgotten descriptors pass through", "[testing][faulty]") {
    stage s{fault_plan{}};
    CHECK_FALSE(s.faulty.register_buffer_ring(3, nullptr, 8));
    CHECK(s.script->groups == std::set<std::uint16_t>{3});
    s.faulty.unregister_buffer_ring(3);
    CHECK(s.script->groups.empty());
    s.faulty.forget(42);
    CHECK(s.script->forgotten == 42);
}

/// What a busy program would see, as text: the same for the same seed.
std::string trace(std::uint64_t seed) {
    stage s{fault_plan::from_seed(seed), fault_plan::queues_from_seed(seed)};
    std::string text;
    s.script->on_entry = [&](const io_uring_sqe& entry) {
        text += '>' + std::to_string(entry.user_data) + ':' + std::to_string(entry.len);
        s.script->post(entry.user_data, 1);
    };
    constexpr unsigned opcodes[] = {IORING_OP_RECV, IORING_OP_SEND, IORING_OP_ACCEPT,
                                    IORING_OP_POLL_ADD};
    for (std::uint64_t id = 1; id <= 300; ++id) {
        io_uring_sqe* entry = s.faulty.next_entry();
        if (entry == nullptr || id % 7 == 0) {
            for (const completion& each : s.turn(engine::forever)) {
                text += '<' + std::to_string(each.user_data) + ':' +
                        std::to_string(each.result) + ':' + std::to_string(each.flags);
            }
        }
        if (entry == nullptr) continue;
        *entry = {};
        entry->opcode = static_cast<__u8>(opcodes[id % 4]);
        entry->user_data = id;
        entry->fd = -1;
        entry->msg_flags = unsigned_flag(id % 3 == 0 ? MSG_DONTWAIT : 0);
    }
    return text + s.faulty.describe();
}

TEST_CASE("the same seed and calls give the same faults", "[testing][faulty]") {
    std::set<std::string> traces;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        const std::string text = trace(seed);
        CHECK(text == trace(seed));
        traces.insert(text.substr(0, text.find(" seed=")));
    }
    CHECK(traces.size() > 35);
}

TEST_CASE("describe names the seed and what was injected", "[testing][faulty]") {
    fault_plan plan = all_of(4711, fault::interrupted_request);
    stage s{plan};
    s.add(IORING_OP_RECV, 1);
    s.add(IORING_OP_RECV, 2);
    s.turn();
    CHECK(s.faulty.describe() ==
          "faulty(scripted) seed=4711 entries=64 completions=256 enters=1 interrupted_request=2");
}

TEST_CASE("plans from seeds use every fault a program must not notice", "[testing][faulty]") {
    const std::set<fault> never{fault::error,       fault::out_of_memory, fault::refused,
                                fault::control_cut, fault::cancel_missed, fault::overflow};
    for (std::size_t i = 0; i < rondo::testing::fault_count; ++i) {
        const auto kind = static_cast<fault>(i);
        CAPTURE(to_string(kind));
        int used = 0;
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            if (fault_plan::from_seed(seed).chance(kind) != 0) ++used;
        }
        CHECK((used != 0) == !never.contains(kind));
        CHECK(used < 100);
    }
    CHECK(fault_plan::from_seed(5).per_mille == fault_plan::from_seed(5).per_mille);
}

// ---- Whole conversations on the real engines.

std::unique_ptr<engine> make_inner(bool uring) {
    constexpr engine_options sizes{.entries = 32, .completions = 64};
    if (uring) return std::make_unique<rondo::uring_engine>(sizes);
    return std::make_unique<rondo::epoll_engine>(sizes);
}

/// A minimal event loop: a handler per request, called for each of its completions.
class loop {
public:
    loop(bool uring, std::uint64_t seed)
        : faulty_(make_inner(uring), fault_plan::from_seed(seed),
                  fault_plan::queues_from_seed(seed)) {}

    using handler = std::function<void(const completion&)>;

    io_uring_sqe& entry(unsigned opcode, int descriptor, handler on_completion) {
        io_uring_sqe* slot = faulty_.next_entry();
        while (slot == nullptr) {
            faulty_.enter(no_wait);
            slot = faulty_.next_entry();
        }
        *slot = {};
        slot->opcode = static_cast<__u8>(opcode);
        slot->fd = descriptor;
        slot->user_data = ++last_;
        handlers_.emplace(last_, std::move(on_completion));
        return *slot;
    }
    std::uint64_t last() const noexcept { return last_; }
    std::size_t in_flight() const noexcept { return handlers_.size(); }
    faulty_engine& faulty() noexcept { return faulty_; }

    template <typename Done>
    void run_until(Done done) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!done()) {
            INFO(faulty_.describe());
            REQUIRE(std::chrono::steady_clock::now() < deadline);
            faulty_.enter(std::chrono::seconds(1));
            while (faulty_.completions_begin() != faulty_.completions_end()) one();
        }
    }

private:
    void one() {
        const unsigned index = faulty_.completions_begin();
        const completion seen = faulty_.completion_at(index);
        faulty_.completions_consumed(index + 1);
        const auto found = handlers_.find(seen.user_data);
        INFO(faulty_.describe());
        REQUIRE(found != handlers_.end());  // nothing after a request's last completion
        const handler call = found->second;
        if ((seen.flags & IORING_CQE_F_MORE) == 0) handlers_.erase(found);
        call(seen);
    }

    faulty_engine faulty_;
    std::map<std::uint64_t, handler> handlers_;
    std::uint64_t last_ = 0;
};

/// Eight buffers of 512 bytes as group 1.
class buffers {
public:
    explicit buffers(engine& on) : engine_(on) {
        REQUIRE(slots_);
        std::fill_n(slots_.get(), count, rondo::abi::buffer_slot{});
        REQUIRE_FALSE(engine_.register_buffer_ring(1, slots_.get(), count));
        for (std::uint16_t id = 0; id < count; ++id) give_back(id);
    }
    ~buffers() { engine_.unregister_buffer_ring(1); }
    buffers(const buffers&) = delete;
    buffers& operator=(const buffers&) = delete;

    const char* data(unsigned id) const { return &memory_.at(id * size); }
    void give_back(unsigned id) {
        rondo::abi::buffer_slot& slot = slots_.get()[tail_ % count];
        slot.address = reinterpret_cast<std::uintptr_t>(&memory_.at(id * size));
        slot.length = size;
        slot.id = static_cast<std::uint16_t>(id);
        std::atomic_ref<std::uint16_t>(slots_.get()[0].reserved)
            .store(++tail_, std::memory_order_release);
    }

private:
    static constexpr std::uint16_t count = 8;
    static constexpr unsigned size = 512;
    struct free_memory {
        void operator()(void* memory) const { std::free(memory); }
    };
    engine& engine_;
    std::unique_ptr<rondo::abi::buffer_slot, free_memory> slots_{
        static_cast<rondo::abi::buffer_slot*>(std::aligned_alloc(4096, 4096))};
    std::vector<char> memory_ = std::vector<char>(count * size);
    std::uint16_t tail_ = 0;
};

/// Sends all of `text`, by SEND or SENDMSG, going on after each short count.
class sender {
public:
    sender(loop& on, int descriptor, const std::string& text, std::uint64_t seed)
        : loop_(on), descriptor_(descriptor), text_(text), state_(seed * 2 + 1) {
        next();
    }

private:
    void next() {
        if (at_ == text_.size()) {
            ::shutdown(descriptor_, SHUT_WR);
            return;
        }
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        const std::size_t length = std::min(text_.size() - at_, 1 + (state_ >> 40) % 3000);
        const bool gather = (state_ >> 33) % 3 == 0;
        const bool impatient = !must_wait_ && (state_ >> 35) % 3 == 0;
        must_wait_ = false;
        char* bytes = const_cast<char*>(text_.data()) + at_;
        io_uring_sqe& entry =
            loop_.entry(gather ? IORING_OP_SENDMSG : IORING_OP_SEND, descriptor_,
                        [this, length](const completion& seen) { sent(seen, length); });
        entry.msg_flags = unsigned_flag(MSG_NOSIGNAL | (impatient ? MSG_DONTWAIT : MSG_WAITALL));
        entry.addr = reinterpret_cast<std::uintptr_t>(bytes);
        entry.len = static_cast<unsigned>(length);
        if (!gather) return;
        parts_ = {{{bytes, length / 2}, {bytes + length / 2, length - length / 2}}};
        header_ = {};
        header_.msg_iov = parts_.data();
        header_.msg_iovlen = parts_.size();
        entry.addr = reinterpret_cast<std::uintptr_t>(&header_);
        entry.len = 1;
    }
    void sent(const completion& seen, std::size_t length) {
        INFO(loop_.faulty().describe());
        if (seen.result == -EAGAIN) {
            must_wait_ = true;
        } else if (seen.result != -EINTR) {
            REQUIRE(seen.result > 0);
            REQUIRE(static_cast<std::size_t>(seen.result) <= length);
            at_ += static_cast<std::size_t>(seen.result);
        }
        next();
    }

    loop& loop_;
    int descriptor_;
    const std::string& text_;
    std::uint64_t state_;
    std::size_t at_ = 0;
    bool must_wait_ = false;
    std::array<iovec, 2> parts_{};
    msghdr header_{};
};

/// Receives to the end, into buffers of a ring, arming again whenever that ended.
class receiver {
public:
    receiver(loop& on, int descriptor, buffers& pool, bool multishot)
        : loop_(on), descriptor_(descriptor), pool_(pool), multishot_(multishot) {
        arm();
    }
    std::string text;
    bool ended = false;
    bool rearm = true;
    std::uint64_t id = 0;

    void arm() {
        io_uring_sqe& entry = loop_.entry(IORING_OP_RECV, descriptor_,
                                          [this](const completion& seen) { received(seen); });
        id = loop_.last();
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.buf_group = 1;
        if (multishot_) entry.ioprio = IORING_RECV_MULTISHOT;
    }

private:
    void received(const completion& seen) {
        INFO(loop_.faulty().describe());
        if ((seen.flags & IORING_CQE_F_BUFFER) != 0) {
            const unsigned buffer = seen.flags >> IORING_CQE_BUFFER_SHIFT;
            REQUIRE(seen.result >= 0);
            text.append(pool_.data(buffer), static_cast<std::size_t>(seen.result));
            pool_.give_back(buffer);
        }
        if (seen.result == 0) ended = true;
        if (seen.result < 0 && seen.result != -ECANCELED) {
            REQUIRE((seen.result == -EINTR || seen.result == -ENOBUFS));
        }
        if ((seen.flags & IORING_CQE_F_MORE) == 0 && !ended && rearm) arm();
    }

    loop& loop_;
    int descriptor_;
    buffers& pool_;
    bool multishot_;
};

std::string some_text(std::uint64_t seed, std::size_t length) {
    std::string text(length, '\0');
    for (std::size_t i = 0; i < length; ++i) {
        text[i] = static_cast<char>((i * 2654435761u + seed * 97) >> 13);
    }
    return text;
}

using counts = std::array<std::uint64_t, rondo::testing::fault_count>;

void add(counts& total, const counts& more) {
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += more[i];
}

/// Two streams in opposite directions over one pair.
void converse(bool uring, std::uint64_t seed, counts& total) {
    auto [left, right] = socket_pair(SOCK_STREAM);
    loop l(uring, seed);
    buffers pool(l.faulty());
    const bool multishot = seed % 4 != 0 && l.faulty().has(feature::multishot_recv);
    const std::string there = some_text(seed, 12'000);
    const std::string back = some_text(seed + 1, 5'000);
    receiver at_right(l, right.get(), pool, multishot);
    receiver at_left(l, left.get(), pool, multishot);
    sender to_right(l, left.get(), there, seed);
    sender to_left(l, right.get(), back, seed + 77);
    l.run_until([&] { return at_right.ended && at_left.ended && l.in_flight() == 0; });
    INFO(l.faulty().describe());
    CHECK((at_right.text == there));
    CHECK((at_left.text == back));
    add(total, l.faulty().injected());
}

/// Cancels an idle receive and one that has data; a later receive finds what they left.
void cancel(bool uring, std::uint64_t seed, counts& total) {
    auto [left, right] = socket_pair(SOCK_STREAM);
    loop l(uring, seed);
    buffers pool(l.faulty());
    receiver reader(l, right.get(), pool, l.faulty().has(feature::multishot_recv));
    std::string sent;
    for (int round = 0; round < 6; ++round) {
        if (round % 2 != 0) {
            sent += "round";
            REQUIRE(::send(left.get(), "round", 5, MSG_NOSIGNAL) == 5);
        }
        reader.rearm = false;
        int answer = 1;
        const std::uint64_t target = reader.id;
        io_uring_sqe& entry = l.entry(IORING_OP_ASYNC_CANCEL, -1,
                                      [&](const completion& seen) { answer = seen.result; });
        entry.addr = target;
        l.run_until([&] { return l.in_flight() == 0; });
        INFO(l.faulty().describe());
        CHECK((answer == 0 || answer == -ENOENT || answer == -EALREADY));
        reader.rearm = true;
        reader.arm();
    }
    ::shutdown(left.get(), SHUT_WR);
    l.run_until([&] { return reader.ended && l.in_flight() == 0; });
    CHECK(reader.text == sent);
    add(total, l.faulty().injected());
}

unique_fd listening(sockaddr_in& address) {
    unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* name = reinterpret_cast<sockaddr*>(&address);
    socklen_t length = sizeof(address);
    REQUIRE(::bind(listener.get(), name, length) == 0);
    REQUIRE(::listen(listener.get(), 64) == 0);
    REQUIRE(::getsockname(listener.get(), name, &length) == 0);
    return listener;
}

/// Accepts every one of twenty connections once, and stops.
void accept_all(bool uring, std::uint64_t seed, counts& total) {
    sockaddr_in address{};
    const unique_fd listener = listening(address);
    std::vector<unique_fd> clients;
    for (int i = 0; i < 20; ++i) {
        clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::connect(clients.back().get(), reinterpret_cast<sockaddr*>(&address),
                          sizeof(address)) == 0);
    }
    loop l(uring, seed);
    std::vector<unique_fd> accepted;
    bool rearm = true;
    std::uint64_t target = 0;
    std::function<void()> arm = [&] {
        io_uring_sqe& entry = l.entry(IORING_OP_ACCEPT, listener.get(), [&](const completion& c) {
            if (c.result >= 0) accepted.emplace_back(c.result);
            if ((c.flags & IORING_CQE_F_MORE) == 0 && rearm) arm();
        });
        target = l.last();
        entry.accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
        if (l.faulty().has(feature::multishot_accept)) entry.ioprio = IORING_ACCEPT_MULTISHOT;
    };
    arm();
    l.run_until([&] { return accepted.size() == clients.size(); });
    rearm = false;
    if (l.in_flight() != 0) {
        l.entry(IORING_OP_ASYNC_CANCEL, -1, [](const completion&) {}).addr = target;
    }
    l.run_until([&] { return l.in_flight() == 0; });
    std::set<in_port_t> peers;
    for (const unique_fd& each : accepted) {
        sockaddr_in peer{};
        socklen_t length = sizeof(peer);
        CHECK(::getpeername(each.get(), reinterpret_cast<sockaddr*>(&peer), &length) == 0);
        peers.insert(peer.sin_port);
    }
    CHECK(peers.size() == clients.size());
    add(total, l.faulty().injected());
}

TEST_CASE("nothing is lost, doubled or out of order under any seed", "[testing][faulty]") {
    const bool uring = GENERATE(true, false);
    if (uring) rondo::test::need_ring();
    counts total{};
    for (std::uint64_t seed = 1; seed <= 250; ++seed) {
        CAPTURE(uring, seed);
        converse(uring, seed, total);
        cancel(uring, seed, total);
        accept_all(uring, seed, total);
    }
    // Neither polls nor zero-copy sends are among them.
    const std::set<fault> never{fault::error,          fault::out_of_memory,
                                fault::refused,        fault::spurious_readiness,
                                fault::control_cut,    fault::late_notification,
                                fault::notified_error};
    for (std::size_t i = 0; i < total.size(); ++i) {
        const auto kind = static_cast<fault>(i);
        CAPTURE(uring, to_string(kind), total[i]);
        CHECK((total[i] != 0) == !never.contains(kind));
    }
}

}  // namespace
