// What tasks cost: awaiting one, yielding among many, children of a group.
#include "micro_reference.hpp"

#include <rondo/io/run.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <deque>

namespace {

constexpr std::size_t crowd = 64;

// --- create and await a task that ends at once: one is an iteration ---------------------------

[[gnu::noinline]] rondo::task<int> answer(int number) { co_return number; }
[[gnu::noinline]] reference::task<int> plain_answer(int number) { co_return number; }

rondo::task<> await_answers(benchmark::State& state) {
    int number = 0;
    for (auto _ : state) {
        number = co_await answer(number);
        benchmark::DoNotOptimize(number);
    }
}

reference::task<void> await_plain_answers(benchmark::State& state) {
    int number = 0;
    for (auto _ : state) {
        number = co_await plain_answer(number);
        benchmark::DoNotOptimize(number);
    }
}

void await_task(benchmark::State& state) { rondo::run(await_answers(state)); }
BENCHMARK(await_task)->Name("await/rondo");

void await_plain_task(benchmark::State& state) {
    auto all = await_plain_answers(state);
    all.start();
}
BENCHMARK(await_plain_task)->Name("await/reference");

// --- yield among 64: one yield of each is an iteration ----------------------------------------

// The first of the crowd counts the rounds, as all yield in turn.
rondo::task<> yield_counting(benchmark::State& state, bool& over) {
    for (auto _ : state) co_await rondo::yield();
    over = true;
}

rondo::task<> yield_along(const bool& over) {
    while (!over) co_await rondo::yield();
}

rondo::task<> yield_in_crowd(benchmark::State& state) {
    bool over = false;
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        group.spawn([&] { return yield_counting(state, over); });
        for (std::size_t i = 1; i < crowd; ++i) group.spawn([&] { return yield_along(over); });
        co_return;
    });
}

reference::task<void> plain_yield_counting(benchmark::State& state, reference::ready_queue& queue,
                                           bool& over) {
    for (auto _ : state) co_await queue.yield();
    over = true;
}

reference::task<void> plain_yield_along(reference::ready_queue& queue, const bool& over) {
    while (!over) co_await queue.yield();
}

class plain_yielder {
public:
    plain_yielder(reference::ready_queue& queue, const bool& over)
        : task_(plain_yield_along(queue, over)) {
        task_.start();
    }

private:
    reference::task<void> task_;
};

void yield_task(benchmark::State& state) { rondo::run(yield_in_crowd(state)); }
BENCHMARK(yield_task)->Name("yield/rondo");

void yield_plain_task(benchmark::State& state) {
    reference::ready_queue queue;
    bool over = false;
    auto first = plain_yield_counting(state, queue, over);
    first.start();
    std::deque<plain_yielder> others;
    for (std::size_t i = 1; i < crowd; ++i) others.emplace_back(queue, over);
    queue.run();
}
BENCHMARK(yield_plain_task)->Name("yield/reference");

// --- spawn 64 children that end at once, and join them ----------------------------------------

[[gnu::noinline]] rondo::task<> end_at_once() { co_return; }
[[gnu::noinline]] reference::task<void> plain_end_at_once() { co_return; }

rondo::task<> spawn_crowd(rondo::task_group& group) {
    for (std::size_t i = 0; i < crowd; ++i) group.spawn(end_at_once);
    co_return;
}

rondo::task<> spawn_crowds(benchmark::State& state) {
    for (auto _ : state) co_await rondo::with_task_group(spawn_crowd);
}

reference::task<void> await_plain_crowds(benchmark::State& state) {
    for (auto _ : state) {
        for (std::size_t i = 0; i < crowd; ++i) co_await plain_end_at_once();
    }
}

void spawn_task(benchmark::State& state) { rondo::run(spawn_crowds(state)); }
BENCHMARK(spawn_task)->Name("spawn/rondo");

void start_plain_task(benchmark::State& state) {
    auto all = await_plain_crowds(state);
    all.start();
}
BENCHMARK(start_plain_task)->Name("spawn/reference");

}  // namespace
