// From a program's main() into its first task and back.
#pragma once

#include <rondo/io/scheduler.hpp>
#include <rondo/task/child.hpp>
#include <rondo/task/task.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace rondo::inline v0 {

/// How run() works. Every field has a default: `run({.engine = engine_kind::epoll}, f)`.
struct run_options {
    unsigned threads = 1;  ///< threads, each with a scheduler of its own
    engine_kind engine = engine_kind::automatic;
    engine_options queues = {};
    buffer_pool_options buffers = {};
    /// Makes the engine in place of `engine`, for tests.
    std::function<std::unique_ptr<rondo::engine>(const engine_options&)> make_engine = {};
};

namespace detail {

/// The scheduler of one run() and the owner of its root task.
class root {
public:
    explicit root(const run_options& options);
    root(const root&) = delete;
    root& operator=(const root&) = delete;

    /// Runs until the root has ended and what it left to the scheduler too; rethrows its failure.
    void run_to_end();

    // For child<root>.
    context& scope() noexcept { return context_; }
    void child_failed(std::exception_ptr failure) noexcept { failure_ = std::move(failure); }
    void child_ended() noexcept { done_ = true; }

private:
    scheduler scheduler_;
    context context_;
    bool done_ = false;
    std::exception_ptr failure_;
};

template <typename T>
child<root> run_root(root& owner, task<T>& work) {
    context& here = co_await this_context();
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) owner.child_failed(std::move(failure));
}

template <typename T>
T run_task(const run_options& options, task<T>& work) {
    root owner(options);
    run_root(owner, work).start();
    owner.run_to_end();
    return work.take();
}

}  // namespace detail

/// Runs a task to its end on this thread; returns its value or throws what it threw. Returns only
/// when sockets that were destroyed with a request in the kernel have been closed too. Touches no
/// signal. Throws std::system_error when the engine cannot be set up. Misuse: inside another run().
template <typename T>
T run(task<T> work) {
    return detail::run_task(run_options{}, work);
}

/// The same with options: calls `function(arguments...)`, which returns the task, with its own
/// copies. Each thread is to have its own scheduler and copies; this version runs on one thread
/// and throws std::errc::invalid_argument for another number.
template <typename Function, typename... Arguments>
    requires std::invocable<std::decay_t<Function>&, std::decay_t<Arguments>...>
decltype(auto) run(const run_options& options, Function&& function, Arguments&&... arguments) {
    std::decay_t<Function> kept(std::forward<Function>(function));
    std::tuple<std::decay_t<Arguments>...> copies(std::forward<Arguments>(arguments)...);
    // The copies outlive the task, which may refer to them.
    auto work = std::apply(
        [&](auto&... each) { return std::invoke(kept, std::move(each)...); }, copies);
    return detail::run_task(options, work);
}

}  // namespace rondo::inline v0
