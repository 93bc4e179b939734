#include <seeds/one_run.hpp>

#include <rondo/engine/epoll_engine.hpp>
#include <rondo/engine/uring_engine.hpp>
#include <rondo/io/on.hpp>
#include <rondo/io/run.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/testing/faulty_engine.hpp>
#include <rondo/testing/shuffle.hpp>

#include <fmt/format.h>

#include <dirent.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <memory>
#include <system_error>
#include <vector>

namespace rondo::test {

namespace {

using testing::fault;
using testing::fault_plan;
using testing::faulty_engine;

// --- what must not happen silently -----------------------------------------------------------

// Written by a handler, hence made before.
std::array<char, 512> last_words;

void say_last_words(int signal) {
    [[maybe_unused]] auto written = ::write(STDOUT_FILENO, last_words.data(),
                                            ::strnlen(last_words.data(), last_words.size()));
    if (signal == SIGALRM) ::_exit(1);
    ::raise(signal);  // the handler is gone by now
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

// What an older kernel may lack.
feature_set some_features(testing::random& source) {
    feature_set some;
    for (auto bit = static_cast<std::uint32_t>(feature::unix_end); bit != 0; bit /= 2) {
        if (source.coin()) some = some | static_cast<feature>(bit);
    }
    return some;
}

std::unique_ptr<engine> make_inner(bool uring, const engine_options& queues) {
    if (uring) return std::make_unique<uring_engine>(queues);
    return std::make_unique<epoll_engine>(queues);
}

// Behind what is ready, the end of that thread's own root among it.
task<std::size_t> live_tasks() {
    scheduler& loop = co_await this_scheduler();
    for (int turns = 0; turns < 3; ++turns) co_await yield();
    co_return loop.stats().live_tasks;
}

task<injections> injected_here() {
    scheduler& loop = co_await this_scheduler();
    co_return static_cast<const faulty_engine&>(loop.carrier()).injected();
}

// What tasks have left to the loop may take some turns more.
task<> check_left_over(std::size_t tasks_before) {
    scheduler& loop = co_await this_scheduler();
    for (int turns = 0; turns < 200; ++turns) {
        const scheduler_stats now = loop.stats();
        if (now.live_tasks == tasks_before && now.buffers_held == 0) break;
        co_await sleep_for(std::chrono::milliseconds(1));
    }
    const scheduler_stats now = loop.stats();
    if (now.live_tasks != tasks_before) throw mismatch("a task is left over");
    if (now.buffers_held != 0) throw mismatch("a buffer is left over");
    if (now.timers != 0) throw mismatch("a timer is left over");
}

/// The other threads of the run and the tasks each had before.
struct other_loop {
    scheduler* loop;
    std::size_t tasks;
};

task<std::vector<other_loop>> look_at_others() {
    scheduler& loop = co_await this_scheduler();
    std::vector<other_loop> others;
    for (scheduler* const each : loop.siblings()) {
        if (each == &loop) continue;
        const std::size_t tasks = co_await on(*each, live_tasks);
        others.push_back(other_loop(each, tasks));
    }
    co_return others;
}

task<> play_through(const scenario& which, play& here, const plain_faults& plain,
                    outcome& result) {
    scheduler& loop = co_await this_scheduler();
    const std::vector<other_loop> others = co_await look_at_others();
    const std::size_t tasks = loop.stats().live_tasks;
    std::exception_ptr failure;
    try {
        co_await which.run(here);
        co_await check_left_over(tasks);
        for (const other_loop& each : others) {
            co_await on(*each.loop, check_left_over, each.tasks);
        }
    } catch (...) {
        failure = std::current_exception();
    }
    const auto& engine = static_cast<const faulty_engine&>(loop.carrier());
    result.injected_past_engine = plain.injected();
    result.faults = engine.describe();
    if (plain.injected() != 0) result.faults += fmt::format(" past_engine={}", plain.injected());
    result.injected = engine.injected();
    for (const other_loop& each : others) {
        const injections more = co_await on(*each.loop, injected_here);
        for (std::size_t i = 0; i < more.size(); ++i) result.injected[i] += more[i];
    }
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
    plain_faults plain = under.plain;
    const plain_faults_here judged(plain);
    run(options, [&]() -> task<> {
        scheduler& loop = co_await this_scheduler();
        if (loop.siblings().front() != &loop) co_return;
        co_await play_through(which, here, plain, result);
    });
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
    constexpr unsigned unnoticed[] = {0, 60, 300};
    constexpr unsigned noticed[] = {0, 20, 80};
    const unsigned quiet = unnoticed[source.below(3)];
    made.plain = plain_faults(seed, quiet, made.errors ? noticed[source.below(3)] : 0);
    return made;
}

/// Whether the library promises to ask again where the kernel refuses so. Not at a connect, which
/// goes on by itself when it is interrupted and whose EAGAIN says that a backlog is full; not where
/// a close is interrupted, which has closed; and not where a file that cannot be opened without
/// waiting is said to be in use: these are told.
bool is_asked_again(const fault_plan::rule& rule) noexcept {
    if (rule.error != EAGAIN && rule.error != EINTR) return false;
    switch (rule.opcode) {
        case IORING_OP_CONNECT:
        case IORING_OP_CLOSE: return false;
        case IORING_OP_OPENAT: return rule.error == EINTR;
        default: return true;
    }
}

/// Whether a program is told, or loses descriptors.
bool is_noticed(const fault_plan::rule& rule) noexcept {
    const bool is_error =
        rule.kind == fault::error || (rule.kind == fault::early_end && rule.error != 0);
    return (is_error && !is_asked_again(rule)) ||
           rule.kind == fault::out_of_memory || rule.kind == fault::control_cut;
}

conditions conditions_under(const fault_plan::rule& rule, std::uint64_t seed) {
    conditions under = conditions_of(seed);
    under.plan = {};
    under.plan.seed = seed;
    under.plan.ordered = true;
    under.plan.rules.push_back(rule);
    under.plain = {};
    under.errors = is_noticed(rule);
    return under;
}

conditions conditions_under(const plain_rule& rule, bool uring, std::uint64_t seed) {
    conditions under = conditions_of(seed);
    under.plan = {};
    under.plan.seed = seed;
    under.plan.ordered = true;
    under.plain = plain_faults(rule);
    under.errors = !goes_unnoticed(rule, uring);
    return under;
}

outcome play_once(const scenario& which, bool uring, std::uint64_t seed, const conditions& under,
                  const std::string& command) {
    announce(command);
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

}  // namespace

void handle_ends() {
    struct sigaction action {};
    action.sa_handler = say_last_words;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    for (const int each : {SIGALRM, SIGABRT, SIGSEGV, SIGILL, SIGBUS}) {
        ::sigaction(each, &action, nullptr);
    }
}

conditions conditions_for(const settings& one) {
    if (one.rule) return conditions_under(*one.rule, one.first);
    if (one.plain) return conditions_under(*one.plain, one.uring, one.first);
    return conditions_of(one.first);
}

feature_set features_of(bool uring) { return make_inner(uring, {})->features(); }

outcome play_one(const settings& one) {
    return play_once(*one.only, one.uring, one.first, conditions_for(one), command_of(one));
}

}  // namespace rondo::test
