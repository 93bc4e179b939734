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

constexpr std::size_t openings_at_a_time = 64;
constexpr std::size_t longest_greeting = 64;

rondo::task<> watch_for_silence(session& all) {
    const std::chrono::duration<double> longest(all.chosen.silence);
    for (;;) {
        co_await rondo::sleep_for(longest / 20);
        const clock::time_point now = clock::now();
        for (peer* const each : all.watched) {
            if (!each->waiting || each->seen != each->progress()) {
                each->seen = each->progress();
                each->seen_at = now;
            } else if (now - each->seen_at > longest) {
                throw std::runtime_error(fmt::format(
                    "connection {}: nothing has come back for {} s, after {} {}",
                    each->bytes.connection(), longest.count(), each->seen,
                    each->lines != 0 ? "lines" : "bytes"));
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
    const clock::time_point prepares = clock::now();
    all.measured.prepare();
    // What was due meanwhile is to be worked off before the measured time, not in it.
    if (all.chosen.rate > 0) co_await rondo::sleep_for(2 * (clock::now() - prepares));
    all.measured.begin();
    auto rest = co_await rondo::as_result(
        rondo::sleep_for(std::chrono::duration<double>(all.chosen.seconds)));
    all.measured.end();
    if (all.count_overdue) {
        all.count_overdue();
    } else {
        for (const peer* const each : all.watched) all.measured.count_overdue(each->schedule);
    }
    rest.value();
}

}  // namespace

rondo::task<> measure(session& all, std::function<void(rondo::task_group&)> begin_work) {
    const clock::time_point now = clock::now();
    all.start = now;
    for (std::size_t i = 0; i < all.watched.size(); ++i) {
        all.watched[i]->seen_at = now;
        if (all.chosen.rate > 0 && all.chosen.what != profile::room)
            all.watched[i]->schedule = pace(all.chosen.rate, i, all.watched.size(), now);
    }
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        begin_work(group);
        group.spawn(watch_for_silence, std::ref(all));
        if (::isatty(STDERR_FILENO) != 0) group.spawn(show_progress, std::ref(all));
        co_await keep_time(all);
        group.cancel();
    });
}

rondo::task<> open_gently(const session& all, std::size_t count,
                          std::function<rondo::task<>(std::size_t)> open) {
    for (std::size_t first = 0; first < count; first += openings_at_a_time) {
        const std::size_t end = std::min(count, first + openings_at_a_time);
        auto batch = rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
            for (std::size_t i = first; i < end; ++i) group.spawn(open, i);
            co_return;
        });
        auto opened = co_await rondo::as_result(
            rondo::with_timeout(std::chrono::duration<double>(all.chosen.silence),
                                std::move(batch)));
        if (opened.error() == std::errc::timed_out)
            throw std::runtime_error(fmt::format(
                "connections {} to {}: no answer within {} s of connecting", first, end - 1,
                all.chosen.silence));
        opened.value();
    }
}

rondo::task<clock::time_point> next_sending(session& all, peer& mine) {
    if (!mine.schedule.is_open()) co_return clock::now();
    const clock::time_point intended = mine.schedule.due();
    mine.schedule.note_sent();
    if (intended > clock::now()) co_await rondo::sleep_until(intended);
    all.measured.note_sending(clock::now(), intended);
    co_return intended;
}

namespace {

rondo::task<> receive_echo(connection& mine, std::size_t missing) {
    while (missing != 0) {
        const rondo::chunk data = co_await mine.socket.recv();
        missing = check_echo(mine, data.bytes(), missing);
    }
}

}  // namespace

rondo::task<> echo_while_sending(connection& mine, std::size_t size) {
    co_await rondo::when_all(mine.socket.send(mine.bytes.next(size)), receive_echo(mine, size));
}

rondo::task<> echo_once(connection& mine, std::size_t size) {
    if (size > fits_between) {
        co_await echo_while_sending(mine, size);
        co_return;
    }
    co_await mine.socket.send(mine.bytes.next(size));
    co_await receive_echo(mine, size);
}

rondo::task<> open_connection(session& all, connection& made, std::size_t number) {
    made.socket = co_await all.server.connect(number);
    co_await echo_once(made, std::min(all.chosen.size, longest_greeting));
}

}  // namespace load
