#include <rondo/testing/fault_plan.hpp>

#include <rondo/testing/random.hpp>

namespace rondo::inline v0::testing {

namespace {

constexpr std::array<std::string_view, fault_count> fault_names{
    "error",           "short_receive",       "short_send",     "interrupted_request",
    "would_block",     "no_buffers",          "out_of_memory",  "accept_error",
    "early_end",       "held_completion",     "swapped_completions", "partial_submit",
    "interrupted_enter", "interrupted_wait",  "late_cancel",    "cancel_already",
    "spurious_readiness",  "late_notification",   "notified_error", "control_cut",
    "cancel_missed",     "refused",           "overflow",
};
static_assert(static_cast<std::size_t>(fault::overflow) + 1 == fault_count);

}  // namespace

std::string_view to_string(fault kind) noexcept {
    return fault_names[static_cast<std::size_t>(kind)];
}

fault_plan fault_plan::from_seed(std::uint64_t seed) {
    struct range {
        fault kind;
        unsigned most;
    };
    // Errors that make a program back off are kept rare, or a run takes long.
    constexpr range ranges[] = {
        {fault::short_receive, 500},       {fault::short_send, 400},
        {fault::interrupted_request, 150}, {fault::would_block, 300},
        {fault::no_buffers, 150},          {fault::accept_error, 60},
        {fault::early_end, 600},           {fault::held_completion, 300},
        {fault::swapped_completions, 500}, {fault::partial_submit, 300},
        {fault::interrupted_enter, 150},   {fault::interrupted_wait, 250},
        {fault::late_cancel, 400},         {fault::cancel_already, 400},
        {fault::spurious_readiness, 200},  {fault::late_notification, 500},
        {fault::notified_error, 200},
    };
    random source(seed ^ 0x66617565'6c747921u);
    fault_plan plan;
    plan.seed = seed;
    for (const range& each : ranges) {
        // A third of the kinds is off: faults also hide one another.
        const unsigned strength = source.below(3);
        plan.with(each.kind, strength == 0 ? 0 : strength == 1 ? each.most / 6 : each.most);
    }
    plan.longest_hold = 1 + source.below(8);
    return plan;
}

fault_plan fault_plan::with_errors_from_seed(std::uint64_t seed) {
    fault_plan plan = from_seed(seed);
    random source(seed ^ 0x6572726f'72730000u);
    constexpr unsigned chances[] = {3, 20, 80};
    return plan.with(fault::error, chances[source.below(3)])
        .with(fault::out_of_memory, chances[source.below(3)])
        .with(fault::control_cut, chances[source.below(3)]);
}

engine_options fault_plan::queues_from_seed(std::uint64_t seed) noexcept {
    constexpr engine_options sizes[] = {{4, 8}, {8, 16}, {32, 64}, {256, 4096}};
    return sizes[random(~seed).below(4)];
}

}  // namespace rondo::inline v0::testing
