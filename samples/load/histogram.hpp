// How often each latency was seen.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace load {

// Log-linear buckets: 128 to each power of two, so a percentile is exact to 0.8 %, from nanoseconds
// to hours; least, greatest and mean are exact.
class histogram {
public:
    void add(std::uint64_t value, std::uint64_t times = 1) noexcept {
        counts_[bucket(value)] += times;
        total_ += times;
        sum_ += static_cast<double>(value) * static_cast<double>(times);
        if (value < least_) least_ = value;
        if (value > greatest_) greatest_ = value;
    }

    std::uint64_t total() const noexcept { return total_; }
    // What follows has a meaning only where `total()` is not 0.
    std::uint64_t least() const noexcept { return least_; }
    std::uint64_t greatest() const noexcept { return greatest_; }
    double mean() const noexcept { return sum_ / static_cast<double>(total_); }

    // The value that `share`, 0 to 1, of all are not above: the middle of its bucket.
    double percentile(double share) const noexcept {
        const double rank = share * static_cast<double>(total_);
        double seen = 0;
        std::size_t at = 0;
        for (; at + 1 < counts_.size(); ++at) {
            seen += static_cast<double>(counts_[at]);
            if (seen >= rank && seen > 0) break;
        }
        return std::clamp(middle(at), static_cast<double>(least_), static_cast<double>(greatest_));
    }

private:
    static constexpr std::size_t step_bits = 7;
    static constexpr std::size_t steps = std::size_t{1} << step_bits;

    // Below 2 * steps a value is its own bucket; above, each power of two has `steps` of them.
    static constexpr std::size_t bucket(std::uint64_t value) noexcept {
        if (value < steps) return static_cast<std::size_t>(value);
        const auto shift = static_cast<std::size_t>(std::bit_width(value)) - step_bits - 1;
        return (shift << step_bits) + static_cast<std::size_t>(value >> shift);
    }
    static constexpr double middle(std::size_t bucket) noexcept {
        if (bucket < 2 * steps) return static_cast<double>(bucket);
        const std::size_t shift = (bucket >> step_bits) - 1;
        const std::uint64_t edge = std::uint64_t{steps + bucket % steps} << shift;
        return static_cast<double>(edge) + static_cast<double>(std::uint64_t{1} << shift) / 2;
    }

    std::array<std::uint64_t, 58 * steps> counts_{};
    std::uint64_t total_ = 0;
    double sum_ = 0;  // an integer would overflow: 10^8 a second, for a minute
    std::uint64_t least_ = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t greatest_ = 0;
};

}  // namespace load
