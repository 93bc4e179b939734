// One run of the load: what all its connections share, and how it comes to its end.
#pragma once

#include "figures.hpp"
#include "options.hpp"
#include "pace.hpp"
#include "pattern.hpp"
#include "target.hpp"

#include <rondo/net/stream_socket.hpp>
#include <rondo/task/task.hpp>
#include <rondo/task/task_group.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace load {

// One who waits for a server, as the watch over silence sees it.
struct peer {
    explicit peer(unsigned index) noexcept : bytes(index) {}

    stretch bytes;
    bool waiting = false;  // something is to come back
    std::uint64_t seen = 0;
    clock::time_point seen_at{};
};

struct connection : peer {
    using peer::peer;

    rondo::stream_socket socket;
    clock::time_point owed_since{};  // the message that is due, on its way, or awaited
};

struct session {
    session(const options& asked, target where)
        : chosen(asked), server(std::move(where)), measured(asked) {}

    pace pace_of(std::size_t index, std::size_t count) const noexcept {
        return pace(chosen.rate, index, count, start);
    }

    const options& chosen;
    target server;
    figures measured;
    clock::time_point start;  // of the warm-up, and of every schedule
    std::vector<peer*> watched;
};

// Runs what `begin_work` spawns over the warm-up and the measured time, then cancels it. An
// interruption ends it earlier, with what was measured so far. Throws where a server says nothing
// for 10 s that it should.
rondo::task<> measure(session& all, std::function<void(rondo::task_group&)> begin_work);

// Calls `open(index)` for 0 to `count` - 1, some at a time, so that the server's backlog does not
// overflow.
rondo::task<> open_gently(std::size_t count, std::function<rondo::task<>(std::size_t)> open);

// Connects and has one short echo, so that the connection is in the server's hands.
rondo::task<> open_connection(session& all, connection& made, std::size_t number);

// Sends the next message and receives all of its echo.
rondo::task<> echo_once(connection& peer, std::size_t size);

}  // namespace load
