// Steps of a program that are about streams: each is an await, or changes an end.
#pragma once

#include <fuzz/scheduler/await.hpp>
#include <fuzz/scheduler/verdict.hpp>
#include <fuzz/scheduler/world.hpp>

#include <rondo/task/result.hpp>
#include <rondo/task/task.hpp>
#include <rondo/task/when_any.hpp>
#include <rondo/task/with_timeout.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace rondo::fuzz {

inline constexpr std::size_t most_held = 16;

/// Of an await on a stream, of so many bytes.
inline verdict judge(const context& where, const stream_end& end, std::size_t size) {
    const auto may_fail = [&end](int error) { return end.may_fail(error); };
    return verdict(where, &end.interruptions, may_fail, limit_of(size));
}

enum class sending : std::uint8_t { whole, timed, some, gathered };

inline task<> start_send(stream_end& from, std::span<const std::byte> data, sending how,
                         std::size_t& count) {
    if (how == sending::some) {
        count = co_await from.socket.send_some(data);
        check(count <= data.size() && count != 0, "send_some sends nothing, or too much");
        co_return;
    }
    if (how == sending::gathered) {
        const const_buffer first(data.first(data.size() / 2));
        const const_buffer second(data.subspan(data.size() / 2));
        co_await from.socket.send(first, second);
    } else if (how == sending::timed) {
        co_await with_timeout(limit_of(data.size()), from.socket.send(data));
    } else {
        co_await from.socket.send(data);
    }
    count = data.size();
}

inline task<> send_bytes(stream_end& from, std::size_t size, sending how) {
    if (!from.is_open() || from.sending || from.finished) co_return;
    const claim busy(from.sending);
    const std::vector<std::byte> data = from.out.next(size);
    context& here = co_await this_context();
    verdict ended = judge(here, from, size);
    std::size_t count = 0;
    auto work = start_send(from, data, how, count);
    try {
        co_await judged(work, ended);
    } catch (...) {
        from.out.sent_so_far(ended.transferred());
        throw;
    }
    from.out.sent_so_far(count);
}

/// The end of the stream: only where the peer has ended it.
inline void check_end(const stream_end& at) {
    check(at.peer->finished || at.peer->gone, "the stream ends, and the peer has not ended it");
    at.peer->out.ended();
}

inline task<> receive_bytes(stream_end& at, std::size_t size, receiving how) {
    if (!at.is_open() || at.reading) co_return;
    const claim busy(at.reading);
    std::vector<std::byte> room(size);
    context& here = co_await this_context();
    verdict ended = judge(here, at, size);
    std::size_t count = 0;
    const auto receive = [&at, &room] { return at.socket.recv(std::span(room)); };
    auto work = receive_by(how, limit_of(size), receive, count);
    co_await judged(work, ended);
    at.peer->out.arrived(std::span(room).first(count));
    if (count == 0) check_end(at);
}

inline task<> receive_lease(world& in, stream_end& at, receiving how, bool keep) {
    if (!at.is_open() || at.reading) co_return;
    const claim busy(at.reading);
    context& here = co_await this_context();
    verdict ended = judge(here, at, 1);
    chunk got;
    const auto receive = [&at] { return at.socket.recv(); };
    auto work = receive_by(how, limit_of(1), receive, got);
    co_await judged(work, ended);
    flow& from = at.peer->out;
    const std::uint64_t place = from.received();
    from.arrived(got.bytes());
    if (!got) check_end(at);
    if (keep && in.held.size() < most_held) {
        in.held.emplace_back(std::move(got), from.id(), place);
    }
}

inline void check_either(const stream_end& at, std::optional<result<chunk>>& got) {
    if (!got) return;
    if (!*got) {
        const std::error_code why = got->error();
        check(why == std::errc::operation_canceled || at.may_fail(why.value()),
              "a branch fails for no reason");
        return;
    }
    at.peer->out.arrived((**got).bytes());
    if (!**got) check_end(at);
}

/// Both, of which the first ends the other; what came to either is there.
inline task<> receive_either(stream_end& a, stream_end& b) {
    if (&a == &b || !a.is_open() || !b.is_open() || a.reading || b.reading) co_return;
    const claim first(a.reading);
    const claim second(b.reading);
    const claim first_branch(a.in_branch);
    const claim second_branch(b.in_branch);
    auto got = co_await when_any(as_result(a.socket.recv()), as_result(b.socket.recv()));
    check_either(a, std::get<0>(got));
    check_either(b, std::get<1>(got));
}

inline task<> close_end(stream_end& which) {
    // A branch begins in its turn, and before it does nobody knows of its operation.
    if (!which.is_open() || which.in_branch) co_return;
    const claim leaving(which.leaving);
    ++which.interruptions;
    which.gone = true;
    co_await which.socket.close();
    check(!which.is_awaited(), "close() returns before what it has cancelled");
}

inline task<> release_end(stream_end& which) {
    // What a branch has received is told later, when all branches have ended.
    if (!which.is_open() || which.in_branch) co_return;
    const claim leaving(which.leaving);
    ++which.interruptions;
    released_socket released = co_await which.socket.release();
    check(!which.is_awaited(), "release() returns before what it has cancelled");
    which.peer->out.arrived(released.received);
    check(!released.error || which.errors || which.peer->gone,
          "release() tells an error, and there was none");
    which.socket = unix_socket(std::move(released.descriptor));
}

inline void drop_end(stream_end& which) {
    if (!which.is_open() || which.is_awaited()) return;
    which.gone = true;
    which.socket = unix_socket();
}

inline void move_end(stream_end& which) {
    unix_socket elsewhere = std::move(which.socket);
    which.socket = std::move(elsewhere);
}

inline void finish_end(stream_end& which) {
    if (!which.is_open() || which.sending || which.finished) return;
    which.finished = true;
    which.socket.shutdown(shutdown_mode::send);
}

inline void connect_again(world& in, stream_end& which) {
    stream_end& peer = *which.peer;
    if (which.is_open() || peer.is_open() || which.is_awaited() || peer.is_awaited()) return;
    if (which.leaving || peer.leaving) return;
    in.connect(which, peer);
}

inline void give_back(world& in, unsigned number) {
    if (in.held.empty()) return;
    const auto which = in.held.begin() + static_cast<std::ptrdiff_t>(number % in.held.size());
    which->check_bytes();
    in.held.erase(which);
}

}  // namespace rondo::fuzz
