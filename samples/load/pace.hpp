// When a connection is to send its messages.
#pragma once

#include "figures.hpp"

#include <algorithm>
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

    // How long those of [begin, end) that are not back at `end` have waited since their time:
    // `visit(waited, count)`, where `count` of them in turn have waited about as long.
    template <typename Visit>
    void each_overdue(clock::time_point begin, clock::time_point end, Visit visit) const {
        each_overdue(back_, begin, end, visit);
    }
    // The same where message number `next` is the first that is not back.
    template <typename Visit>
    void each_overdue(std::uint64_t next, clock::time_point begin, clock::time_point end,
                      Visit visit) const {
        if (!is_open()) return;
        const std::uint64_t first = std::max(next, first_from(begin));
        const std::uint64_t past = first_from(end);
        for (std::uint64_t i = first, count = 0; i < past; i += count) {
            const clock::duration longest = end - time_of(i);
            count = i == first ? 1 : std::min(past - i, alike(longest));
            const clock::duration shortest = end - time_of(i + count - 1);
            visit((longest + shortest) / 2, count);
        }
    }

private:
    clock::time_point time_of(std::uint64_t message) const noexcept {
        const double after = offset_ + period_ * static_cast<double>(message);
        return begin_ + std::chrono::nanoseconds(static_cast<std::int64_t>(after));
    }

    // The number of the first that is to be sent at `when` or later.
    std::uint64_t first_from(clock::time_point when) const noexcept {
        const double after = static_cast<double>((when - begin_).count()) - offset_;
        auto first = after > 0 ? static_cast<std::uint64_t>(after / period_) : 0;
        while (first > 0 && time_of(first - 1) >= when) --first;
        while (time_of(first) < when) ++first;
        return first;
    }
    // How many, from one on that has waited `longest`, have waited as long but for 0.4 %, less than
    // a histogram tells apart. The messages of a fast schedule would else be millions.
    std::uint64_t alike(clock::duration longest) const noexcept {
        return 1 + static_cast<std::uint64_t>(static_cast<double>(longest.count()) / 256 / period_);
    }

    clock::time_point begin_{};
    double period_ = 0;  // nanoseconds
    double offset_ = 0;
    std::uint64_t sent_ = 0;
    std::uint64_t back_ = 0;
};

}  // namespace load
