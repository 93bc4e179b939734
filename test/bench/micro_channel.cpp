// What a value through a channel costs, in yields of the same two tasks.
#include <rondo/io/run.hpp>
#include <rondo/sync/channel.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/when_all.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>

namespace {

constexpr int batch = 64;  // values, or yields, in an iteration

// --- two tasks that yield in turn ---------------------------------------------------------------

rondo::task<> yield_counting(benchmark::State& state, bool& over) {
    for (auto _ : state) {
        for (int i = 0; i != batch / 2; ++i) co_await rondo::yield();
    }
    over = true;
}

rondo::task<> yield_along(const bool& over) {
    while (!over) co_await rondo::yield();
}

rondo::task<> yield_as_a_pair(benchmark::State& state) {
    bool over = false;
    co_await rondo::when_all(yield_counting(state, over), yield_along(over));
}

void yield_pair(benchmark::State& state) { rondo::run(yield_as_a_pair(state)); }
BENCHMARK(yield_pair)->Name("channel/yield");

// --- one task sends, the other receives ---------------------------------------------------------

rondo::task<> send_values(benchmark::State& state, rondo::channel<int>& channel) {
    for (auto _ : state) {
        for (int i = 0; i != batch; ++i) co_await channel.send(i);
    }
    channel.close();
}

rondo::task<> receive_values(rondo::channel<int>& channel) {
    while (auto value = co_await channel.recv()) benchmark::DoNotOptimize(*value);
}

rondo::task<> send_and_receive(benchmark::State& state, std::size_t capacity) {
    rondo::channel<int> channel(capacity);
    co_await rondo::when_all(send_values(state, channel), receive_values(channel));
}

// By capacity: with 0 each value is handed over, with 64 they go by many at a time.
void pass(benchmark::State& state, std::size_t capacity) {
    rondo::run(send_and_receive(state, capacity));
}
BENCHMARK_CAPTURE(pass, 0, 0)->Name("channel/0");
BENCHMARK_CAPTURE(pass, 1, 1)->Name("channel/1");
BENCHMARK_CAPTURE(pass, 64, 64)->Name("channel/64");

}  // namespace
