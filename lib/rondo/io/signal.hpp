// Ending a program by Ctrl-C without losing what is under way.
#pragma once

#include <rondo/io/run.hpp>
#include <rondo/task/awaitable.hpp>
#include <rondo/task/graceful_stop.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <signal.h>

#include <chrono>
#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

/// How until_interrupted() ends its work. Every field has a default.
struct interrupt_options {
    /// From the signal to the cancellation of what has not ended by itself.
    std::chrono::milliseconds drain = std::chrono::seconds(10);
    /// Another signal, at which dump_tasks() is written to standard error; 0 leaves all alone.
    int dump_on = SIGUSR1;
};

namespace detail {

class interruption_relay;

/// Owns SIGINT and SIGTERM while it lives; the first one begins the graceful stop and, at the
/// drain deadline, or at once where nobody can end by itself, cancels. A second one ends the
/// process from its handler. One at a time on a thread: a signal reaches those of all threads.
class interruption final : public timer, public intrusive_hook {
public:
    interruption(context& inside, graceful_stop& stop, const interrupt_options& options);
    ~interruption();

    bool happened() const noexcept { return happened_; }
    void begin() noexcept;
    void dump() noexcept;
    event_loop& loop() const noexcept { return inside_->loop(); }
    void expire() noexcept override { inside_->cancel(); }

private:
    friend interruption_relay;

    /// Carries a signal to this loop. It lives until it has run there, whatever became of us.
    struct message;

    context* inside_;
    graceful_stop* stop_;
    interrupt_options options_;
    bool happened_ = false;
    // Guarded by the relay's lock:
    std::vector<message*> under_way_;
    std::shared_ptr<bool> told_all_;  // shared with those of the run's other threads, if there are
};

template <typename T>
using interruptible_t = std::conditional_t<std::is_void_v<T>, void, std::optional<stored_t<T>>>;

}  // namespace detail

/// Runs `work` until it ends or SIGINT or SIGTERM comes, which then ends it by the two phases:
/// servers stop accepting, the served get the end of the stream and are drained; what has not
/// ended at the drain deadline is cancelled. Returns work's value, or nothing when it was
/// cancelled so; throws what it threw. SIGUSR1 shows what its tasks wait for. On several threads,
/// each may have one, and a signal ends the work of all: the n-th on a thread by what the n-th on
/// another was sent, even if that one has ended. Misuse: two at a time on one thread.
template <awaitable A>
task<detail::interruptible_t<await_result_t<A>>> until_interrupted(
    A&& work, interrupt_options options = {}) {
    context& here = co_await this_context();
    context inside(here);
    graceful_stop stop;
    inside.set_stop(stop);
    inside.set_name("until_interrupted");
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

namespace detail {

/// Runs `program` and turns what it throws into a line and an exit code.
int run_reporting(const std::function<int()>& program);

/// One thread's part in a run_main() on several; keeps its arguments.
template <typename Function, typename... Arguments>
auto interruptible_part(Function function, Arguments... arguments)
    -> task<interruptible_t<typename std::invoke_result_t<Function&, Arguments...>::value_type>> {
    using result = typename std::invoke_result_t<Function&, Arguments...>::value_type;
    auto work = std::invoke(function, std::move(arguments)...);
    if constexpr (std::is_void_v<result>) {
        co_await until_interrupted(std::move(work));
    } else {
        auto value = co_await until_interrupted(std::move(work));
        co_return value;
    }
}

}  // namespace detail

/// The same with run()'s options, on as many threads: `run_main({.threads = 4}, serve)`. Returns
/// what the caller's thread returned.
template <typename Function, typename... Arguments>
    requires std::invocable<std::decay_t<Function>&, std::decay_t<Arguments>...>
int run_main(const run_options& options, Function&& function, Arguments&&... arguments) {
    return detail::run_reporting([&] {
        const auto part =
            detail::interruptible_part<std::decay_t<Function>, std::decay_t<Arguments>...>;
        using result = typename std::invoke_result_t<std::decay_t<Function>&,
                                                     std::decay_t<Arguments>...>::value_type;
        if constexpr (std::is_void_v<result>) {
            run(options, part, std::forward<Function>(function),
                std::forward<Arguments>(arguments)...);
            return 0;
        } else {
            const auto code = run(options, part, std::forward<Function>(function),
                                  std::forward<Arguments>(arguments)...);
            return static_cast<int>(code.value_or(0));
        }
    });
}

}  // namespace rondo::inline v0
