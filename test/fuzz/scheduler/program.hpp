// An input played as a program of tasks.
#pragma once

#include <fuzz/scheduler/datagram_steps.hpp>
#include <fuzz/scheduler/listener_steps.hpp>
#include <fuzz/scheduler/stream_steps.hpp>

#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace rondo::fuzz {

inline constexpr unsigned most_steps = 300;
inline constexpr unsigned most_depth = 8;
inline constexpr milliseconds shield_time{3};

inline void cancel_one(world& in, unsigned number) {
    if (!in.scopes.empty()) in.scopes[number % in.scopes.size()]->cancel();
}

inline task<> pause(milliseconds duration) {
    context& here = co_await this_context();
    verdict ended(here, nullptr);
    const auto due = here.loop().now() + duration;
    auto outcome = co_await as_result(sleep_for(duration));
    if (!outcome) {
        ended.failed(std::make_exception_ptr(operation_canceled()));
        outcome.value();
    }
    ended.succeeded();
    check(here.loop().now() >= due, "a sleep ends too early");
}

inline task<> give_way() {
    context& here = co_await this_context();
    verdict ended(here, nullptr);
    auto outcome = co_await as_result(yield());
    if (!outcome) {
        ended.failed(std::make_exception_ptr(operation_canceled()));
        outcome.value();
    }
    ended.succeeded();
}

struct place {
    place(world* around, task_group* nearest, unsigned inside) noexcept
        : in(around), group(nearest), depth(inside) {}

    world* in;
    task_group* group;
    unsigned depth;
};

inline task<> play(place at, input program);

inline task<> play_in_group(place at, input program) {
    const auto body = [at, program](task_group& group) -> task<> {
        const place inside(at.in, &group, at.depth);
        co_await play(inside, program);
    };
    co_await with_task_group(body);
}

inline task<> play_in_scope(place at, input program) {
    cancel_scope scope;
    const listed_scope listed(*at.in, scope);
    co_await scope.run(play(at, program));
}

inline task<> play_in_time(place at, input program, milliseconds limit) {
    at.in->deadlines += limit;
    co_await with_timeout(limit, play(at, program));
}

inline task<> play_shielded(place at, input program) {
    at.in->deadlines += shield_time;
    co_await shield(with_timeout(shield_time, play(at, program)));
}

inline task<> play_any(place at, input one, input other) {
    auto ended = co_await when_any(play(at, one), play(at, other));
    check(std::get<0>(ended) || std::get<1>(ended), "when_any returns without a value");
}

inline task<> play_all(place at, input one, input other) {
    co_await when_all(play(at, one), play(at, other));
}

inline void spawn(place at, input program) {
    at.group->spawn(play, at, program);
}

inline task<> nothing() { co_return; }

/// The steps there are, as an input has them: the first that await, in the end those that only
/// change the world.
enum class verb : std::uint8_t {
    send, send_more, receive, lease, lease_more, receive_either, close, release,
    send_datagram, receive_datagram, lease_datagram, close_mailbox, release_mailbox,
    knock, accept, close_door,
    sleep, yield, spawn, group, scope, timeout, shield, any, all,
    move, finish, drop, connect, give_back, cancel, cancel_group,
    move_mailbox, drop_mailbox, pair_mailboxes, move_door, drop_door, open_door, nothing,
};
inline constexpr const char* verb_names[] = {
    "send", "send", "recv into", "recv", "recv", "recv either", "close", "release",
    "send datagram", "recv datagram into", "recv datagram", "close datagrams",
    "release datagrams", "knock", "accept", "close listener",
    "sleep", "yield", "spawn", "group", "scope", "with_timeout", "shield", "when_any", "when_all",
    "move", "shutdown", "destroy", "connect", "give back", "cancel", "cancel group",
    "move datagrams", "destroy datagrams", "pair datagrams", "move listener", "destroy listener",
    "listen", "nothing"};
inline constexpr unsigned verb_count = std::size(verb_names);
static_assert(verb_count == static_cast<unsigned>(verb::nothing) + 1);

/// What awaits nothing.
inline void act(place at, verb what, unsigned number) {
    world& in = *at.in;
    switch (what) {
        case verb::move: return move_end(in.end(number));
        case verb::finish: return finish_end(in.end(number));
        case verb::drop: return drop_end(in.end(number));
        case verb::connect: return connect_again(in, in.end(number));
        case verb::give_back: return give_back(in, number);
        case verb::cancel: return cancel_one(in, number);
        case verb::cancel_group: return at.group->cancel();
        case verb::move_mailbox: return move_mailbox(in.mailbox(number));
        case verb::drop_mailbox: return drop_mailbox(in.mailbox(number));
        case verb::pair_mailboxes: return pair_again(in);
        case verb::move_door: return move_door(in.door);
        case verb::drop_door: return drop_door(in.door);
        case verb::open_door: return open_door(in.door);
        default: return;
    }
}

/// For who looks at a finding: each step as it begins.
inline void trace(place at, verb what, unsigned number) {
    static const bool wanted = std::getenv("RONDO_FUZZ_TRACE") != nullptr;
    if (!wanted) return;
    std::fprintf(stderr, "%3u %*s%s %u\n", at.in->steps, static_cast<int>(2 * at.depth), "",
                 verb_names[static_cast<unsigned>(what)], number);
}

/// A step on datagrams or on the listener.
inline task<> other_step(world& in, verb what, unsigned number, input& program) {
    datagram_end& box = in.mailbox(number);
    const unsigned form = number / 2;
    const auto how = static_cast<receiving>(form % 3);
    switch (what) {
        case verb::send_datagram: return send_datagram(box, program.byte(), form % 2 != 0);
        case verb::receive_datagram: return receive_datagram(box, program.byte(), how);
        case verb::lease_datagram: return lease_datagram(box, how);
        case verb::close_mailbox: return close_mailbox(box);
        case verb::release_mailbox: return release_mailbox(box);
        case verb::knock: return knock(in, form % 2 != 0);
        case verb::accept: return accept_one(in, how);
        default: return close_door(in.door);
    }
}

/// A step that plays programs inside of it.
inline task<> nested_step(place at, verb what, unsigned number, input& program) {
    const input one = program.part(program.below(24));
    switch (what) {
        case verb::spawn: spawn(at, one); return nothing();
        case verb::group: return play_in_group(at, one);
        case verb::scope: return play_in_scope(at, one);
        case verb::timeout: return play_in_time(at, one, milliseconds(number % 8));
        case verb::shield: return play_shielded(at, one);
        default: break;
    }
    const input other = program.part(program.below(24));
    return what == verb::any ? play_any(at, one, other) : play_all(at, one, other);
}

/// One step of a program, as a task.
inline task<> step(place at, verb what, input& program) {
    world& in = *at.in;
    const unsigned number = program.byte();
    trace(at, what, number);
    stream_end& end = in.end(number);
    const unsigned form = number / most_ends;
    const auto how = static_cast<receiving>(form % 3);
    switch (what) {
        case verb::send:
        case verb::send_more:
            return send_bytes(end, size_of(program.byte()), static_cast<sending>(form % 4));
        case verb::receive: return receive_bytes(end, size_of(program.byte()), how);
        case verb::lease:
        case verb::lease_more: return receive_lease(in, end, how, form % 5 == 0);
        case verb::receive_either: return receive_either(end, in.end(form));
        case verb::close: return close_end(end);
        case verb::release: return release_end(end);
        case verb::sleep: return pause(milliseconds(number % 8));
        case verb::yield: return give_way();
        default: break;
    }
    if (what < verb::sleep) return other_step(in, what, number, program);
    if (what < verb::move) return nested_step(at, what, number, program);
    act(at, what, number);
    return nothing();
}

inline task<> play(place at, input program) {
    if (++at.depth > most_depth) co_return;
    context& here = co_await this_context();
    while (!program.empty() && ++at.in->steps < most_steps) {
        const unsigned what = program.byte();
        const bool goes_on = what >= 128;
        auto work = step(at, static_cast<verb>(what % verb_count), program);
        std::exception_ptr failure = co_await work.settle(here);
        if (failure && !goes_on) std::rethrow_exception(std::move(failure));
    }
}

}  // namespace rondo::fuzz
