// Waiting for time to pass, and letting others run.
#pragma once

#include <rondo/task/context.hpp>
#include <rondo/task/event_loop.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <chrono>
#include <coroutine>
#include <source_location>
#include <string>
#include <system_error>

namespace rondo::inline v0 {

namespace detail {

class [[nodiscard]] sleep_operation final : public waiter, public timer {
public:
    explicit sleep_operation(clock::time_point deadline) noexcept : deadline_(deadline) {}
    explicit sleep_operation(clock::duration duration) noexcept
        : duration_(duration), relative_(true) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        start(awaiting, context_at(awaiting, place));
    }
    void await_resume() const {
        if (cancelled_) throw_canceled();
    }
    std::error_code error() const noexcept {
        if (!cancelled_) return {};
        return std::make_error_code(std::errc::operation_canceled);
    }
    std::string awaits() const override { return "time to pass"; }

private:
    void start(std::coroutine_handle<> awaiting, context& where);
    void expire() noexcept override;
    void cancel() noexcept override;

    clock::time_point deadline_;
    clock::duration duration_{};
    bool relative_ = false;
    bool cancelled_ = false;
};

class [[nodiscard]] yield_operation final : public waiter {
public:
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) noexcept {
        context& where = context_at(awaiting, place);
        cancelled_ = where.cancelled();
        where.wait_for(*this, awaiting);
        where.loop().make_ready(*this);
    }
    std::string awaits() const override { return "its next turn"; }
    void await_resume() const {
        if (cancelled_) [[unlikely]] throw_canceled();
    }
    std::error_code error() const noexcept {
        if (!cancelled_) return {};
        return std::make_error_code(std::errc::operation_canceled);
    }

private:
    // Ready from the start, so never found waiting.
    void cancel() noexcept override {}

    bool cancelled_ = false;
};

}  // namespace detail

/// Completes once the monotonic clock has reached `deadline`, never before; a deadline that has
/// passed completes by way of the loop all the same. Throws operation_canceled.
inline detail::sleep_operation sleep_until(clock::time_point deadline) noexcept {
    return detail::sleep_operation(deadline);
}

/// Completes after `duration`, counted from this turn of the loop. Throws operation_canceled.
template <typename Rep, typename Period>
detail::sleep_operation sleep_for(std::chrono::duration<Rep, Period> duration) noexcept {
    return detail::sleep_operation(clock_duration(duration));
}

/// Completes when every task that is ready now has run. Throws operation_canceled.
inline detail::yield_operation yield() noexcept { return {}; }

}  // namespace rondo::inline v0
