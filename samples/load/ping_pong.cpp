// Each connection sends a message, waits for all of its echo, sends the next.
#include "profiles.hpp"

#include <rondo/rondo.hpp>

#include <algorithm>
#include <deque>

namespace load {

namespace {

// A longer message must be received while it is sent, as the server echoes its beginning before it
// has taken its end, and what is between has no room for all of it.
constexpr std::size_t fits_between = 16 * 1024;

rondo::task<> receive_echo(connection& peer, std::size_t missing) {
    while (missing != 0) {
        const rondo::chunk data = co_await peer.socket.recv();
        if (!data) peer.bytes.report_end();
        const std::size_t taken = std::min(missing, data.size());
        peer.bytes.check(data.bytes().first(taken));
        if (taken != data.size()) peer.bytes.report_surplus(data.size() - taken);
        missing -= taken;
    }
}

}  // namespace

// The loop that the measured time is spent in, so it awaits the socket itself: a task of its own
// for each message would cost as much as the rest of it.
rondo::task<> ping_pong(session& all, connection& mine, std::size_t index, std::size_t count) {
    const std::size_t size = all.chosen.size;
    pace schedule = all.pace_of(index, count);
    clock::time_point now = clock::now();
    for (;;) {
        clock::time_point intended = now;
        if (schedule.is_open()) {
            intended = mine.owed_since = schedule.due();
            schedule.advance();
            if (intended > now) {
                co_await rondo::sleep_until(intended);
                now = clock::now();
            }
            all.measured.note_sending(now, intended);
        }
        mine.waiting = true;
        const rondo::const_buffer message = mine.bytes.next(size);
        if (size > fits_between) {
            co_await rondo::when_all(mine.socket.send(message), receive_echo(mine, size));
        } else {
            co_await mine.socket.send(message);
            for (std::size_t missing = size; missing != 0;) {
                const rondo::chunk data = co_await mine.socket.recv();
                const std::size_t taken = std::min(missing, data.size());
                if (taken == 0) [[unlikely]] mine.bytes.report_end();
                mine.bytes.check(data.bytes().first(taken));
                if (taken != data.size()) [[unlikely]]
                    mine.bytes.report_surplus(data.size() - taken);
                missing -= taken;
            }
        }
        mine.waiting = false;
        now = clock::now();
        all.measured.count(now, intended);
    }
}

rondo::task<> run_ping_pong(session& all) {
    const std::size_t count = all.chosen.connections;
    std::deque<connection> connections;
    for (unsigned i = 0; i < count; ++i) {
        all.watched.push_back(&connections.emplace_back(i));
    }
    co_await open_gently(count, [&](std::size_t i) {
        return open_connection(all, connections[i], i);
    });
    co_await measure(all, [&](rondo::task_group& group) {
        for (std::size_t i = 0; i < count; ++i)
            group.spawn(ping_pong, std::ref(all), std::ref(connections[i]), i, count);
    });
}

}  // namespace load
