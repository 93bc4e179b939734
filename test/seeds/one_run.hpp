// One run of one scenario on an engine that misbehaves, and what must hold behind it.
#pragma once

#include <seeds/play.hpp>

#include <rondo/engine/engine.hpp>
#include <rondo/io/buffer_pool.hpp>
#include <rondo/testing/fault_plan.hpp>

#include <array>
#include <cstdint>
#include <string>

namespace rondo::test {

using injections = std::array<std::uint64_t, testing::fault_count>;

struct outcome {
    std::string failure;  // empty: none
    std::uint64_t record = 0;  // of the first thread
    std::string faults;        // of the first thread
    injections injected{};     // of all threads
};

/// How the seed decides on what the scenario does not.
struct conditions {
    testing::fault_plan plan;
    engine_options queues;
    engine_options inner{.entries = 64, .completions = 256};
    buffer_pool_options buffers;
    bool errors = false;
};

conditions conditions_of(std::uint64_t seed);

/// The queues, buffers and features of the seed, and no fault but the one of `rule`. Only where
/// that is an error which a program is told may anything be missing in the end.
conditions conditions_under(const testing::fault_plan::rule& rule, std::uint64_t seed);

/// `command` is what replays it, to be said where it hangs or dies.
outcome play_once(const scenario& which, bool uring, std::uint64_t seed, const conditions& under,
                  const std::string& command);

/// Has the process say so when it hangs or dies.
void handle_ends();

}  // namespace rondo::test
