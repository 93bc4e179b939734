// Most connections say nothing: what they cost the server, and how it serves the few that do.
#include "profiles.hpp"

#include <rondo/rondo.hpp>

#include <algorithm>

namespace load {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t most_active = 8;

// The server may still be at work: until it has not changed for a while, 5 s at most.
rondo::task<std::uint64_t> settled_memory(const server_process& server) {
    std::uint64_t memory = 0;
    for (int same = 0, tries = 0; same < 4 && tries < 100; ++tries) {
        const std::uint64_t latest = server.resident_bytes();
        same = latest == memory ? same + 1 : 0;
        memory = latest;
        co_await rondo::sleep_for(50ms);
    }
    co_return memory;
}

rondo::task<> expect_nothing(connection& mine) {
    const rondo::chunk data = co_await mine.socket.recv();
    check_echo(mine, data.bytes(), 0);
}

}  // namespace

rondo::task<> run_idle(session& all) {
    const server_process& server = *all.measured.server();
    const std::uint64_t before = co_await settled_memory(server);
    std::deque<connection> connections;
    co_await open_connections(all, connections, all.chosen.connections);
    const std::uint64_t after = co_await settled_memory(server);
    all.measured.idle_bytes_per_connection =
        (static_cast<double>(after) - static_cast<double>(before)) /
        static_cast<double>(connections.size());
    // Spread over them all: a server may treat those it has had longest in another way.
    const std::size_t count = std::min(most_active, connections.size());
    const auto is_active = [&](std::size_t i) {
        return i * count / connections.size() != (i + 1) * count / connections.size();
    };
    for (std::size_t i = 0; i < connections.size(); ++i)
        if (is_active(i)) all.watched.push_back(&connections[i]);
    co_await measure(all, [&](rondo::task_group& group) {
        for (std::size_t i = 0; i < connections.size(); ++i) {
            if (is_active(i)) {
                group.spawn(ping_pong, std::ref(all), std::ref(connections[i]));
            } else {
                group.spawn(expect_nothing, std::ref(connections[i]));
            }
        }
    });
}

}  // namespace load
