// What many runs injected, all together, and what so many should have.
#pragma once

#include <seeds/one_run.hpp>

#include <rondo/engine/engine.hpp>
#include <rondo/testing/fault_plan.hpp>

#include <fmt/format.h>

#include <cstdint>

namespace rondo::test {

class tally {
public:
    static constexpr int most_failures = 10;
    /// Of each scenario: the rarest kind, control_cut, strikes about once in 20.
    static constexpr std::uint64_t seeds_for_all_kinds = 500;

    void add(const outcome& got) noexcept {
        ++runs_;
        for (std::size_t i = 0; i < injected_.size(); ++i) injected_[i] += got.injected[i];
        past_engine_ += got.injected_past_engine;
    }
    void add_replay() noexcept { ++replays_; }
    void add_failure() noexcept { ++failures_; }

    int failures() const noexcept { return failures_; }
    void print() const {
        fmt::print("{} runs, {} of them twice; injected:", runs_, replays_);
        for (std::size_t i = 0; i < injected_.size(); ++i) {
            if (injected_[i] == 0) continue;
            fmt::print(" {}={}", to_string(static_cast<testing::fault>(i)), injected_[i]);
        }
        fmt::print(" past_engine={}\n", past_engine_);
    }

    /// Names each kind of fault that an engine with `features` can have and that never struck;
    /// false where there is one.
    bool has_all_kinds(feature_set features) const {
        bool all = past_engine_ != 0;
        if (!all) fmt::print("FAILED: no call past the engine was ever judged\n");
        for (std::size_t i = 0; i < injected_.size(); ++i) {
            const auto kind = static_cast<testing::fault>(i);
            if (injected_[i] != 0 || !can_strike(kind, features)) continue;
            fmt::print("FAILED: {} was never injected\n", to_string(kind));
            all = false;
        }
        return all;
    }

private:
    static bool can_strike(testing::fault kind, feature_set features) noexcept {
        switch (kind) {
            // A plan's mask refuses, and no seed draws one: what a kernel lacks is left out of the
            // engine beneath, which then says so itself.
            case testing::fault::refused: return false;
            // SEND_ZC alone has notifications, and epoll has no SEND_ZC.
            case testing::fault::late_notification:
            case testing::fault::notified_error: return features.has(feature::send_zero_copy);
            default: return true;
        }
    }

    int failures_ = 0;
    std::uint64_t runs_ = 0;
    std::uint64_t replays_ = 0;
    injections injected_{};
    std::uint64_t past_engine_ = 0;
};

}  // namespace rondo::test
