// Each connection sends on while the echo comes back, a window of messages ahead of it.
#include "profiles.hpp"

#include <rondo/rondo.hpp>

#include <array>

namespace load {

namespace {

constexpr std::size_t window = 16;

struct one_stream : connection {
    using connection::connection;

    std::array<clock::time_point, window> intended{};
    std::uint64_t sent = 0;  // messages
    std::uint64_t back = 0;
    std::size_t part = 0;  // bytes of the next one that are back
    rondo::event moved;    // the window has
};

rondo::task<> send_on(session& all, one_stream& mine) {
    for (;;) {
        while (mine.sent - mine.back == window) {
            mine.moved.reset();
            co_await mine.moved.wait();
        }
        clock::time_point intended = clock::now();
        if (mine.schedule.is_open()) intended = co_await next_sending(all, mine);
        mine.intended[mine.sent % window] = intended;
        ++mine.sent;
        mine.waiting = true;
        co_await mine.socket.send(mine.bytes.next(all.chosen.size));
    }
}

void take_back(session& all, one_stream& mine, std::span<const std::byte> data) {
    const std::size_t size = all.chosen.size;
    const std::size_t missing = (mine.sent - mine.back) * size - mine.part;
    check_echo(mine, data, missing);
    mine.part += data.size();
    if (mine.part < size) return;
    const clock::time_point now = clock::now();
    for (; mine.part >= size; mine.part -= size) {
        all.measured.count(now, mine.intended[mine.back % window]);
        mine.schedule.note_back();
        ++mine.back;
    }
    mine.waiting = mine.sent != mine.back;
    mine.moved.set();
}

rondo::task<> receive_on(session& all, one_stream& mine) {
    for (;;) {
        const rondo::chunk data = co_await mine.socket.recv();
        take_back(all, mine, data.bytes());
    }
}

}  // namespace

rondo::task<> run_stream(session& all) {
    std::deque<one_stream> streams;
    for (unsigned i = 0; i < all.chosen.connections; ++i)
        all.watched.push_back(&streams.emplace_back(i));
    co_await open_gently(all, streams.size(),
                         [&](std::size_t i) { return open_connection(all, streams[i], i); });
    co_await measure(all, [&](rondo::task_group& group) {
        for (one_stream& each : streams) {
            group.spawn(send_on, std::ref(all), std::ref(each));
            group.spawn(receive_on, std::ref(all), std::ref(each));
        }
    });
}

}  // namespace load
