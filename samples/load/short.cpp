// Short lives: connect, one message and its echo, the end of both streams; N at a time.
#include "profiles.hpp"

#include <rondo/rondo.hpp>

namespace load {

using namespace std::chrono_literals;

namespace {

// What ends first waits for a minute (TIME-WAIT), and its port with it. Eight addresses have
// 224,000 ports on loopback, where Linux lets them be used again after a second.
constexpr std::size_t sources = 8;

rondo::task<> live_again_and_again(session& all, connection& mine, std::size_t index) {
    // Not all at once.
    co_await rondo::sleep_for(20us * index);
    for (std::size_t life = index;; ++life) {
        const clock::time_point intended = co_await next_sending(all, mine);
        mine.waiting = true;
        mine.socket = co_await all.server.connect(life % sources * connections_per_source);
        co_await echo_once(mine, all.chosen.size);
        mine.schedule.note_back();
        all.measured.count(clock::now(), intended);
        mine.socket.shutdown(rondo::shutdown_mode::send);
        const rondo::chunk more = co_await mine.socket.recv();
        if (more) mine.bytes.report_surplus(more.size());
        mine.waiting = false;
        co_await mine.socket.close();
    }
}

}  // namespace

rondo::task<> run_short(session& all) {
    std::deque<connection> connections;
    for (unsigned i = 0; i < all.chosen.connections; ++i)
        all.watched.push_back(&connections.emplace_back(i));
    co_await measure(all, [&](rondo::task_group& group) {
        for (std::size_t i = 0; i < connections.size(); ++i)
            group.spawn(live_again_and_again, std::ref(all), std::ref(connections[i]), i);
    });
}

}  // namespace load
