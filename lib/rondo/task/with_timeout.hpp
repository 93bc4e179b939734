// Deadlines around anything awaitable.
#pragma once

#include <rondo/task/cancel_scope.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <system_error>
#include <utility>

namespace rondo::inline v0 {

/// Thrown by with_timeout() and with_deadline(); code() is std::errc::timed_out.
class operation_timed_out final : public std::system_error {
public:
    explicit operation_timed_out(std::size_t transferred)
        : std::system_error(std::make_error_code(std::errc::timed_out)),
          transferred_(transferred) {}
    operation_timed_out(const operation_timed_out&) noexcept = default;
    operation_timed_out& operator=(const operation_timed_out&) noexcept = default;
    ~operation_timed_out() override;

    /// Bytes that the all-or-nothing operation which was cut short had moved before.
    std::size_t transferred() const noexcept { return transferred_; }

private:
    std::size_t transferred_;
};

namespace detail {

/// Cancels a scope at its deadline.
class scope_deadline final : public timer {
public:
    scope_deadline(cancel_scope& scope, event_loop& loop, clock::time_point deadline)
        : scope_(&scope), loop_(&loop) {
        loop_->arm(*this, deadline);
    }
    ~scope_deadline() {
        if (armed()) loop_->disarm(*this);
    }
    bool passed() const noexcept { return !armed(); }
    void expire() noexcept override { scope_->cancel(); }

private:
    cancel_scope* scope_;
    event_loop* loop_;
};

/// Throws operation_timed_out in place of `cancellation`, an operation_canceled.
[[noreturn]] void throw_timed_out(const std::exception_ptr& cancellation);

}  // namespace detail

/// Completes when `operation` does; returns its value. When the deadline passes first, what is
/// awaited inside fails with operation_canceled, and when all of it has ended, this throws
/// operation_timed_out. A value that came in spite of the deadline is delivered: bytes that were
/// received are not lost. A cancellation from around stays operation_canceled.
template <awaitable A>
task<await_result_t<A>> with_deadline(clock::time_point deadline, A&& operation) {
    context& here = co_await this_context();
    cancel_scope scope;
    detail::scope_deadline timer(scope, here.loop(), deadline);
    auto inner = scope.run(std::forward<A>(operation));
    std::exception_ptr failure = co_await inner.settle(here);
    if (failure) {
        if (timer.passed() && !here.cancelled() && is_canceled(failure)) {
            detail::throw_timed_out(failure);
        }
        std::rethrow_exception(std::move(failure));
    }
    co_return inner.take();
}

/// As with_deadline(), at `duration` from this turn's time.
template <typename Rep, typename Period, awaitable A>
task<await_result_t<A>> with_timeout(std::chrono::duration<Rep, Period> duration, A&& operation) {
    context& here = co_await this_context();
    const auto deadline = deadline_after(here.loop().now(), clock_duration(duration));
    auto inner = with_deadline(deadline, std::forward<A>(operation));
    std::exception_ptr failure = co_await inner.settle(here);
    if (failure) std::rethrow_exception(std::move(failure));
    co_return inner.take();
}

}  // namespace rondo::inline v0
