// The base of what is awaited in this folder: a place in a list of waiting tasks.
#pragma once

#include <rondo/detail/intrusive_list.hpp>
#include <rondo/task/context.hpp>
#include <rondo/task/event_loop.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <coroutine>
#include <system_error>

namespace rondo::inline v0::detail {

/// How a wait ended.
enum class wait_outcome : unsigned char {
    done,
    closed,    ///< by close(): no value went through
    canceled,  ///< by a cancellation: nothing happened
};

/// A task waits in the list of a primitive, first come first served. Who ends the wait takes it
/// out of the list and makes it ready in one step; from then on no cancellation finds it, so what
/// happened wins.
class sync_operation : public waiter, public intrusive_hook {
public:
    bool await_ready() const noexcept { return false; }

    std::error_code error() const noexcept {
        if (outcome_ == wait_outcome::done) [[likely]] return {};
        return std::make_error_code(outcome_ == wait_outcome::canceled
                                        ? std::errc::operation_canceled
                                        : std::errc::broken_pipe);
    }

    /// For the primitive, once this has left its list.
    void end(wait_outcome outcome) noexcept {
        outcome_ = outcome;
        where().loop().make_ready(*this);
    }

protected:
    sync_operation() noexcept {}
    ~sync_operation() = default;

    /// For await_suspend where there was nothing to wait for: suspends only where others are due.
    bool end_at_once(std::coroutine_handle<> awaiting, context& where) noexcept {
        outcome_ = wait_outcome::done;
        if (!where.loop().must_yield()) [[likely]] return false;
        return end_by_loop(wait_outcome::done, awaiting, where);
    }

    /// For await_suspend where the outcome is known: suspends until its turn in the ready queue.
    bool end_by_loop(wait_outcome outcome, std::coroutine_handle<> awaiting,
                     context& where) noexcept {
        where.wait_for(*this, awaiting);
        end(outcome);
        return true;
    }

    void cancel() noexcept override {
        unlink();
        end(wait_outcome::canceled);
    }

    void throw_if_canceled() const {
        if (outcome_ == wait_outcome::canceled) [[unlikely]] throw_canceled();
    }

    wait_outcome outcome_;
};

}  // namespace rondo::inline v0::detail
