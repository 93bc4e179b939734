// Ending what is pending on a socket before it is closed or handed on.
#pragma once

#include <rondo/io/scheduler.hpp>
#include <rondo/task/task.hpp>

#include <coroutine>
#include <utility>

namespace rondo::inline v0::detail {

/// Waits until something on the socket has ended. Not a cancellation point: closing always closes,
/// and the kernel ends what it is asked to end; for a send_zero_copy() the wait is bounded there.
template <typename State>
class [[nodiscard]] wait_quiet_operation final : public waiter {
public:
    explicit wait_quiet_operation(State& state) noexcept : state_(&state) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting) {
        context& where = awaiting.promise().task_context();
        where.wait_for(*this, awaiting);
        // Those who are in the ready queue already run before this task does.
        if (state_->ending()) {
            where.loop().make_ready(*this);
        } else {
            state_->closer = this;
        }
    }
    void await_resume() const noexcept {}
    std::string awaits() const override { return "what is pending on a socket to end"; }

private:
    void cancel() noexcept override {}

    State* state_;
};

/// Cancels what other tasks await on a socket and the request behind it; completes when all of
/// that has ended.
template <typename State>
task<> quiesce(State& state) {
    scheduler& here = co_await this_scheduler();
    state.use_on(here);
    while (!state.quiet()) {
        state.interrupt();
        state.stop();
        co_await wait_quiet_operation<State>(state);
    }
}

/// Closes when all of that has ended. The state goes into a local of the body: a parameter lives as
/// long as the frame, and so, where the task is kept, beyond the moment at which it completes.
template <typename Owner>
task<> close_quiet(Owner state) {
    const Owner closing(std::move(state));
    co_await quiesce(*closing);
}

}  // namespace rondo::inline v0::detail
