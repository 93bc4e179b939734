// Steps of a program that are about datagrams.
#pragma once

#include <fuzz/scheduler/await.hpp>
#include <fuzz/scheduler/verdict.hpp>
#include <fuzz/scheduler/world.hpp>

#include <rondo/task/result.hpp>
#include <rondo/task/task.hpp>
#include <rondo/task/with_timeout.hpp>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace rondo::fuzz {

inline verdict judge(const context& where, const datagram_end& end, std::size_t size) {
    const auto may_fail = [&end](int error) { return end.may_fail(error); };
    return verdict(where, &end.interruptions, may_fail, limit_of(size));
}

inline task<> start_datagram(datagram_end& from, std::span<const std::byte> data, bool timed) {
    if (timed) {
        co_await with_timeout(limit_of(data.size()), from.socket.send(data));
    } else {
        co_await from.socket.send(data);
    }
}

inline task<> send_datagram(datagram_end& from, std::size_t size, bool timed) {
    if (!from.is_open() || from.sending) co_return;
    const claim busy(from.sending);
    const std::vector<std::byte> data = from.out.next(size);
    context& here = co_await this_context();
    verdict ended = judge(here, from, size);
    auto work = start_datagram(from, data, timed);
    try {
        co_await judged(work, ended);
    } catch (...) {
        check(ended.transferred() == 0, "a datagram is sent in part");
        from.out.withdrawn();
        if (from.peer->gone) from.peer->out.thrown_away();
        throw;
    }
    from.out.sent();
}

using datagram_count = received_from<unix_address>;

inline task<> receive_datagram(datagram_end& at, std::size_t size, receiving how) {
    if (!at.is_open() || at.reading) co_return;
    const claim busy(at.reading);
    std::vector<std::byte> room(size);
    context& here = co_await this_context();
    verdict ended = judge(here, at, size);
    datagram_count got;
    const auto receive = [&at, &room] { return at.socket.recv_from(std::span(room)); };
    auto work = receive_by(how, limit_of(size), receive, got);
    co_await judged(work, ended);
    at.peer->out.arrived(std::span(room).first(got.size), got.true_size);
}

inline task<> lease_datagram(datagram_end& at, receiving how) {
    if (!at.is_open() || at.reading) co_return;
    const claim busy(at.reading);
    context& here = co_await this_context();
    verdict ended = judge(here, at, 1);
    unix_datagram got;
    const auto receive = [&at] { return at.socket.recv_from(); };
    auto work = receive_by(how, limit_of(1), receive, got);
    co_await judged(work, ended);
    at.peer->out.arrived(got.bytes(), got.true_size());
}

inline task<> close_mailbox(datagram_end& which) {
    if (!which.is_open()) co_return;
    const claim leaving(which.leaving);
    ++which.interruptions;
    which.gone = true;
    co_await which.socket.close();
    check(!which.is_awaited(), "close() returns before what it has cancelled");
}

inline task<> release_mailbox(datagram_end& which) {
    if (!which.is_open()) co_return;
    const claim leaving(which.leaving);
    ++which.interruptions;
    auto released = co_await which.socket.release();
    check(!which.is_awaited(), "release() returns before what it has cancelled");
    for (const unix_datagram& each : released.received) {
        which.peer->out.arrived(each.bytes(), each.true_size());
    }
    which.socket = unix_datagram_socket(std::move(released.descriptor));
}

inline void drop_mailbox(datagram_end& which) {
    if (!which.is_open() || which.is_awaited()) return;
    which.gone = true;
    which.socket = unix_datagram_socket();
}

inline void move_mailbox(datagram_end& which) {
    unix_datagram_socket elsewhere = std::move(which.socket);
    which.socket = std::move(elsewhere);
}

inline void pair_again(world& in) {
    for (const datagram_end& each : in.mailboxes) {
        if (each.is_open() || each.is_awaited() || each.leaving) return;
    }
    in.pair_mailboxes();
}

/// What was sent to `at` and is not lost with it.
inline task<> drain_mailbox(datagram_end& at) {
    std::vector<std::byte> room(1024);
    for (int i = 0; i != 300 && !at.peer->out.all_received(); ++i) {
        auto got = co_await as_result(
            with_timeout(milliseconds(1), at.socket.recv_from(std::span(room))));
        if (!got) {
            check(got.error() == std::errc::timed_out || at.may_fail(got.error().value()),
                  "a datagram cannot be received");
            continue;
        }
        at.peer->out.arrived(std::span(room).first(got->size), got->true_size);
    }
    check(at.peer->out.all_received(), "a datagram is lost");
}

inline task<> settle_mailboxes(world& in) {
    for (datagram_end& each : in.mailboxes) {
        check(!each.is_awaited(), "a task has ended and is still in an await");
        if (each.is_open()) co_await drain_mailbox(each);
    }
    for (datagram_end& each : in.mailboxes) co_await close_mailbox(each);
}

}  // namespace rondo::fuzz
