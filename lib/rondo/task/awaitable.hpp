// What can be awaited, and what comes of it.
#pragma once

#include <rondo/task/task.hpp>

#include <concepts>
#include <type_traits>
#include <utility>
#include <variant>

namespace rondo::inline v0 {

namespace detail {

template <typename A>
concept member_co_await = requires(A&& a) { std::forward<A>(a).operator co_await(); };
template <typename A>
concept free_co_await = requires(A&& a) { operator co_await(std::forward<A>(a)); };

template <typename A>
decltype(auto) awaiter_of(A&& a) {
    if constexpr (member_co_await<A>) {
        return std::forward<A>(a).operator co_await();
    } else if constexpr (free_co_await<A>) {
        return operator co_await(std::forward<A>(a));
    } else {
        return static_cast<A&&>(a);
    }
}

}  // namespace detail

/// What `co_await` gives when applied to an A.
template <typename A>
using await_result_t = decltype(detail::awaiter_of(std::declval<A>()).await_resume());

/// What `co_await` takes: tasks, operations, and whatever else has the functions for it.
template <typename A>
concept awaitable = requires(A&& a) {
    { detail::awaiter_of(std::forward<A>(a)).await_ready() } -> std::convertible_to<bool>;
};

namespace detail {

/// void where a value is needed.
template <typename T>
using stored_t = std::conditional_t<std::is_void_v<T>, std::monostate, std::remove_reference_t<T>>;

/// Anything awaitable as a task, so that it can be run in a context of its own. `operation` must
/// live until the task has ended: the task and it are temporaries of one full expression.
template <awaitable A>
task<await_result_t<A>> as_task(A&& operation) {
    // Named first: GCC 12 moves an awaiter that is awaited as an xvalue, and leaves do not move.
    decltype(auto) awaiter = awaiter_of(std::forward<A>(operation));
    if constexpr (std::is_void_v<await_result_t<A>>) {
        co_await awaiter;
    } else {
        decltype(auto) value = co_await awaiter;
        co_return std::forward<decltype(value)>(value);
    }
}

/// A task is one already.
template <typename T>
task<T>&& as_task(task<T>&& operation) noexcept {
    return std::move(operation);
}

}  // namespace detail

}  // namespace rondo::inline v0
