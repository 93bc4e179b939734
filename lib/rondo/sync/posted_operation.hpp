// What is awaited on one thread and ended by another.
#pragma once

#include <rondo/sync/sync_operation.hpp>
#include <rondo/task/event_loop.hpp>

#include <mutex>

namespace rondo::inline v0::detail {

/// A sync_operation in a list that is guarded by a lock. Whoever takes it out, under the lock,
/// posts it to its loop, and only there does it become ready. So it cannot leave while it is
/// posted: a cancellation that finds it taken does nothing, for its wake is on the way.
class posted_operation : public sync_operation, private posted_work {
public:
    /// For the primitive, under the lock, once this has left its list. `here` is the caller's loop
    /// or null.
    void end(wait_outcome outcome, event_loop* here) noexcept {
        outcome_ = outcome;
        event_loop& loop = where().loop();
        if (&loop == here) {
            loop.make_ready(*this);
        } else {
            loop.post(*this);
        }
    }

protected:
    explicit posted_operation(std::mutex& lock) noexcept : lock_(&lock) {}
    ~posted_operation() = default;

private:
    void run() noexcept override;
    void cancel() noexcept override;

    std::mutex* lock_;
};

}  // namespace rondo::inline v0::detail
