// The base of every request that the kernel carries out for an awaiting task.
#pragma once

#include <rondo/task/context.hpp>
#include <rondo/task/event_loop.hpp>
#include <rondo/task/waiter.hpp>

#include <cerrno>
#include <coroutine>
#include <cstdint>
#include <limits>
#include <source_location>
#include <system_error>

struct io_uring_sqe;  // <linux/io_uring.h>

namespace rondo::inline v0 {

class scheduler;

/// One request, from its entry to its completion. It lives in the awaiting coroutine's frame and
/// its address is the request's user_data, so the await returns only after the last completion.
/// A new operation is a class with a constructor, prepare(), await_resume() and awaits().
class operation : public waiter {
public:
    /// Always suspends: the cancel scope is known only from the awaiting promise.
    bool await_ready() const noexcept { return false; }

    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        start(awaiting, context_at(awaiting, place));
    }

    /// How it ended, once resumed: zero, or what await_resume() would throw.
    std::error_code error() const noexcept {
        if (result_ >= 0) return {};
        return std::error_code(-result_, std::generic_category());
    }

    /// fell_short() left something to do that takes an entry.
    bool unfinished() const noexcept { return unfinished_; }
    /// Does it; called when entries may be taken.
    void proceed();
    /// It has ended, and its task is in the ready queue or running.
    bool made_ready() const noexcept { return !where().waited_for_by(*this); }
    /// Ends it as a cancellation of its context would, unless it has finished.
    void interrupt() noexcept {
        if (where().waited_for_by(*this)) cancel();
    }

protected:
    operation() noexcept {}  // result_ and enough_ are set by start(), or by who does without
    ~operation() = default;

    /// Fills the whole entry but user_data.
    virtual void prepare(io_uring_sqe& entry) noexcept = 0;

    /// A completion below enough_ has come, or one after a cancellation. Ends the operation by
    /// finish(), or sets unfinished_ and has somebody attended to who calls proceed(). Runs while
    /// completions are reaped.
    virtual void fell_short() noexcept;

    void start(std::coroutine_handle<> awaiting, context& where);
    void submit(scheduler& on);  // inline, for those who include io/scheduler.hpp
    void finish() noexcept { where().loop().make_ready(*this); }
    void cancel() noexcept override;

    scheduler& loop() const noexcept;

    /// A signal interrupted the request, or it was refused although it may wait: no outcome.
    bool asks_again() const noexcept { return result_ == -EINTR || result_ == -EAGAIN; }

    /// The completion's result: a count, or a negated errno.
    std::int32_t result_;
    /// A result of at least this much ends the operation without asking fell_short().
    std::int32_t enough_;
    bool cancel_requested_ = false;
    bool unfinished_ = false;

private:
    friend class scheduler;
};

}  // namespace rondo::inline v0
