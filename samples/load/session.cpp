#include "session.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <stdexcept>

namespace load {

using namespace std::chrono_literals;

namespace {

constexpr auto longest_silence = 10s;
constexpr std::size_t openings_at_a_time = 64;
constexpr std::size_t longest_greeting = 64;

rondo::task<> watch_for_silence(session& all) {
    for (;;) {
        co_await rondo::sleep_for(500ms);
        const clock::time_point now = clock::now();
        for (peer* const each : all.watched) {
            if (!each->waiting || each->seen != each->bytes.received()) {
                each->seen = each->bytes.received();
                each->seen_at = now;
            } else if (now - each->seen_at > longest_silence) {
                throw std::runtime_error(fmt::format(
                    "connection {}: nothing has come back for {} s, after {} bytes",
                    each->bytes.connection(), longest_silence.count(), each->seen));
            }
        }
    }
}

rondo::task<> show_progress(session& all) {
    std::uint64_t before = 0;
    bool had_begun = false;
    for (;;) {
        co_await rondo::sleep_for(1s);
        const bool has_begun = all.measured.has_begun();
        if (has_begun != std::exchange(had_begun, has_begun)) before = 0;
        const std::uint64_t now = all.measured.messages;
        fmt::print(stderr, "{}: {} messages/s\n", has_begun ? "measuring" : "warming up",
                   now - std::exchange(before, now));
    }
}

rondo::task<> keep_time(session& all) {
    co_await rondo::sleep_for(std::chrono::duration<double>(all.chosen.warm_up));
    all.measured.begin();
    auto rest = co_await rondo::as_result(
        rondo::sleep_for(std::chrono::duration<double>(all.chosen.seconds)));
    all.measured.end();
    rest.value();
}

}  // namespace

rondo::task<> measure(session& all, std::function<void(rondo::task_group&)> begin_work) {
    const clock::time_point now = clock::now();
    all.start = now;
    for (peer* const each : all.watched) each->seen_at = now;
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        begin_work(group);
        group.spawn(watch_for_silence, std::ref(all));
        if (::isatty(STDERR_FILENO) != 0) group.spawn(show_progress, std::ref(all));
        co_await keep_time(all);
        group.cancel();
    });
}

rondo::task<> open_gently(std::size_t count, std::function<rondo::task<>(std::size_t)> open) {
    for (std::size_t first = 0; first < count; first += openings_at_a_time) {
        const std::size_t end = std::min(count, first + openings_at_a_time);
        auto batch = rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
            for (std::size_t i = first; i < end; ++i) group.spawn(open, i);
            co_return;
        });
        auto opened = co_await rondo::as_result(
            rondo::with_timeout(longest_silence, std::move(batch)));
        if (opened.error() == std::errc::timed_out)
            throw std::runtime_error(fmt::format(
                "connections {} to {}: no echo within {} s of connecting", first, end - 1,
                longest_silence.count()));
        opened.value();
    }
}

rondo::task<> echo_once(connection& peer, std::size_t size) {
    co_await peer.socket.send(peer.bytes.next(size));
    while (size != 0) {
        const rondo::chunk data = co_await peer.socket.recv();
        if (!data) peer.bytes.report_end();
        const std::size_t taken = std::min(size, data.size());
        peer.bytes.check(data.bytes().first(taken));
        if (taken != data.size()) peer.bytes.report_surplus(data.size() - taken);
        size -= taken;
    }
}

rondo::task<> open_connection(session& all, connection& made, std::size_t number) {
    made.socket = co_await all.server.connect(number);
    co_await echo_once(made, std::min(all.chosen.size, longest_greeting));
}

}  // namespace load
