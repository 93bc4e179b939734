#include <rondo/engine/ring_setup.hpp>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include <liburing.h>

#include <rondo/engine/ring_error.hpp>

namespace rondo::inline v0::detail {

namespace {

// What to ask for, best first. SUBMIT_ALL: one bad entry must not hold up those behind it.
// DEFER_TASKRUN exists only with SINGLE_ISSUER, TASKRUN_FLAG only with one of the TASKRUNs.
constexpr unsigned base_flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
constexpr unsigned best_flags = base_flags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
                                IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
constexpr unsigned flag_choices[] = {
#ifdef IORING_SETUP_NO_SQARRAY
    best_flags | IORING_SETUP_NO_SQARRAY,
#endif
    best_flags,
    base_flags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    base_flags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    base_flags | IORING_SETUP_SUBMIT_ALL,
    base_flags,
    0,
};

/// The first choice from `choice` on without any of these flags; the last one has none at all.
const unsigned* next_choice(const unsigned* choice, unsigned avoided) noexcept {
    while ((*choice & avoided) != 0) ++choice;
    return choice;
}

}  // namespace

void set_up(io_uring& ring, const engine_options& options, ring_setup_call setup) {
    const feature_set without = options.without;
    // SUBMIT_ALL goes with every good choice, so it is taken out instead of passing them over.
    const unsigned asked = without.has(feature::submit_all) ? ~IORING_SETUP_SUBMIT_ALL : ~0u;
    unsigned avoided = 0;
    if (without.has(feature::single_issuer)) avoided |= IORING_SETUP_SINGLE_ISSUER;
    if (without.has(feature::deferred_taskrun)) avoided |= IORING_SETUP_DEFER_TASKRUN;
    if (without.has(feature::cooperative_taskrun)) avoided |= IORING_SETUP_COOP_TASKRUN;
    unsigned entries = std::max(options.entries, 1u);
    unsigned completions = std::max(options.completions, entries);
    const unsigned* flags = next_choice(std::begin(flag_choices), avoided);
    for (;;) {
        io_uring_params params{};
        params.flags = *flags & asked;
        params.cq_entries = completions;
        const int error = -setup(entries, &ring, &params);
        if (error == 0) return;
        const bool above_floor = entries > floor_entries || completions > floor_completions;
        if (error == EINVAL && flags + 1 != std::end(flag_choices)) {
            flags = next_choice(flags + 1, avoided);
        } else if (error == ENOMEM && above_floor) {
            entries = std::max(entries / 2, std::min(entries, floor_entries));
            completions = std::max({completions / 2, entries,
                                    std::min(completions, floor_completions)});
        } else {
            fail_setup(error, "io_uring_setup");
        }
    }
}

}  // namespace rondo::inline v0::detail
