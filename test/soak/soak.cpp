// The soak: a mixed load in rounds, and after each of them everything must be back.
//
//     test/soak/run [--minutes 10]      builds this and runs it on both engines
//
// Servers stay for the whole time on two threads. In each round clients come and go on both of
// them, and processes are killed and started again. Between rounds nobody has work, so tasks,
// timers, receive buffers and descriptors must be exactly as many as before, and memory must not
// grow from round to round once it has been warmed up.
#include <rondo/rondo.hpp>

#include <command_line.hpp>
#include <soak/load.hpp>
#include <soak/usage.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

struct settings {
    double minutes = 10;
    double round = 3;  // seconds
};

struct row {
    double at;  // seconds since the beginning
    soak::usage used;
};

// What one of both schedulers counts, as a task on it sees it.
rondo::task<rondo::scheduler_stats> own_stats() {
    const rondo::scheduler& here = co_await rondo::this_scheduler();
    co_return here.stats();
}

rondo::task<soak::usage> measure(rondo::scheduler& other) {
    const auto there = co_await rondo::on(other, own_stats);
    const auto here = co_await own_stats();
    soak::usage now = soak::process_usage();
    now.add(here);
    now.add(there);
    co_return now;
}

// What clients have left to the servers ends a little later.
rondo::task<soak::usage> measure_when_quiet(rondo::scheduler& other, const soak::usage& before) {
    const auto give_up = soak::clock::now() + 15s;
    for (;;) {
        const soak::usage now = co_await measure(other);
        if (now.same_objects(before) || soak::clock::now() > give_up) co_return now;
        co_await rondo::sleep_for(5ms);
    }
}

void print(const row& one) {
    fmt::print("{:8.1f} s {:10.1f} {:10.1f} {:8} {:8} {:8} {:8}\n", one.at,
               static_cast<double>(one.used.allocated) / 1024,
               static_cast<double>(one.used.resident) / 1024, one.used.descriptors,
               one.used.tasks, one.used.timers, one.used.buffers);
    std::fflush(stdout);
}

rondo::task<> run_round(soak::world& all, rondo::scheduler& other, unsigned seed,
                        soak::clock::time_point until) {
    rondo::scheduler& here = co_await rondo::this_scheduler();
    const auto there = [&all, &here, seed, until] {
        return soak::run_clients(all, here, seed + 500'000, until, false);
    };
    co_await rondo::when_all(soak::run_clients(all, other, seed, until, true),
                             rondo::on(other, there));
}

rondo::task<std::vector<row>> run_rounds(soak::world& all, rondo::scheduler& other,
                                         settings chosen) {
    const auto began = soak::clock::now();
    const auto end = began + std::chrono::duration<double>(chosen.minutes * 60);
    const auto length = std::chrono::duration_cast<soak::clock::duration>(
        std::chrono::duration<double>(chosen.round));
    std::vector<row> rows;
    // The first round makes what is made once: threads, their descriptors.
    co_await run_round(all, other, 0, soak::clock::now() + length);
    co_await rondo::sleep_for(100ms);
    soak::usage before = co_await measure(other);
    double printed = -1e9;
    for (unsigned round = 1; soak::clock::now() < end; ++round) {
        co_await run_round(all, other, round * 1000, soak::clock::now() + length);
        before = co_await measure_when_quiet(other, rows.empty() ? before : rows.front().used);
        const std::chrono::duration<double> at = soak::clock::now() - began;
        rows.push_back({at.count(), before});
        if (at.count() - printed < chosen.minutes * 60 / 20) continue;
        printed = at.count();
        print(rows.back());
    }
    co_return rows;
}

rondo::task<std::vector<row>> run_all(soak::world& all, settings chosen) {
    const rondo::scheduler& here = co_await rondo::this_scheduler();
    const auto siblings = here.siblings();
    // The other one turns as long as this one, with nothing of its own.
    if (siblings[0] != &here) co_return {};
    rondo::scheduler& other = *siblings[1];
    std::vector<row> rows;
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        group.spawn(soak::serve_tcp, std::ref(all));
        group.spawn(soak::serve_chat, std::ref(all));
        group.spawn(soak::serve_files, std::ref(all));
        group.spawn([&all, &other]() -> rondo::task<> {
            co_await rondo::on(other, soak::serve_unix, std::ref(all));
        });
        group.spawn([&all, &other]() -> rondo::task<> {
            co_await rondo::on(other, soak::serve_udp, std::ref(all));
        });
        while (all.listening != soak::servers) co_await rondo::sleep_for(1ms);
        rows = co_await run_rounds(all, other, chosen);
        group.cancel();
    });
    co_return rows;
}

// --- the verdict -----------------------------------------------------------------------------

double median(std::span<const row> rows, std::size_t soak::usage::*what) {
    std::vector<std::size_t> values;
    for (const row& each : rows) values.push_back(each.used.*what);
    std::ranges::sort(values);
    return static_cast<double>(values.at(values.size() / 2));
}

// Growth from the second quarter to the last; the first one warms up.
double growth(std::span<const row> rows, std::size_t soak::usage::*what) {
    const std::size_t quarter = rows.size() / 4;
    return median(rows.last(quarter), what) - median(rows.subspan(quarter, quarter), what);
}

constexpr double most_allocated = 256.0 * 1024;  // four slabs of frames
constexpr double most_resident = 2048.0 * 1024;  // stacks and buffers touched late

bool verdict(std::span<const row> rows, const soak::world& all) {
    bool good = true;
    const auto check = [&](bool holds, const std::string& text) {
        fmt::print("{:6} {}\n", holds ? "" : "WRONG", text);
        good = good && holds;
    };
    for (std::size_t i = 0; i < soak::kind_names.size(); ++i) {
        const std::uint64_t done = all.done.at(i);
        check(done > 0, fmt::format("{} {}", done, soak::kind_names.at(i)));
    }
    check(rows.size() >= 8, fmt::format("{} rounds", rows.size()));
    if (rows.size() < 8) return false;
    const bool same = std::ranges::all_of(rows, [&](const row& each) {
        return each.used.same_objects(rows.front().used);
    });
    check(same, "descriptors, tasks and timers are the same after every round");
    check(rows.back().used.buffers == 0, "no receive buffer is held");
    const double allocated = growth(rows, &soak::usage::allocated);
    check(allocated <= most_allocated,
          fmt::format("allocated memory grew by {:.1f} KiB, limit {:.0f}", allocated / 1024,
                      most_allocated / 1024));
    const double resident = growth(rows, &soak::usage::resident);
    check(resident <= most_resident, fmt::format("resident memory grew by {:.1f} KiB, limit {:.0f}",
                                                 resident / 1024, most_resident / 1024));
    return good;
}

int soak_here(settings chosen, const std::string& program) {
    std::string folder = std::filesystem::temp_directory_path() / "rondo_soak_XXXXXX";
    if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no temporary folder");
    soak::world all;
    all.folder = folder;
    all.program = program;
    fmt::print("{:>10} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8}\n", "", "KiB used", "resident",
               "descr.", "tasks", "timers", "buffers");
    // Pools that do not grow: their memory is touched in the first rounds.
    const rondo::run_options two = {.threads = 2, .buffers = {.initial = 128, .most = 128}};
    const std::vector<row> rows = rondo::run(two, run_all, std::ref(all), chosen);
    std::filesystem::remove_all(folder);
    return verdict(rows, all) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    settings chosen;
    std::string talk_to;
    std::string serve_at;
    command_line line("A mixed load in rounds, after each of which everything must be back.");
    line.add("--minutes", chosen.minutes, "how long");
    line.add("--round", chosen.round, "seconds of a round");
    line.add("--talk", talk_to, "be a client that is killed");
    line.add("--serve", serve_at, "be a server that is killed");
    line.parse(argc, argv);
    try {
        if (!talk_to.empty()) {
            const auto echo = rondo::endpoint::parse(talk_to);
            if (!echo) throw std::runtime_error("no endpoint: " + talk_to);
            rondo::run(soak::talk_for_ever(*echo));
        } else if (!serve_at.empty()) {
            rondo::run(soak::serve_for_ever(serve_at));
        } else {
            return soak_here(chosen, std::filesystem::read_symlink("/proc/self/exe"));
        }
    } catch (const std::exception& error) {
        fmt::print(stderr, "soak: {}\n", error.what());
        return 1;
    }
}
