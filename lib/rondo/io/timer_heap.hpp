// The deadlines of one loop, earliest first.
#pragma once

#include <rondo/task/timer.hpp>

#include <cstddef>
#include <vector>

namespace rondo::inline v0 {

/// A 4-ary heap: half as deep as a binary one, and four children share a cache line. Each entry
/// carries its deadline, so that comparing touches no timer. Timers know their place, which makes
/// disarming one logarithmic.
class timer_heap {
public:
    bool empty() const noexcept { return entries_.empty(); }
    std::size_t size() const noexcept { return entries_.size(); }

    /// The earliest deadline. The heap must not be empty.
    clock::time_point earliest() const noexcept { return entries_.front().deadline; }

    /// `t` must not be armed. Throws std::bad_alloc.
    void arm(timer& t, clock::time_point deadline);

    /// `t` must be armed here.
    void disarm(timer& t) noexcept;

    /// Disarms and returns the earliest timer if its deadline is not after `now`, else null.
    timer* pop_due(clock::time_point now) noexcept;

private:
    struct entry {
        clock::time_point deadline;
        timer* owner;
    };
    static constexpr std::size_t arity = 4;

    void place(std::size_t position, entry e) noexcept;
    void sift_up(std::size_t position, entry e) noexcept;
    void sift_down(std::size_t position, entry e) noexcept;

    std::vector<entry> entries_;
};

}  // namespace rondo::inline v0
