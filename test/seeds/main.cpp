// Plays scenarios under seeds: on an engine that misbehaves, with tasks resumed in a drawn order,
// in virtual time. Names each seed that fails and the command that replays it.
#include <seeds/play.hpp>

#include <rondo/engine/epoll_engine.hpp>
#include <rondo/engine/uring_engine.hpp>
#include <rondo/io/run.hpp>
#include <rondo/log.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/testing/faulty_engine.hpp>
#include <rondo/testing/kernel_errors.hpp>
#include <rondo/testing/shuffle.hpp>

#include <fmt/format.h>

#include <dirent.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::test {

namespace {

using testing::fault;
using testing::fault_plan;
using testing::faulty_engine;

constexpr scenario scenarios[] = {
    {"echo", echo_scenario, true},
    {"chat", chat_scenario, true},
    {"cancel", cancel_scenario, true},
    {"unix_datagrams", unix_datagram_scenario, true},
    {"file", file_scenario, true},
    {"serve", serve_scenario, true},
    {"udp", udp_scenario, false},
    {"tcp", tcp_scenario, false},
    {"names", names_scenario, false},
    {"threads", thread_scenario, false, false},
};
constexpr scenario planted[] = {
    {"planted_byte", planted_byte_scenario, true},
    {"planted_order", planted_order_scenario, true},
};
// For --every-fault alone: its file is on a disk, and takes as long.
constexpr scenario cold_file{"cold_file", cold_file_scenario, false};

const scenario* find_scenario(std::string_view name) noexcept {
    for (const scenario& each : scenarios) {
        if (each.name == name) return &each;
    }
    for (const scenario& each : planted) {
        if (each.name == name) return &each;
    }
    return name == cold_file.name ? &cold_file : nullptr;
}

struct settings {
    bool uring = true;
    std::uint64_t first = 1;
    std::uint64_t last = 200;
    const scenario* only = nullptr;
    bool verbose = false;
};

std::string program;

std::string replay_command(bool uring, const scenario& which, std::uint64_t seed) {
    return fmt::format("{} --engine {} --scenario {} --seed {}", program,
                       uring ? "uring" : "epoll", which.name, seed);
}

// --- what must not happen silently -----------------------------------------------------------

// Written by a handler, hence made before.
std::array<char, 512> last_words;

void say_last_words(int signal) {
    [[maybe_unused]] auto written = ::write(STDOUT_FILENO, last_words.data(),
                                            ::strnlen(last_words.data(), last_words.size()));
    if (signal == SIGALRM) ::_exit(1);
    ::raise(signal);  // the handler is gone by now
}

void handle_ends() {
    struct sigaction action {};
    action.sa_handler = say_last_words;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    for (const int each : {SIGALRM, SIGABRT, SIGSEGV, SIGILL, SIGBUS}) {
        ::sigaction(each, &action, nullptr);
    }
}

void announce(const std::string& command) {
    const std::string text = "\nhung (60 s) or died; replay: " + command + "\n";
    const std::size_t size = std::min(text.size(), last_words.size() - 1);
    text.copy(last_words.data(), size);
    last_words[size] = '\0';
    ::alarm(60);
}

std::size_t open_descriptors() {
    DIR* folder = ::opendir("/proc/self/fd");
    if (folder == nullptr) throw std::system_error(errno, std::generic_category(), "opendir");
    std::size_t count = 0;
    while (::readdir(folder) != nullptr) ++count;
    ::closedir(folder);
    return count;
}

// --- one run ---------------------------------------------------------------------------------

struct outcome {
    std::string failure;  // empty: none
    std::uint64_t record = 0;
    std::string faults;
    std::array<std::uint64_t, testing::fault_count> injected{};
};

/// How the seed decides on what the scenario does not.
struct conditions {
    fault_plan plan;
    engine_options queues;
    engine_options inner{.entries = 64, .completions = 256};
    buffer_pool_options buffers;
    bool errors = false;
};

// What an older kernel may lack.
feature_set some_features(testing::random& source) {
    feature_set some;
    for (auto bit = static_cast<std::uint32_t>(feature::unix_end); bit != 0; bit /= 2) {
        if (source.coin()) some = some | static_cast<feature>(bit);
    }
    return some;
}

conditions conditions_of(std::uint64_t seed) {
    testing::random source(seed ^ 0x636f6e64'6974696fu);
    conditions made;
    made.errors = source.below(3) == 0;
    made.plan = made.errors ? fault_plan::with_errors_from_seed(seed) : fault_plan::from_seed(seed);
    made.plan.ordered = true;
    if (source.below(4) == 0) made.inner.without = some_features(source);
    made.queues = fault_plan::queues_from_seed(seed);
    constexpr std::size_t sizes[] = {256, 1024, 4096};
    constexpr unsigned counts[] = {2, 8, 32};
    made.buffers.buffer_size = sizes[source.below(3)];
    made.buffers.initial = counts[source.below(3)];
    made.buffers.most = 64;
    return made;
}

std::unique_ptr<engine> make_inner(bool uring, const engine_options& queues) {
    if (uring) return std::make_unique<uring_engine>(queues);
    return std::make_unique<epoll_engine>(queues);
}

// What tasks have left to the loop may take some turns more.
task<> check_left_over(play& here, std::size_t tasks_before) {
    scheduler& loop = co_await this_scheduler();
    for (int turns = 0; turns < 200; ++turns) {
        const scheduler_stats now = loop.stats();
        if (now.live_tasks == tasks_before && now.buffers_held == 0) break;
        co_await sleep_for(std::chrono::milliseconds(1));
    }
    const scheduler_stats now = loop.stats();
    here.check(now.live_tasks == tasks_before, "a task is left over");
    here.check(now.buffers_held == 0, "a buffer is left over");
    here.check(now.timers == 0, "a timer is left over");
}

task<> play_through(const scenario& which, play& here, outcome& result) {
    scheduler& loop = co_await this_scheduler();
    const std::size_t tasks = loop.stats().live_tasks;
    std::exception_ptr failure;
    try {
        co_await which.run(here);
        co_await check_left_over(here, tasks);
    } catch (...) {
        failure = std::current_exception();
    }
    const auto& engine = static_cast<const faulty_engine&>(loop.carrier());
    result.faults = engine.describe();
    result.injected = engine.injected();
    result.record = engine.record() ^ here.trace();
    if (failure) std::rethrow_exception(failure);
}

void run_once(const scenario& which, bool uring, std::uint64_t seed, const conditions& under,
              outcome& result) {
    run_options options;
    options.virtual_time = which.virtual_time;
    options.threads = which.virtual_time ? 1 : 2;
    options.queues = under.queues;
    options.buffers = under.buffers;
    options.make_engine = [uring, &under](const engine_options& queues) {
        return std::make_unique<faulty_engine>(make_inner(uring, under.inner), under.plan, queues);
    };
    play here(seed, under.errors);
    options.reorder_ready = testing::shuffle(seed);
    if (options.threads == 1) {
        // How many were ready at a time is a part of what must be the same in a replay.
        options.reorder_ready = [&here, reorder = options.reorder_ready](auto ready) {
            here.note(ready.size());
            reorder(ready);
        };
    }
    run(options, [&]() -> task<> {
        scheduler& loop = co_await this_scheduler();
        if (loop.siblings().front() != &loop) co_return;
        co_await play_through(which, here, result);
    });
}

outcome play_once(const scenario& which, bool uring, std::uint64_t seed, const conditions& under) {
    announce(replay_command(uring, which, seed));
    const std::size_t before = open_descriptors();
    outcome result;
    try {
        run_once(which, uring, seed, under, result);
        const std::size_t after = open_descriptors();
        if (after != before) {
            result.failure = fmt::format("{} descriptors before, {} after", before, after);
        }
    } catch (const std::exception& failed) {
        result.failure = failed.what();
        if (result.failure.empty()) result.failure = "an exception without a text";
    }
    ::alarm(0);
    return result;
}

// --- many seeds ------------------------------------------------------------------------------

void report(const settings& chosen, const scenario& which, std::uint64_t seed,
            const outcome& failed) {
    fmt::print("FAILED {} seed {}: {}\n  faults: {}\n  replay: {}\n", which.name, seed,
               failed.failure, failed.faults, replay_command(chosen.uring, which, seed));
}

/// The same seed once more must go the same way.
bool goes_the_same_way(const settings& chosen, const scenario& which, std::uint64_t seed,
                       const outcome& first) {
    const outcome second = play_once(which, chosen.uring, seed, conditions_of(seed));
    if (second.record == first.record && second.failure == first.failure) return true;
    fmt::print("FAILED {} seed {}: two runs differ\n  {:016x} {}\n  {:016x} {}\n  replay: {}\n",
               which.name, seed, first.record, first.faults, second.record, second.faults,
               replay_command(chosen.uring, which, seed));
    return false;
}

int play_seeds(const settings& chosen) {
    constexpr std::uint64_t replayed_one_in = 16;
    constexpr int most_failures = 10;
    int failures = 0;
    std::uint64_t runs = 0;
    std::uint64_t replays = 0;
    std::array<std::uint64_t, testing::fault_count> injected{};
    for (const scenario& which : scenarios) {
        if (chosen.only != nullptr && which.name != std::string_view(chosen.only->name)) continue;
        const auto began = std::chrono::steady_clock::now();
        for (std::uint64_t seed = chosen.first; seed <= chosen.last; ++seed) {
            const outcome got = play_once(which, chosen.uring, seed, conditions_of(seed));
            ++runs;
            for (std::size_t i = 0; i < injected.size(); ++i) injected[i] += got.injected[i];
            if (!got.failure.empty()) {
                report(chosen, which, seed, got);
                if (++failures == most_failures) return 1;
            } else if (which.replays &&
                       (chosen.first == chosen.last || seed % replayed_one_in == 0)) {
                ++replays;
                if (!goes_the_same_way(chosen, which, seed, got) && ++failures == most_failures) {
                    return 1;
                }
            }
            if (chosen.verbose) {
                fmt::print("{} seed {} record {:016x} {}\n", which.name, seed, got.record,
                           got.faults);
            }
        }
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        fmt::print("{:<15} {:6.2f} s\n", which.name, took.count());
    }
    fmt::print("{} runs, {} of them twice; injected:", runs, replays);
    for (std::size_t i = 0; i < injected.size(); ++i) {
        if (injected[i] != 0) fmt::print(" {}={}", to_string(static_cast<fault>(i)), injected[i]);
    }
    fmt::print("\n");
    return failures == 0 ? 0 : 1;
}

// --- planted mistakes ------------------------------------------------------------------------

bool finds_and_replays(const scenario& which, bool uring) {
    conditions calm = conditions_of(1);
    calm.plan = {};
    calm.plan.ordered = true;
    calm.errors = false;
    constexpr std::uint64_t most = 500;
    for (std::uint64_t seed = 1; seed <= most; ++seed) {
        conditions under = conditions_of(seed);
        if (under.errors) continue;
        const outcome found = play_once(which, uring, seed, under);
        if (found.failure.empty()) continue;
        for (int again = 0; again < 3; ++again) {
            const outcome replayed = play_once(which, uring, seed, under);
            if (replayed.failure != found.failure || replayed.record != found.record) {
                fmt::print("FAILED {}: seed {} finds \"{}\", and its replay \"{}\"\n", which.name,
                           seed, found.failure, replayed.failure);
                return false;
            }
        }
        fmt::print("{}: seed {} finds \"{}\" and replays it, record {:016x}\n", which.name, seed,
                   found.failure, found.record);
        return true;
    }
    fmt::print("FAILED {}: {} seeds do not find the planted mistake\n", which.name, most);
    return false;
}

int find_planted(const settings& chosen) {
    bool all = true;
    for (const scenario& which : planted) all = finds_and_replays(which, chosen.uring) && all;
    return all ? 0 : 1;
}

// --- every fault at every operation, by rule -------------------------------------------------

struct operation_kind {
    std::uint8_t opcode;
    const char* name;
    const scenario* used_by;
    std::vector<fault> kinds;
};

std::vector<operation_kind> operation_kinds() {
    using enum fault;
    const auto by = [](const char* name) { return find_scenario(name); };
    return {
        {IORING_OP_ACCEPT, "ACCEPT", by("tcp"),
         {interrupted_request, out_of_memory, accept_error, early_end, held_completion}},
        {IORING_OP_CONNECT, "CONNECT", by("tcp"), {held_completion}},
        {IORING_OP_RECV, "RECV", by("echo"),
         {short_receive, interrupted_request, out_of_memory, no_buffers, early_end,
          held_completion}},
        {IORING_OP_RECVMSG, "RECVMSG", by("udp"),
         {interrupted_request, out_of_memory, no_buffers, early_end, held_completion}},
        {IORING_OP_SEND, "SEND", by("echo"),
         {short_send, interrupted_request, out_of_memory, held_completion}},
        {IORING_OP_SENDMSG, "SENDMSG", by("echo"),
         {short_send, interrupted_request, out_of_memory, held_completion}},
        {IORING_OP_SEND_ZC, "SEND_ZC", by("tcp"),
         {short_send, interrupted_request, out_of_memory, held_completion, late_notification,
          notified_error}},
        {IORING_OP_POLL_ADD, "POLL_ADD", by("file"),
         {out_of_memory, early_end, spurious_readiness}},
        {IORING_OP_POLL_ADD, "POLL_ADD", by("threads"),
         {out_of_memory, early_end, held_completion, spurious_readiness}},
        {IORING_OP_READ, "READ", by("file"), {short_receive, interrupted_request, held_completion}},
        {IORING_OP_WRITE, "WRITE", by("file"), {short_send, interrupted_request, held_completion}},
        {IORING_OP_OPENAT, "OPENAT", by("file"), {interrupted_request, held_completion}},
        {IORING_OP_FSYNC, "FSYNC", by("file"), {held_completion}},
        {IORING_OP_CLOSE, "CLOSE", by("file"), {held_completion}},
        {IORING_OP_FADVISE, "FADVISE", by("cold_file"), {held_completion}},
        {IORING_OP_NOP, "NOP", by("file"), {held_completion}},
        {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL", by("cancel"), {late_cancel, cancel_already}},
    };
}

/// Plays until the rule has struck; the run must pass with and without it.
bool strikes_and_passes(const operation_kind& on, const fault_plan::rule& wanted, bool uring,
                        unsigned& runs) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        fault_plan::rule rule = wanted;
        // Also those further on: the first poll is the loop's own, the first receive is idle.
        rule.nth = 1 + static_cast<unsigned>(seed) % 4;
        conditions under = conditions_of(seed);
        under.plan = {};
        under.plan.seed = seed;
        under.plan.ordered = true;
        under.plan.rules.push_back(rule);
        under.errors = true;
        const outcome got = play_once(*on.used_by, uring, seed, under);
        ++runs;
        const std::string what =
            fmt::format("{} {} {}", on.name, to_string(rule.kind),
                        rule.error != 0 ? ::strerrorname_np(rule.error) : "");
        if (!got.failure.empty()) {
            fmt::print("FAILED {} at entry {}, scenario {} seed {}: {}\n", what, rule.nth,
                       on.used_by->name, seed, got.failure);
            return false;
        }
        if (got.injected[static_cast<std::size_t>(rule.kind)] != 0) return true;
    }
    fmt::print("FAILED {} {} {}: never injected\n", on.name, to_string(wanted.kind), wanted.error);
    return false;
}

int every_fault(bool uring) {
    bool all = true;
    unsigned pairs = 0;
    unsigned runs = 0;
    for (const operation_kind& on : operation_kinds()) {
        if (!uring && on.opcode == IORING_OP_SEND_ZC) continue;  // epoll has none such
        for (const fault kind : on.kinds) {
            ++pairs;
            all = strikes_and_passes(on, {on.opcode, 1, kind, 0}, uring, runs) && all;
        }
        for (const int error : testing::kernel_errors(on.opcode)) {
            ++pairs;
            all = strikes_and_passes(on, {on.opcode, 1, fault::error, error}, uring, runs) && all;
        }
    }
    fmt::print("{} pairs of an operation and what the kernel answers it, {} runs: {}\n", pairs,
               runs, all ? "all survived" : "see above");
    return all ? 0 : 1;
}

int usage() {
    fmt::print(stderr,
               "usage: {} [--engine uring|epoll] [--scenario NAME] [--seed N | --seeds FROM TO]\n"
               "       [--verbose] [--planted] [--every-fault]\n",
               program);
    return 2;
}

}  // namespace

int main(std::vector<std::string_view> arguments) {
    settings chosen;
    enum class mode { seeds, planted, every_fault } wanted = mode::seeds;
    const auto number = [](std::string_view text, std::uint64_t& value) {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        return error == std::errc() && end == text.data() + text.size();
    };
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string_view name = arguments[i];
        const auto value = [&] {
            return i + 1 < arguments.size() ? arguments[++i] : std::string_view();
        };
        bool understood = true;
        if (name == "--engine") {
            const std::string_view engine = value();
            chosen.uring = engine == "uring";
            understood = chosen.uring || engine == "epoll";
        } else if (name == "--scenario") {
            chosen.only = find_scenario(value());
            understood = chosen.only != nullptr;
        } else if (name == "--seed") {
            understood = number(value(), chosen.first);
            chosen.last = chosen.first;
        } else if (name == "--seeds") {
            understood = number(value(), chosen.first) && number(value(), chosen.last);
        } else if (name == "--verbose") {
            chosen.verbose = true;
        } else if (name == "--planted") {
            wanted = mode::planted;
        } else if (name == "--every-fault") {
            wanted = mode::every_fault;
        } else {
            understood = false;
        }
        if (!understood) return usage();
    }
    if (wanted == mode::planted) return find_planted(chosen);
    if (wanted == mode::every_fault) return every_fault(chosen.uring);
    return play_seeds(chosen);
}

}  // namespace rondo::test

int main(int count, char** arguments) {
    rondo::test::program = arguments[0];
    rondo::test::handle_ends();
    // A pause of a server, an engine chosen: no news here.
    rondo::set_log([](std::string_view) {});
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    return rondo::test::main({arguments + 1, arguments + count});
}
