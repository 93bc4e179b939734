// Datagrams: as ping-pong, and what is lost is sent again.
#include "profiles.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace load {

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 100ms;

struct datagrams : peer {
    using peer::peer;

    rondo::udp_socket socket;
    clock::time_point sent_at{};
    // Places of messages that were sent twice: a second echo of them may come.
    std::vector<std::size_t> repeated;
};

// Whether it is an echo that was not lost but late.
bool is_late(session& all, datagrams& mine, std::span<const std::byte> data) {
    const auto found = std::ranges::find_if(mine.repeated, [&](std::size_t place) {
        return place != mine.bytes.place() && stretch::matches(data, place);
    });
    if (found == mine.repeated.end()) return false;
    mine.repeated.erase(found);
    if (all.measured.lost != 0) --all.measured.lost;
    return true;
}

// Whether it is one of the last messages once more: a network may deliver a datagram twice.
bool is_second_copy(const datagrams& mine, std::span<const std::byte> data) {
    constexpr std::uint64_t late_by = 16;  // messages
    const std::uint64_t known = std::min(late_by, mine.bytes.received() / data.size());
    for (std::uint64_t i = 1; i <= known; ++i)
        if (stretch::matches(data, mine.bytes.place_before(i * data.size()))) return true;
    return false;
}

// Whether the message has come back.
bool take_back(session& all, datagrams& mine, std::span<const std::byte> data, std::size_t size) {
    if (size != all.chosen.size)
        throw std::runtime_error(fmt::format("connection {}: a datagram of {} bytes came back as "
                                             "one of {}",
                                             mine.bytes.connection(), all.chosen.size, size));
    const bool is_next = stretch::matches(data, mine.bytes.place());
    if (!is_next && (is_late(all, mine, data) || is_second_copy(mine, data))) return false;
    mine.bytes.check(data);
    return true;
}

rondo::task<> ping_pong_datagrams(session& all, datagrams& mine, std::size_t index) {
    // Not all at once: the server's socket has room for some hundred.
    co_await rondo::sleep_for(20us * index);
    clock::time_point now = clock::now();
    for (;;) {
        clock::time_point intended = now;
        if (mine.schedule.is_open()) intended = co_await next_sending(all, mine);
        mine.sent_at = mine.schedule.is_open() ? clock::now() : now;
        mine.waiting = true;
        co_await mine.socket.send(mine.bytes.next(all.chosen.size));
        for (bool is_back = false; !is_back;) {
            const rondo::datagram data = co_await mine.socket.recv();
            is_back = take_back(all, mine, data.bytes(), data.true_size());
        }
        mine.waiting = false;
        mine.schedule.note_back();
        now = clock::now();
        all.measured.count(now, intended);
    }
}

rondo::task<> send_lost_again(session& all, std::deque<datagrams>& sockets) {
    for (;;) {
        co_await rondo::sleep_for(patience / 4);
        for (datagrams& each : sockets) {
            if (!each.waiting || clock::now() - each.sent_at < patience) continue;
            each.sent_at = clock::now();
            each.repeated.push_back(each.bytes.place());
            ++all.measured.lost;
            co_await each.socket.send(each.bytes.again(all.chosen.size));
        }
    }
}

}  // namespace

rondo::task<> run_udp(session& all) {
    std::deque<datagrams> sockets;
    for (unsigned i = 0; i < all.chosen.connections; ++i) {
        datagrams& made = sockets.emplace_back(i);
        made.socket = all.server.connect_udp(i);
        all.watched.push_back(&made);
    }
    co_await measure(all, [&](rondo::task_group& group) {
        for (std::size_t i = 0; i < sockets.size(); ++i)
            group.spawn(ping_pong_datagrams, std::ref(all), std::ref(sockets[i]), i);
        group.spawn(send_lost_again, std::ref(all), std::ref(sockets));
    });
}

}  // namespace load
