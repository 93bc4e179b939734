// Children that run concurrently and never outlive their parent.
#pragma once

#include <rondo/task/awaitable.hpp>
#include <rondo/task/child.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>

namespace rondo::inline v0 {

class task_group;

namespace detail {

/// Keeps a spawned callable and its arguments until the task it makes has ended.
template <typename Function, typename... Arguments>
child<task_group> run_spawned(task_group& group, Function function, Arguments... arguments);

/// Waits until the group is empty. Not a cancellation point: children are always joined.
class [[nodiscard]] join_operation final : public waiter {
public:
    explicit join_operation(task_group& group) noexcept : group_(&group) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        return start(awaiting, awaiting.promise().task_context());
    }
    void await_resume() const noexcept {}
    std::string awaits() const override;

private:
    friend task_group;
    bool start(std::coroutine_handle<> awaiting, context& where) noexcept;
    void cancel() noexcept override {}
    task_group* group_;
};

/// The friend through which when_all() and when_any() make groups.
struct group_maker;

template <typename Body>
using group_body_result =
    typename std::remove_cvref_t<std::invoke_result_t<Body&, task_group&>>::value_type;

}  // namespace detail

/// Runs `body(group)` and everything it spawns; completes when all of it has ended; returns what
/// the body returned. An exception of the body or of a child cancels the rest and is rethrown
/// once, the first one, after all have ended. A cancellation from around reaches body and children,
/// and throws operation_canceled unless all of them succeeded in spite of it.
///
///     co_await with_task_group([&](task_group& group) -> task<> {
///         group.spawn(serve_one, std::move(socket));
///         co_await something_else();
///     });
template <std::invocable<task_group&> Body>
task<detail::group_body_result<Body>> with_task_group(Body body);

/// The children of one with_task_group() call. There is no other way to one, so none can be left
/// unjoined. It belongs to its loop's thread.
class task_group {
public:
    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;

    /// Runs the task that `function(arguments...)` returns as a child. Callable and arguments are
    /// copied (or moved) and kept until the child has ended, so a lambda's captures cannot dangle.
    /// The child begins in its turn, not before this returns. In a cancelled group it begins, and
    /// the first operation it awaits fails.
    template <typename Function, typename... Arguments>
        requires std::invocable<std::decay_t<Function>&, std::decay_t<Arguments>...>
    void spawn(Function&& function, Arguments&&... arguments) {
        detail::run_spawned<std::decay_t<Function>, std::decay_t<Arguments>...>(
            *this, std::forward<Function>(function), std::forward<Arguments>(arguments)...)
            .start();
        ++children_;
    }

    /// Cancels the body and all children; with_task_group() then returns as if they had ended.
    void cancel() noexcept { scope_.cancel(); }
    bool cancelled() const noexcept { return scope_.cancelled(); }

    /// Children that have not ended.
    std::size_t size() const noexcept { return children_; }

    // For the library's own coroutines: where children run, and how they end.
    context& scope() noexcept { return scope_; }
    void child_failed(std::exception_ptr failure) noexcept {
        if (scope_.cancelled() && is_canceled(failure)) {
            cut_short_ = true;
            return;
        }
        if (!failure_) failure_ = std::move(failure);
        scope_.cancel();
    }
    void child_ended() noexcept {
        if (--children_ == 0 && joiner_ != nullptr) scope_.loop().make_ready(*joiner_);
    }

private:
    friend class detail::join_operation;
    friend struct detail::group_maker;
    template <std::invocable<task_group&> Body>
    friend task<detail::group_body_result<Body>> with_task_group(Body body);

    explicit task_group(context& parent) noexcept : scope_(parent) { scope_.set_name("group"); }

    context scope_;
    std::size_t children_ = 0;
    detail::join_operation* joiner_ = nullptr;
    std::exception_ptr failure_;
    bool cut_short_ = false;  // the body or a child was cancelled
};

namespace detail {

inline std::string join_operation::awaits() const {
    return std::to_string(group_->children_) +
           (group_->children_ == 1 ? " child to end" : " children to end");
}

inline bool join_operation::start(std::coroutine_handle<> awaiting, context& where) noexcept {
    if (group_->children_ == 0) return false;
    where.wait_for(*this, awaiting);
    group_->joiner_ = this;
    return true;
}

template <typename Function, typename... Arguments>
child<task_group> run_spawned(task_group& group, Function function, Arguments... arguments) {
    auto inner = std::invoke(function, std::move(arguments)...);
    std::exception_ptr failure = co_await inner.settle();
    // Handed on instead of rethrown: a rethrow costs a microsecond and a half per cancelled child.
    if (failure) group.child_failed(std::move(failure));
}

}  // namespace detail

namespace detail {

/// The call itself as a task, because a body that is no coroutine may throw before it returns one.
template <typename Body>
task<group_body_result<Body>> call_body(Body& body, task_group& group) {
    auto inner = body(group);
    std::exception_ptr failure = co_await inner.settle();
    if (failure) std::rethrow_exception(std::move(failure));
    co_return inner.take();
}

}  // namespace detail

template <std::invocable<task_group&> Body>
task<detail::group_body_result<Body>> with_task_group(Body body) {
    context& here = co_await this_context();
    task_group group(here);
    auto inner = detail::call_body(body, group);
    std::exception_ptr failure = co_await inner.settle(group.scope_);
    const bool completed = failure == nullptr;
    if (!completed) group.child_failed(failure);
    co_await detail::join_operation(group);
    if (group.failure_) std::rethrow_exception(std::move(group.failure_));
    // A cancellation from around comes out where it cut something short; group.cancel() counts as
    // the end of what it cuts short.
    if (here.cancelled() && group.cut_short_) {
        if (!completed) std::rethrow_exception(std::move(failure));
        detail::throw_canceled();
    }
    if constexpr (!std::is_void_v<detail::group_body_result<Body>>) {
        if (!completed) std::rethrow_exception(std::move(failure));
        co_return inner.take();
    }
}

}  // namespace rondo::inline v0
