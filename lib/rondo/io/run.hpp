// From a program's main() into its first task and back.
#pragma once

#include <rondo/io/scheduler.hpp>
#include <rondo/io/thread_group.hpp>
#include <rondo/task/awaitable.hpp>
#include <rondo/task/child.hpp>
#include <rondo/task/task.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

/// How run() works. Every field has a default: `run({.engine = engine_kind::epoll}, f)`.
struct run_options {
    /// Threads, each with a scheduler of its own; the caller's is the first of them. 0: as many as
    /// the process may use processors.
    unsigned threads = 1;
    engine_kind engine = engine_kind::automatic;
    engine_options queues = {};
    buffer_pool_options buffers = {};
    /// Time stands still while anything can go on, and leaps to the next deadline when nothing can:
    /// sleeps and time-outs end in their order without waiting. For tests, see
    /// testing/virtual_time.hpp.
    bool virtual_time = false;
    /// Makes the engine in place of `engine`, for tests.
    std::function<std::unique_ptr<rondo::engine>(const engine_options&)> make_engine = {};
    /// Is given the tasks that are ready, each time before they are resumed, and puts them into
    /// another order, for tests: testing/shuffle.hpp. Each thread has a copy.
    std::function<void(std::span<waiter*>)> reorder_ready = {};
};

namespace detail {

/// The scheduler of one run() and the owner of its root task.
class root {
public:
    /// Alone.
    explicit root(const run_options& options);
    /// One of several; each has an index below the group's size.
    root(const run_options& options, thread_group& group, unsigned index);
    root(const root&) = delete;
    root& operator=(const root&) = delete;

    /// Waits for the other threads of the group. False where one of them could not come.
    bool arrive() { return group_->arrive(*this, scheduler_); }

    /// Runs until the root (and those of the other threads) has ended and what it left to the
    /// scheduler, too; rethrows its failure, unless that is the group's.
    void run_to_end();

    // For child<root>.
    context& scope() noexcept { return context_; }
    void child_failed(std::exception_ptr failure) noexcept;
    void child_ended() noexcept;

    // For thread_group; any thread, each at most once.
    unsigned index() const noexcept { return index_; }
    void ask_to_cancel() noexcept { scheduler_.post(cancel_); }
    void ask_to_finish() noexcept { scheduler_.post(finish_); }

private:
    class cancel_order final : public posted_work {
    public:
        explicit cancel_order(root& of) noexcept : root_(&of) {}
        void run() noexcept override { root_->context_.cancel(); }

    private:
        root* root_;
    };
    class finish_order final : public posted_work {
    public:
        explicit finish_order(root& of) noexcept : root_(&of) {}
        void run() noexcept override { root_->done_ = true; }

    private:
        root* root_;
    };

    scheduler scheduler_;
    context context_;
    bool done_ = false;
    std::exception_ptr failure_;
    thread_group* group_ = nullptr;
    unsigned index_ = 0;
    cancel_order cancel_{*this};
    finish_order finish_{*this};
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

/// The root of one of several threads.
template <typename Function, typename Arguments, typename Slot>
child<root> run_part(root& owner, Function& function, Arguments& arguments, Slot& slot) {
    auto work = std::apply(
        [&](auto&... each) { return std::invoke(function, std::move(each)...); }, arguments);
    context& here = co_await this_context();
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) {
        owner.child_failed(std::move(failure));
    } else if constexpr (std::is_void_v<typename decltype(work)::value_type>) {
        slot.emplace();
    } else {
        slot.emplace(work.take());
    }
}

/// One thread's part in a run on several: from its scheduler's beginning to its end.
template <typename Slot, typename Function, typename Arguments>
void take_part(const run_options& options, thread_group& group, unsigned index, Slot& slot,
               Function& function, Arguments& arguments) {
    std::optional<root> owner;
    try {
        owner.emplace(options, group, index);
    } catch (...) {
        group.stay_away(std::current_exception());
        return;
    }
    if (!owner->arrive()) return;
    run_part(*owner, function, arguments, slot).start();
    owner->run_to_end();
    group.leave();
}

/// Runs on `threads` threads, this one among them, and returns this one's value.
template <typename T, typename Function, typename Arguments>
T run_on_threads(const run_options& options, unsigned threads, Function& function,
                 Arguments& arguments) {
    thread_group group(threads);
    const auto follow = [&](unsigned index) noexcept {
        std::optional<std::pair<Function, Arguments>> copies;
        std::optional<stored_t<T>> unused;
        try {
            // Before arrive(), behind which this thread's caller begins to use the originals up.
            copies.emplace(std::as_const(function), std::as_const(arguments));
        } catch (...) {
            return group.stay_away(std::current_exception());
        }
        take_part(options, group, index, unused, copies->first, copies->second);
    };
    std::vector<std::thread> others;
    std::optional<stored_t<T>> slot;
    try {
        others.reserve(threads - 1);
        for (unsigned index = 1; index < threads; ++index) others.emplace_back(follow, index);
        take_part(options, group, 0, slot, function, arguments);
    } catch (...) {
        // Only starting a thread throws here.
        group.miss(threads - 1 - others.size());
        group.stay_away(std::current_exception());
    }
    for (std::thread& other : others) other.join();
    if (std::exception_ptr failure = group.take_failure()) std::rethrow_exception(failure);
    if constexpr (!std::is_void_v<T>) return std::move(*slot);
}

/// options.threads, or what 0 stands for.
unsigned thread_count(const run_options& options) noexcept;
[[noreturn]] void refuse_threads();

}  // namespace detail

/// Runs a task to its end on this thread; returns its value or throws what it threw. Returns only
/// when sockets that were destroyed with a request in the kernel have been closed too. Touches no
/// signal. Throws std::system_error when the engine cannot be set up. Misuse: inside another run().
template <typename T>
T run(task<T> work) {
    return detail::run_task(run_options{}, work);
}

/// The same with options: calls `function(arguments...)`, which returns the task, with its own
/// copies. With more than one thread, it is called once on each, with copies for each; servers of
/// the same name share their port (tcp_serve). Then it returns when the tasks of all threads have
/// ended, with the value of the caller's thread. The first failure cancels the others and is
/// rethrown. Throws std::errc::invalid_argument where several threads are asked for and function
/// or arguments cannot be copied.
template <typename Function, typename... Arguments>
    requires std::invocable<std::decay_t<Function>&, std::decay_t<Arguments>...>
decltype(auto) run(const run_options& options, Function&& function, Arguments&&... arguments) {
    using task_type = std::invoke_result_t<std::decay_t<Function>&, std::decay_t<Arguments>...>;
    using result = typename task_type::value_type;
    std::decay_t<Function> kept(std::forward<Function>(function));
    std::tuple<std::decay_t<Arguments>...> copies(std::forward<Arguments>(arguments)...);
    if (const unsigned threads = detail::thread_count(options); threads != 1) {
        constexpr bool copyable = std::copy_constructible<std::decay_t<Function>> &&
                                  (std::copy_constructible<std::decay_t<Arguments>> && ...) &&
                                  !std::is_reference_v<result>;
        if constexpr (copyable) {
            return detail::run_on_threads<result>(options, threads, kept, copies);
        } else {
            detail::refuse_threads();
        }
    }
    // The copies outlive the task, which may refer to them.
    auto work = std::apply(
        [&](auto&... each) { return std::invoke(kept, std::move(each)...); }, copies);
    return detail::run_task(options, work);
}

}  // namespace rondo::inline v0
