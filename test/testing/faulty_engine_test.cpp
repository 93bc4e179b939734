// Every fault is seen to happen, to be legal and to lose nothing: on a scripted inner engine, for
// the exact entries and completions.
#include <rondo/testing/faulty_engine.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/socket.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <rondo/detail/unique_fd.hpp>
#include <rondo/testing/kernel_errors.hpp>

#include <support/faulty_stage.hpp>

namespace {

using namespace rondo::test;
using rondo::completion;
using rondo::engine;
using rondo::feature;
using rondo::detail::unique_fd;
using rondo::testing::fault;
using rondo::testing::fault_plan;

constexpr engine::duration no_wait = engine::no_wait;

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

TEST_CASE("any error ends a multishot at once or behind its data", "[testing][faulty]") {
    bool at_once = false;
    bool later = false;
    for (std::uint64_t seed = 0; seed < 64; ++seed) {
        stage s{all_of(seed, fault::error)};
        s.add_multishot(1);
        s.turn();
        if (s.script->taken.empty()) {
            at_once = true;
            continue;
        }
        later = true;
        s.script->post(1, 9, IORING_CQE_F_BUFFER);
        const auto seen = s.turn();
        REQUIRE(seen.size() == 2);
        CHECK(seen[0].flags == (IORING_CQE_F_BUFFER | IORING_CQE_F_MORE));
        const auto errors = rondo::testing::kernel_errors(IORING_OP_RECV);
        CHECK(std::ranges::count(errors, -seen[1].result) == 1);
        CHECK(s.faulty.injected(fault::error) == 1);
    }
    CHECK(at_once);
    CHECK(later);
}

TEST_CASE("by rule a multishot ends behind its data by one error", "[testing][faulty]") {
    fault_plan plan;
    plan.rules.push_back({IORING_OP_RECV, 1, fault::early_end, ECONNRESET});
    stage s{plan};
    s.add_multishot(1);
    CHECK(s.turn().empty());
    s.script->post(1, 9, IORING_CQE_F_BUFFER);
    const auto seen = s.turn();
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].result == 9);
    CHECK(seen[1].result == -ECONNRESET);
    CHECK(seen[1].flags == 0);
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

}  // namespace
