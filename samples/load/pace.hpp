// When a connection is to send its messages.
#pragma once

#include "figures.hpp"

#include <chrono>
#include <cstdint>

namespace load {

// A closed loop sends when it can. An open one has a schedule, in which all connections take turns
// and which waits for nobody: what could not be sent in time is sent as soon as it can be, and its
// latency counts from its time.
class pace {
public:
    // The schedule of number `index` of `count`, which share `rate`, from `begin` on.
    pace(double rate, std::size_t index, std::size_t count, clock::time_point begin) noexcept
        : begin_(begin), period_(rate > 0 ? 1e9 * static_cast<double>(count) / rate : 0),
          offset_(rate > 0 ? 1e9 * static_cast<double>(index) / rate : 0) {}

    bool is_open() const noexcept { return period_ > 0; }

    // When the next message is to be sent. For an open loop.
    clock::time_point due() const noexcept {
        const double after = offset_ + period_ * static_cast<double>(sent_);
        return begin_ + std::chrono::nanoseconds(static_cast<std::int64_t>(after));
    }
    void advance() noexcept { ++sent_; }

private:
    clock::time_point begin_;
    double period_;  // nanoseconds
    double offset_;
    std::uint64_t sent_ = 0;
};

}  // namespace load
