// The coroutine type of the library: lazy, awaited once, where it is created.
#pragma once

#include <rondo/task/context.hpp>
#include <rondo/task/frame_pool.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

namespace rondo::inline v0 {

template <typename T = void>
class task;

namespace detail {

/// What the promises of all tasks share: whom to resume at the end, the context, the memory.
class task_promise_base : public await_site {
public:
    static void* operator new(std::size_t size) { return frame_pool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        frame_pool::deallocate(memory, size);
    }

    std::suspend_always initial_suspend() const noexcept { return {}; }

    class final_awaiter {
    public:
        bool await_ready() const noexcept { return false; }
        template <typename Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) noexcept {
            task_promise_base& promise = ended.promise();
            promise.context_->leave_task(promise);
            return promise.continuation_;
        }
        void await_resume() const noexcept {}
    };
    final_awaiter final_suspend() const noexcept { return {}; }

    context& task_context() const noexcept { return *context_; }

    void start_for(std::coroutine_handle<> continuation, context& where,
                   std::source_location place) noexcept {
        continuation_ = continuation;
        context_ = &where;
        where.enter_task(*this, place);
    }

private:
    std::coroutine_handle<> continuation_;
    context* context_ = nullptr;
};

template <typename T>
class task_promise : public task_promise_base {
public:
    task_promise() noexcept {}
    task_promise(const task_promise&) = delete;
    task_promise& operator=(const task_promise&) = delete;
    ~task_promise() {
        if (state_ == state::value) std::destroy_at(std::addressof(value_));
        if (state_ == state::failure) std::destroy_at(std::addressof(failure_));
    }

    task<T> get_return_object() noexcept;

    template <typename Value = T>
        requires std::is_constructible_v<T, Value&&>
    void return_value(Value&& value) {
        std::construct_at(std::addressof(value_), std::forward<Value>(value));
        state_ = state::value;
    }
    void unhandled_exception() noexcept {
        std::construct_at(std::addressof(failure_), std::current_exception());
        state_ = state::failure;
    }

    /// The exception the task ended with, or null; the task no longer has it.
    std::exception_ptr take_failure() noexcept {
        if (state_ != state::failure) return nullptr;
        return std::move(failure_);
    }
    /// The value; the task must have ended with one.
    T take() { return std::move(value_); }
    T result() {
        if (state_ == state::failure) [[unlikely]] std::rethrow_exception(std::move(failure_));
        return take();
    }

private:
    enum class state : unsigned char { running, value, failure };
    state state_ = state::running;
    union {
        T value_;
        std::exception_ptr failure_;
    };
};

template <typename T>
class task_promise<T&> : public task_promise_base {
public:
    task<T&> get_return_object() noexcept;
    void return_value(T& value) noexcept { value_ = std::addressof(value); }
    void unhandled_exception() noexcept { failure_ = std::current_exception(); }
    std::exception_ptr take_failure() noexcept { return std::move(failure_); }
    T& take() noexcept { return *value_; }
    T& result() {
        if (failure_) [[unlikely]] std::rethrow_exception(std::move(failure_));
        return *value_;
    }

private:
    T* value_ = nullptr;
    std::exception_ptr failure_;
};

template <>
class task_promise<void> : public task_promise_base {
public:
    task<void> get_return_object() noexcept;
    void return_void() const noexcept {}
    void unhandled_exception() noexcept { failure_ = std::current_exception(); }
    std::exception_ptr take_failure() noexcept { return std::move(failure_); }
    void take() const noexcept {}
    void result() {
        if (failure_) [[unlikely]] std::rethrow_exception(std::move(failure_));
    }

private:
    std::exception_ptr failure_;
};

/// Starts a task in the awaiting task's context and resumes the awaiter at its end.
template <typename T>
class task_awaiter {
public:
    using handle = std::coroutine_handle<task_promise<T>>;
    explicit task_awaiter(handle started) noexcept : started_(started) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    std::coroutine_handle<> await_suspend(
        std::coroutine_handle<Promise> awaiting,
        std::source_location place = std::source_location::current()) noexcept {
        started_.promise().start_for(awaiting, awaiting.promise().task_context(), place);
        return started_;
    }
    T await_resume() { return started_.promise().result(); }

protected:
    handle started_;
};

/// The same, but returns how the task ended, without throwing: the exception or null. A value
/// stays in the task, for take().
template <typename T>
class settle_here_awaiter : public task_awaiter<T> {
public:
    using task_awaiter<T>::task_awaiter;
    std::exception_ptr await_resume() noexcept { return this->started_.promise().take_failure(); }
};

/// The same in a context of the caller's choice.
template <typename T>
class settle_awaiter {
public:
    using handle = std::coroutine_handle<task_promise<T>>;
    settle_awaiter(handle started, context& where) noexcept : started_(started), where_(&where) {}

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(
        std::coroutine_handle<> awaiting,
        std::source_location place = std::source_location::current()) noexcept {
        started_.promise().start_for(awaiting, *where_, place);
        return started_;
    }
    std::exception_ptr await_resume() noexcept { return started_.promise().take_failure(); }

private:
    handle started_;
    context* where_;
};

}  // namespace detail

/// A coroutine that has not begun. Completes when its body has ended; returns what the body
/// returned or throws what it threw. It starts when it is awaited, in the awaiting task's context,
/// and so is cancelled with it. It is awaited once, where it is created: it neither moves nor
/// copies, and only an rvalue can be awaited. Stored first (`auto t = f(x); co_await
/// std::move(t);`) its reference arguments must live until its end, which is the caller's duty.
/// Destroyed without being awaited it never runs.
template <typename T>
class [[nodiscard("a task does nothing until it is awaited")]] task {
public:
    using promise_type = detail::task_promise<T>;
    using value_type = T;

    task(const task&) = delete;
    task& operator=(const task&) = delete;
    ~task() { handle_.destroy(); }

    /// Completes when the task has ended; returns its value or throws what it threw.
    detail::task_awaiter<T> operator co_await() && noexcept {
        return detail::task_awaiter<T>(handle_);
    }

    /// For owners of tasks: `auto failure = co_await t.settle();` then take(). Completes when the
    /// task has ended; returns what it threw, or null, and throws nothing. It runs in the awaiting
    /// task's context.
    detail::settle_here_awaiter<T> settle() noexcept {
        return detail::settle_here_awaiter<T>(handle_);
    }
    /// As settle(), in the context given, which must live until then.
    detail::settle_awaiter<T> settle(context& where) noexcept {
        return detail::settle_awaiter<T>(handle_, where);
    }
    /// The value of a task that settled without failure.
    T take() { return handle_.promise().take(); }

private:
    friend promise_type;
    explicit task(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}

    std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <typename T>
task<T> task_promise<T>::get_return_object() noexcept {
    return task<T>(std::coroutine_handle<task_promise>::from_promise(*this));
}
template <typename T>
task<T&> task_promise<T&>::get_return_object() noexcept {
    return task<T&>(std::coroutine_handle<task_promise>::from_promise(*this));
}
inline task<void> task_promise<void>::get_return_object() noexcept {
    return task<void>(std::coroutine_handle<task_promise>::from_promise(*this));
}

}  // namespace detail

}  // namespace rondo::inline v0
