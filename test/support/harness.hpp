// Runs a test's coroutines on the engine that the environment names.
#pragma once

#include <rondo/io/run.hpp>

#include <string>
#include <type_traits>
#include <utility>

namespace rondo::test {

/// RONDO_ENGINE chooses the engine; RONDO_TEST_SEED wraps it into a faulty_engine whose plan is
/// derived from the seed, the running test's name and the count of its runs, so that one test
/// replays alone; RONDO_TEST_ENTRIES and RONDO_TEST_COMPLETIONS set the sizes of the queues.
run_options options();

/// Whether faults are injected: counts and timing are then not what they are otherwise.
bool faulty();

/// rondo::run() with options().
template <typename Function, typename... Arguments>
decltype(auto) run(Function&& function, Arguments&&... arguments) {
    return rondo::run(options(), std::forward<Function>(function),
                      std::forward<Arguments>(arguments)...);
}

}  // namespace rondo::test
