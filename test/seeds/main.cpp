// Plays scenarios under seeds: on an engine that misbehaves, with tasks resumed in a drawn order,
// in virtual time. Names each seed that fails and the command that replays it.
#include <seeds/every_fault.hpp>
#include <seeds/one_run.hpp>
#include <seeds/scenarios.hpp>
#include <seeds/settings.hpp>
#include <seeds/tally.hpp>

#include <rondo/log.hpp>

#include <fmt/format.h>

#include <linux/io_uring.h>

#include <chrono>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::test {

namespace {

using testing::fault;
using testing::fault_plan;

settings one_of(bool uring, const scenario& which, std::uint64_t seed) {
    settings made;
    made.uring = uring;
    made.only = &which;
    made.first = made.last = seed;
    return made;
}

// --- many seeds ------------------------------------------------------------------------------

void report(const settings& one, const outcome& failed) {
    fmt::print("FAILED {} seed {}: {}\n  faults: {}\n  replay: {}\n", one.only->name, one.first,
               failed.failure, failed.faults, command_of(one));
}

/// The same seed once more must go the same way.
bool goes_the_same_way(const settings& one, const outcome& first) {
    const outcome second = play_one(one);
    if (second.record == first.record && second.failure == first.failure) return true;
    fmt::print("FAILED {} seed {}: two runs differ\n  {:016x} {}\n  {:016x} {}\n  replay: {}\n",
               one.only->name, one.first, first.record, first.faults, second.record,
               second.faults, command_of(one));
    return false;
}

void play_scenario(const settings& chosen, const scenario& which, tally& all) {
    constexpr std::uint64_t replayed_one_in = 16;
    for (std::uint64_t seed = chosen.first; seed <= chosen.last; ++seed) {
        settings one = one_of(chosen.uring, which, seed);
        one.rule = chosen.rule;
        one.plain = chosen.plain;
        const outcome got = play_one(one);
        all.add(got);
        if (!got.failure.empty()) {
            report(one, got);
            all.add_failure();
        } else if (which.replays &&
                   (chosen.first == chosen.last || seed % replayed_one_in == 0)) {
            all.add_replay();
            if (!goes_the_same_way(one, got)) all.add_failure();
        }
        if (chosen.verbose) {
            fmt::print("{} seed {} record {:016x} {}\n", which.name, seed, got.record, got.faults);
        }
        if (all.failures() == tally::most_failures) return;
    }
}

int play_seeds(const settings& chosen) {
    tally all;
    for (const scenario& which : chosen.only != nullptr ? std::span(chosen.only, 1) : scenarios()) {
        const auto began = std::chrono::steady_clock::now();
        play_scenario(chosen, which, all);
        if (all.failures() == tally::most_failures) return 1;
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        fmt::print("{:<15} {:6.2f} s\n", which.name, took.count());
    }
    all.print();
    const bool is_enough = chosen.only == nullptr &&
                           chosen.last - chosen.first + 1 >= tally::seeds_for_all_kinds;
    if (all.failures() == 0 && is_enough && !all.has_all_kinds(features_of(chosen.uring))) return 1;
    return all.failures() == 0 ? 0 : 1;
}

// --- planted mistakes ------------------------------------------------------------------------

/// Three times by what the command says, and each time to the same end.
bool replays(const settings& one, const outcome& found) {
    const std::vector<std::string> arguments = arguments_of(one);
    const std::vector<std::string_view> views(arguments.begin(), arguments.end());
    for (int again = 0; again < 3; ++again) {
        const std::optional<settings> read = read_settings(views);
        if (!read) {
            fmt::print("FAILED {}: not understood\n", command_of(one));
            return false;
        }
        const outcome replayed = play_one(*read);
        if (replayed.failure != found.failure || replayed.record != found.record) {
            fmt::print("FAILED {}: finds \"{}\", and its replay \"{}\"\n", command_of(one),
                       found.failure, replayed.failure);
            return false;
        }
    }
    fmt::print("found \"{}\", record {:016x}; replay: {}\n", found.failure, found.record,
               command_of(one));
    return true;
}

/// Under what the seeds draw, or under `rule` in its place.
bool finds_and_replays(settings one, const std::optional<fault_plan::rule>& rule) {
    constexpr std::uint64_t most = 500;
    one.rule = rule;
    for (std::uint64_t seed = 1; seed <= most; ++seed) {
        one.first = one.last = seed;
        if (conditions_for(one).errors) continue;
        const outcome found = play_one(one);
        if (!found.failure.empty()) return replays(one, found);
    }
    fmt::print("FAILED {}: {} seeds do not find the planted mistake\n", one.only->name, most);
    return false;
}

int find_planted(bool uring) {
    bool all = true;
    for (const scenario& which : planted_scenarios()) {
        all = finds_and_replays(one_of(uring, which, 1), std::nullopt) && all;
    }
    const scenario& lossy = *find_scenario("planted_byte");
    const fault_plan::rule cut{IORING_OP_SEND, 3, fault::short_send, 0};
    all = finds_and_replays(one_of(uring, lossy, 1), cut) && all;
    return all ? 0 : 1;
}

}  // namespace

int main(std::span<const std::string_view> arguments) {
    const std::optional<settings> chosen = read_settings(arguments);
    if (!chosen) return usage();
    switch (chosen->wanted) {
        case settings::mode::planted: return find_planted(chosen->uring);
        case settings::mode::every_fault: return every_fault(chosen->uring);
        case settings::mode::seeds: break;
    }
    return play_seeds(*chosen);
}

}  // namespace rondo::test

int main(int count, char** arguments) {
    rondo::test::set_program(arguments[0]);
    rondo::test::handle_ends();
    // A pause of a server, an engine chosen: no news here.
    rondo::set_log([](std::string_view) {});
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const std::vector<std::string_view> given(arguments + 1, arguments + count);
    return rondo::test::main(given);
}
