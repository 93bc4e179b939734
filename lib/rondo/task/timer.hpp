// A deadline with something to do when it passes.
#pragma once

#include <chrono>
#include <cstddef>

namespace rondo::inline v0 {

/// Deadlines are points of the monotonic clock: setting the wall clock moves none of them.
using clock = std::chrono::steady_clock;

/// `duration` as the clock counts it, rounded up, and as far as it can count.
template <typename Rep, typename Period>
constexpr clock::duration clock_duration(std::chrono::duration<Rep, Period> duration) noexcept {
    using seconds = std::chrono::duration<double>;
    if (seconds(duration) >= seconds(clock::duration::max())) return clock::duration::max();
    if (seconds(duration) <= seconds(clock::duration::min())) return clock::duration::min();
    return std::chrono::ceil<clock::duration>(duration);
}

/// `duration` from `now` on; never, where that is further than the clock can count.
constexpr clock::time_point deadline_after(clock::time_point now,
                                           clock::duration duration) noexcept {
    if (duration > clock::time_point::max() - now) return clock::time_point::max();
    return now + duration;
}

/// One deadline. It is linked into a loop's timers while armed and must be disarmed before it
/// dies; event_loop::arm and disarm do both.
class timer {
public:
    timer() noexcept = default;
    timer(const timer&) = delete;
    timer& operator=(const timer&) = delete;

    /// The deadline has passed; the timer is disarmed already. Runs on the loop's thread, outside
    /// of any task, so it may make tasks ready and cancel contexts, nothing longer.
    virtual void expire() noexcept = 0;

    bool armed() const noexcept { return position_ != unarmed; }
    clock::time_point deadline() const noexcept { return deadline_; }

protected:
    ~timer() = default;

private:
    friend class timer_heap;
    static constexpr std::size_t unarmed = static_cast<std::size_t>(-1);

    clock::time_point deadline_;
    std::size_t position_ = unarmed;
};

}  // namespace rondo::inline v0
