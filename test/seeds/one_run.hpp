// One run of one scenario on an engine that misbehaves, and what must hold behind it.
#pragma once

#include <seeds/plain_calls.hpp>
#include <seeds/play.hpp>
#include <seeds/settings.hpp>

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
    std::uint64_t injected_past_engine = 0;
};

/// How the seed decides on what the scenario does not.
struct conditions {
    testing::fault_plan plan;
    engine_options queues;
    engine_options inner{.entries = 64, .completions = 256};
    buffer_pool_options buffers;
    plain_faults plain;
    bool errors = false;
};

/// Those that the seed draws. Under a rule: its queues, buffers and features, and no fault but the
/// rule's; only where that is an error which a program is told may anything be missing in the end.
conditions conditions_for(const settings& one);

/// One seed of one scenario.
outcome play_one(const settings& one);

/// Of the engine beneath, with all that this kernel has.
feature_set features_of(bool uring);

/// Has the process say so when it hangs or dies.
void handle_ends();

}  // namespace rondo::test
