// Each connection sends a message, waits for all of its echo, sends the next.
#include "profiles.hpp"

#include <rondo/rondo.hpp>

namespace load {

// The loop that the measured time is spent in, so it awaits the socket itself: a task of its own
// for each message would cost as much as the rest of it.
rondo::task<> ping_pong(session& all, connection& mine) {
    const std::size_t size = all.chosen.size;
    clock::time_point now = clock::now();
    for (;;) {
        clock::time_point intended = now;
        if (mine.schedule.is_open()) intended = co_await next_sending(all, mine);
        mine.waiting = true;
        if (size > fits_between) {
            co_await echo_while_sending(mine, size);
        } else {
            co_await mine.socket.send(mine.bytes.next(size));
            for (std::size_t missing = size; missing != 0;) {
                const rondo::chunk data = co_await mine.socket.recv();
                missing = check_echo(mine, data.bytes(), missing);
            }
        }
        mine.waiting = false;
        mine.schedule.note_back();
        now = clock::now();
        all.measured.count(now, intended);
    }
}

rondo::task<> open_connections(session& all, std::deque<connection>& made, unsigned count) {
    for (unsigned i = 0; i < count; ++i) made.emplace_back(i);
    co_await open_gently(all, count,
                         [&](std::size_t i) { return open_connection(all, made[i], i); });
}

rondo::task<> run_ping_pong(session& all) {
    std::deque<connection> connections;
    co_await open_connections(all, connections, all.chosen.connections);
    for (connection& each : connections) all.watched.push_back(&each);
    co_await measure(all, [&](rondo::task_group& group) {
        for (connection& each : connections)
            group.spawn(ping_pong, std::ref(all), std::ref(each));
    });
}

}  // namespace load
