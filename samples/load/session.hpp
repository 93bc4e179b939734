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

// One who talks to the server, as the watch over silence sees it.
struct peer {
    explicit peer(unsigned index) noexcept : bytes(index) {}

    stretch bytes;
    pace schedule;
    bool waiting = false;     // something is to come back
    std::uint64_t lines = 0;  // that have come, in a room
    std::uint64_t seen = 0;
    clock::time_point seen_at{};

    std::uint64_t progress() const noexcept { return bytes.received() + lines; }
};

struct connection : peer {
    using peer::peer;

    rondo::stream_socket socket;
};

struct session {
    session(const options& asked, target where)
        : chosen(asked), server(std::move(where)), measured(asked) {}

    const options& chosen;
    target server;
    figures measured;
    clock::time_point start;  // of the warm-up, and of every schedule
    std::vector<peer*> watched;
    // Counts what was not back at the end, where the schedules of those watched do not tell it.
    std::function<void()> count_overdue;
};

// Gives each of `all.watched` its place in the schedule, if there is one (a room's lines have one
// of their own), runs what `begin_work` spawns over the warm-up and the measured time, then cancels
// it. An interruption ends it earlier, with what was measured so far. Throws where a server says
// nothing for too long that it should.
rondo::task<> measure(session& all, std::function<void(rondo::task_group&)> begin_work);

// Calls `open(index)` for 0 to `count` - 1, some at a time, so that the server's backlog does not
// overflow.
rondo::task<> open_gently(const session& all, std::size_t count,
                          std::function<rondo::task<>(std::size_t)> open);

// Connects and has one short echo, so that the connection is in the server's hands.
rondo::task<> open_connection(session& all, connection& made, std::size_t number);

// Waits until the next message is to be sent, and returns when that was; counts it where it is
// late. In a closed loop that is now.
rondo::task<clock::time_point> next_sending(session& all, peer& mine);

// `bytes` as the echo of the message that `missing` bytes of are to come; returns what is missing
// then. Throws where they are wrong, too many, or the end of the stream.
std::size_t check_echo(peer& mine, std::span<const std::byte> bytes, std::size_t missing);

// Sends the next message and receives all of its echo.
rondo::task<> echo_once(connection& mine, std::size_t size);

// A longer message must be received while it is sent: the server echoes its beginning before it has
// taken its end, and what is between has no room for all of it.
inline constexpr std::size_t fits_between = 16 * 1024;
rondo::task<> echo_while_sending(connection& mine, std::size_t size);

inline std::size_t check_echo(peer& mine, std::span<const std::byte> bytes, std::size_t missing) {
    if (bytes.empty()) [[unlikely]] mine.bytes.report_end();
    const std::size_t taken = bytes.size() < missing ? bytes.size() : missing;
    mine.bytes.check(bytes.first(taken));
    if (taken != bytes.size()) [[unlikely]] mine.bytes.report_surplus(bytes.size() - taken);
    return missing - taken;
}

}  // namespace load
