// What a deadline costs among few and among many others.
#include <rondo/io/run.hpp>
#include <rondo/io/timer_heap.hpp>
#include <rondo/task/task.hpp>

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

class idle_timer final : public rondo::timer {
public:
    void expire() noexcept override {}
};

// xorshift64, so cheap that it does not count.
class random_numbers {
public:
    std::uint64_t next() noexcept {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_;
    }
    /// One of 0 to `count` - 1.
    std::size_t below(std::size_t count) noexcept {
        return static_cast<std::size_t>(((next() >> 32) * count) >> 32);
    }

private:
    std::uint64_t state_ = 0x9E3779B97F4A7C15;
};

// Within the second hour from `from`: none passes while this runs.
rondo::clock::time_point some_deadline(random_numbers& random, rondo::clock::time_point from) {
    return from + std::chrono::hours(1) +
           std::chrono::nanoseconds(random.next() % 3'600'000'000'000u);
}

// One iteration takes a random one of the timers out and arms it anew.
template <typename Timers>
void rearm(benchmark::State& state, Timers& timers) {
    std::vector<idle_timer> all(static_cast<std::size_t>(state.range(0)));
    random_numbers random;
    const rondo::clock::time_point start = rondo::clock::now();
    for (idle_timer& each : all) timers.arm(each, some_deadline(random, start));
    for (auto _ : state) {
        idle_timer& chosen = all[random.below(all.size())];
        timers.disarm(chosen);
        timers.arm(chosen, some_deadline(random, start));
    }
    for (idle_timer& each : all) timers.disarm(each);
}

void rearm_in_heap(benchmark::State& state) {
    rondo::timer_heap timers;
    rearm(state, timers);
}
BENCHMARK(rearm_in_heap)->Name("timers")->Arg(1000)->Arg(1'000'000);

rondo::task<> rearm_here(benchmark::State& state) {
    rondo::context& here = co_await rondo::this_context();
    rearm(state, here.loop());
}

void rearm_in_loop(benchmark::State& state) { rondo::run(rearm_here(state)); }
BENCHMARK(rearm_in_loop)->Name("loop_timers")->Arg(1000)->Arg(1'000'000);

}  // namespace
