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
    // A closed loop.
    pace() noexcept = default;
    // The schedule of number `index` of `count`, which share `rate`, from `begin` on.
    pace(double rate, std::size_t index, std::size_t count, clock::time_point begin) noexcept
        : begin_(begin), period_(1e9 * static_cast<double>(count) / rate),
          offset_(1e9 * static_cast<double>(index) / rate) {}

    bool is_open() const noexcept { return period_ > 0; }

    // For an open loop: when the next message is to be sent.
    clock::time_point due() const noexcept { return time_of(sent_); }
    void note_sent() noexcept { ++sent_; }
    void note_back() noexcept { ++back_; }

    // How long those of [begin, end) that are not back at `end` have waited since their time.
    template <typename Visit>
    void each_overdue(clock::time_point begin, clock::time_point end, Visit visit) const {
        each_overdue(back_, begin, end, visit);
    }
    // The same where message number `next` is the first that is not back.
    template <typename Visit>
    void each_overdue(std::uint64_t next, clock::time_point begin, clock::time_point end,
                      Visit visit) const {
        if (!is_open()) return;
        for (std::uint64_t i = next; time_of(i) < end; ++i)
            if (time_of(i) >= begin) visit(end - time_of(i));
    }

private:
    clock::time_point time_of(std::uint64_t message) const noexcept {
        const double after = offset_ + period_ * static_cast<double>(message);
        return begin_ + std::chrono::nanoseconds(static_cast<std::int64_t>(after));
    }

    clock::time_point begin_{};
    double period_ = 0;  // nanoseconds
    double offset_ = 0;
    std::uint64_t sent_ = 0;
    std::uint64_t back_ = 0;
};

}  // namespace load
