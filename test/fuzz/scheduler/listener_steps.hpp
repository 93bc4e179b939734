// Steps of a program that are about a listener and those who connect to it.
#pragma once

#include <fuzz/scheduler/await.hpp>
#include <fuzz/scheduler/verdict.hpp>
#include <fuzz/scheduler/world.hpp>

#include <rondo/task/result.hpp>
#include <rondo/task/task.hpp>
#include <rondo/task/with_timeout.hpp>

#include <cerrno>
#include <cstddef>
#include <utility>

namespace rondo::fuzz {

/// What a faulty engine answers an accept with, while the connection stays where it is.
inline bool leaves_it_waiting(const world& in, int error) noexcept {
    if (in.errors) return true;
    if (!in.is_faulty) return false;
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
           error == ECONNABORTED;
}

inline task<> start_knock(unix_socket& client, unix_address where, milliseconds limit) {
    co_await with_timeout(limit, client.connect(where));
}

/// The client is gone at once; its connection is there, and to be accepted, all the same.
inline task<> knock(world& in, bool timed) {
    front_door& door = in.door;
    if (!door.is_open() || door.leaving) co_return;
    const unsigned generation = door.generation();
    std::size_t number = 0;
    unix_socket client = unix_socket::create();
    client.bind(door.announce(number));
    const auto is_there = [&door, generation] {
        return door.is_open() && !door.leaving && door.generation() == generation;
    };
    const auto may_fail = [is_there, errors = in.errors](int error) {
        return errors || error == EAGAIN || (!is_there() && error == ECONNREFUSED);
    };
    const milliseconds limit = timed ? limit_of(number) : milliseconds(1000);
    context& here = co_await this_context();
    verdict ended(here, nullptr, may_fail, limit);
    const unix_address where = door.address();
    auto work = start_knock(client, where, limit);
    co_await judged(work, ended);
    if (is_there()) door.connected(number);
}

inline task<> accept_one(world& in, receiving how) {
    front_door& door = in.door;
    if (!door.is_open() || door.accepting) co_return;
    const claim busy(door.accepting);
    const auto may_fail = [&in](int error) { return leaves_it_waiting(in, error); };
    context& here = co_await this_context();
    verdict ended(here, &door.interruptions, may_fail, milliseconds(2));
    unix_socket got;
    const auto accept = [&door] { return door.socket.accept(); };
    auto work = receive_by(how, milliseconds(2), accept, got);
    co_await judged(work, ended);
    door.accepted(got.remote_address());
}

inline task<> close_door(front_door& door) {
    if (!door.is_open()) co_return;
    const claim leaving(door.leaving);
    ++door.interruptions;
    co_await door.socket.close();
    check(!door.accepting, "close() returns before what it has cancelled");
}

inline void drop_door(front_door& door) {
    if (!door.is_open() || door.accepting) return;
    door.socket = unix_listener();
}

inline void move_door(front_door& door) {
    unix_listener elsewhere = std::move(door.socket);
    door.socket = std::move(elsewhere);
}

inline void open_door(front_door& door) {
    if (!door.is_open() && !door.accepting && !door.leaving) door.open();
}

inline task<> settle_door(world& in) {
    front_door& door = in.door;
    check(!door.accepting, "a task has ended and is still in an accept");
    for (int i = 0; i != 500 && door.is_open() && door.has_waiting(); ++i) {
        auto got = co_await as_result(with_timeout(milliseconds(1), door.socket.accept()));
        if (got) {
            door.accepted(got->remote_address());
            continue;
        }
        const int error = got.error().value();
        check(error == ETIMEDOUT || leaves_it_waiting(in, error),
              "a connection cannot be accepted");
    }
    check(!door.is_open() || !door.has_waiting(), "a connection is lost");
    co_await close_door(door);
}

}  // namespace rondo::fuzz
