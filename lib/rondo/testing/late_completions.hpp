// Completions between an inner engine and the reader: some are held back, some change places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include <rondo/engine/engine.hpp>
#include <rondo/testing/fault_dice.hpp>

namespace rondo::inline v0::testing {

/// Those of one user_data keep their order. Time is counted in enters.
class late_completions {
public:
    explicit late_completions(fault_dice dice) noexcept : dice_(dice) {}

    /// Puts one in line, `hold` for certain behind some enters, others where the dice say so.
    void stage(const completion& arrived, bool hold, std::uint64_t now);
    /// Those that are held until `now` are due.
    void release(std::uint64_t now);
    bool has_held() const noexcept { return !held_.empty(); }
    bool has_due() const noexcept { return !due_.empty() || !line_.empty(); }

    /// Gives those that are due their final places; returns how many there were.
    std::size_t line_up();
    std::size_t waiting() const noexcept { return line_.size(); }
    /// The first of those that wait, which there must be.
    completion take();

private:
    struct held_completion {
        completion what;
        std::uint64_t due;
    };
    struct hold_of_request {
        std::uint64_t due = 0;
        unsigned count = 0;
    };

    fault_dice dice_;
    std::vector<held_completion> held_;
    std::unordered_map<std::uint64_t, hold_of_request> held_by_request_;
    std::vector<completion> due_;
    std::deque<completion> line_;
};

}  // namespace rondo::inline v0::testing
