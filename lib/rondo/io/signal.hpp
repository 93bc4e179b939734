// Ending a program by Ctrl-C without losing what is under way.
#pragma once

#include <rondo/io/run.hpp>
#include <rondo/task/awaitable.hpp>
#include <rondo/task/graceful_stop.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <chrono>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace rondo::inline v0 {

struct interrupt_options {
    /// From the signal to the cancellation of what has not ended by itself.
    std::chrono::milliseconds drain = std::chrono::seconds(10);
};

namespace detail {

/// Owns SIGINT and SIGTERM while it lives; the first one begins the graceful stop and, at the
/// drain deadline, or at once where nobody can end by itself, cancels. A second one ends the
/// process from its handler. One at a time in a process.
class interruption final : public timer {
public:
    interruption(context& inside, graceful_stop& stop, const interrupt_options& options);
    ~interruption();

    bool happened() const noexcept { return happened_; }
    void begin() noexcept;
    void expire() noexcept override { inside_->cancel(); }

private:
    context* inside_;
    graceful_stop* stop_;
    interrupt_options options_;
    bool happened_ = false;
};

template <typename T>
using interruptible_t = std::conditional_t<std::is_void_v<T>, void, std::optional<stored_t<T>>>;

}  // namespace detail

/// Runs `work` until it ends or SIGINT or SIGTERM comes, which then ends it by the two phases:
/// servers stop accepting, the served get the end of the stream and are drained; what has not
/// ended at the drain deadline is cancelled. Returns work's value, or nothing when it was
/// cancelled so; throws what it threw. Misuse: two at a time in one process.
template <awaitable A>
task<detail::interruptible_t<await_result_t<A>>> until_interrupted(
    A&& work, interrupt_options options = {}) {
    context& here = co_await this_context();
    context inside(here);
    graceful_stop stop;
    inside.set_stop(stop);
    detail::interruption signals(inside, stop, options);
    auto&& inner = detail::as_task(std::forward<A>(work));
    std::exception_ptr failure = co_await inner.settle(inside);
    if (failure) {
        const bool ours = signals.happened() && !here.cancelled() && is_canceled(failure);
        if (!ours) std::rethrow_exception(std::move(failure));
    }
    if constexpr (!std::is_void_v<await_result_t<A>>) {
        std::optional<detail::stored_t<await_result_t<A>>> value;
        if (!failure) value.emplace(inner.take());
        co_return value;
    }
}

/// run() for a program: `int main() { return run_main(serve()); }`. Ends `work` on SIGINT and
/// SIGTERM as until_interrupted() does. An exception is printed as one line on standard error.
/// Returns the exit code: what a task<int> returned, 0, or 1 after an exception.
int run_main(task<> work, const interrupt_options& options = {});
int run_main(task<int> work, const interrupt_options& options = {});

}  // namespace rondo::inline v0
