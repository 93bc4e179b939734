// The abstract place a task runs in: where it is queued when ready and where it sets deadlines.
#pragma once

#include <rondo/detail/intrusive_list.hpp>
#include <rondo/task/context.hpp>
#include <rondo/task/timer.hpp>
#include <rondo/task/waiter.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace rondo::inline v0 {

/// Work handed to a loop by another thread. It lives until run() was called.
class posted_work {
public:
    posted_work() noexcept = default;
    posted_work(const posted_work&) = delete;
    posted_work& operator=(const posted_work&) = delete;

    /// Runs on the loop's thread, outside of any task.
    virtual void run() noexcept = 0;

protected:
    ~posted_work() = default;

private:
    friend class scheduler;
    posted_work* next_ = nullptr;
};

/// A loop resumes what is ready, one after the other, on one thread. All but post() belongs to
/// that thread.
class event_loop {
public:
    event_loop(const event_loop&) = delete;
    event_loop& operator=(const event_loop&) = delete;

    /// The waiter's task is resumed in its turn. The waiter no longer waits: a cancellation does
    /// not find it any more.
    void make_ready(waiter& ready) noexcept {
        ++readied_;
        make_ready(ready, turn_began_);
    }
    /// The same for a loop over many, which counts them itself.
    void make_ready(waiter& ready, clock::time_point turn_began) noexcept {
        ready.context_->waiting_ = nullptr;
        ready.context_->since_ = turn_began;
        ready_.push_back(ready);
    }

    /// Counts results delivered without suspending; true once too many came in a row, and then
    /// the task must queue itself, so that one fast peer starves nobody.
    bool must_yield() noexcept {
        if (++immediate_ < most_immediate) return false;
        immediate_ = 0;
        return true;
    }

    virtual void arm(timer& t, clock::time_point deadline) = 0;
    virtual void disarm(timer& t) noexcept = 0;

    /// The time of this turn: the clock is read once per turn, not per call.
    virtual clock::time_point now() noexcept = 0;

    /// Calls `visit` with the root of each tree of contexts.
    template <typename Visit>
    void each_root(Visit visit) const {
        for (const context& root : roots_) visit(root);
    }

    /// Any thread: runs `work` on the loop's thread soon. The loop must outlive the call.
    virtual void post(posted_work& work) noexcept = 0;

protected:
    static constexpr unsigned most_immediate = 32;

    event_loop() noexcept = default;
    ~event_loop() = default;

    /// Resumes the tasks that are ready now. Those that become ready meanwhile stay queued.
    void resume_ready() {
        immediate_ = 0;
        ready_.drain([](waiter& ready) {
            std::coroutine_handle<>::from_address(ready.frame_).resume();
        });
    }

    detail::intrusive_queue<waiter> ready_;
    detail::intrusive_list<context> roots_;
    std::size_t live_contexts_ = 0;
    std::uint64_t readied_ = 0;  // tasks made ready since the loop began
    clock::time_point turn_began_{};  // by a coarse clock, some milliseconds behind

private:
    friend class context;
    unsigned immediate_ = 0;
};

}  // namespace rondo::inline v0
