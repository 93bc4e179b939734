// Draws which faults strike, and counts those that do.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <rondo/testing/fault_plan.hpp>
#include <rondo/testing/random.hpp>

namespace rondo::inline v0::testing {

/// By kind.
using fault_counts = std::array<std::uint64_t, fault_count>;

/// A sequence of draws by a plan; several may share the plan and the counts, which outlive them.
class fault_dice : public random {
public:
    fault_dice(std::uint64_t seed, const fault_plan& plan, fault_counts& injected) noexcept
        : random(seed), plan_(&plan), injected_(&injected) {}

    const fault_plan& plan() const noexcept { return *plan_; }
    /// By the plan's chance; a kind that has none draws nothing.
    bool roll(fault kind) noexcept {
        const unsigned chance = plan_->chance(kind);
        return chance != 0 && below(1000) < chance;
    }
    /// An entry that a rule is about suffers the rule's fault, every other one what is rolled.
    bool strikes(fault kind, const fault_plan::rule* rule) noexcept {
        return rule != nullptr ? rule->kind == kind : roll(kind);
    }
    /// In [1, than), than > 1; small ones often, for they find the most.
    unsigned smaller(std::size_t than) noexcept {
        constexpr unsigned largest = 0x7fff'ffff;
        const auto bound = than - 1 < largest ? static_cast<unsigned>(than - 1) : largest;
        return 1 + below(coin() && bound > 16 ? 16 : bound);
    }
    void count(fault kind) noexcept { ++(*injected_)[static_cast<std::size_t>(kind)]; }

private:
    const fault_plan* plan_;
    fault_counts* injected_;
};

}  // namespace rondo::inline v0::testing
