// Steps of a program that are about datagrams.
#pragma once

#include <fuzz/scheduler/verdict.hpp>
#include <fuzz/scheduler/world.hpp>

#include <rondo/task/result.hpp>
#include <rondo/task/task.hpp>
#include <rondo/task/with_timeout.hpp>

#include <cstddef>
#include <exception>
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
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) {
        ended.failed(failure);
        check(ended.transferred() == 0, "a datagram is sent in part");
        from.out.withdrawn();
        if (from.peer->gone) from.peer->out.thrown_away();
        std::rethrow_exception(std::move(failure));
    }
    from.out.sent();
    ended.succeeded();
}

using datagram_count = received_from<unix_address>;

inline task<> start_datagram_receive(datagram_end& at, std::span<std::byte> room, receiving how,
                                     datagram_count& got) {
    if (how == receiving::timed) {
        got = co_await with_timeout(limit_of(room.size()), at.socket.recv_from(room));
    } else if (how == receiving::as_value) {
        auto outcome = co_await as_result(at.socket.recv_from(room));
        got = outcome.value();
    } else {
        got = co_await at.socket.recv_from(room);
    }
}

inline task<> receive_datagram(datagram_end& at, std::size_t size, receiving how) {
    if (!at.is_open() || at.reading) co_return;
    const claim busy(at.reading);
    std::vector<std::byte> room(size);
    context& here = co_await this_context();
    verdict ended = judge(here, at, size);
    datagram_count got;
    auto work = start_datagram_receive(at, room, how, got);
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) {
        ended.failed(failure);
        std::rethrow_exception(std::move(failure));
    }
    ended.succeeded();
    at.peer->out.arrived(std::span(room).first(got.size), got.true_size);
}

inline task<> start_datagram_lease(datagram_end& at, receiving how, unix_datagram& got) {
    if (how == receiving::timed) {
        got = co_await with_timeout(limit_of(1), at.socket.recv_from());
    } else if (how == receiving::as_value) {
        auto outcome = co_await as_result(at.socket.recv_from());
        got = std::move(outcome.value());
    } else {
        got = co_await at.socket.recv_from();
    }
}

inline task<> lease_datagram(datagram_end& at, receiving how) {
    if (!at.is_open() || at.reading) co_return;
    const claim busy(at.reading);
    context& here = co_await this_context();
    verdict ended = judge(here, at, 1);
    unix_datagram got;
    auto work = start_datagram_lease(at, how, got);
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) {
        ended.failed(failure);
        std::rethrow_exception(std::move(failure));
    }
    ended.succeeded();
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
