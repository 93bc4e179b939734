// A coroutine that produces values one by one and may await in between.
#pragma once

#include <rondo/task/context.hpp>
#include <rondo/task/frame_pool.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

namespace rondo::inline v0 {

/// An asynchronous stream of values:
///
///     generator<std::string> lines(tcp_socket& peer) { ... co_yield line; ... }
///     auto source = lines(peer);
///     while (auto line = co_await source.next()) use(*line);
///
/// The body runs while its consumer awaits next(), in the consumer's context, and so is cancelled
/// with it. Destroying a generator between two next() ends its body where it stands.
template <typename T>
class [[nodiscard]] generator {
public:
    class promise_type;
    class next_awaiter;

    generator(generator&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    generator& operator=(generator&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~generator() {
        if (handle_) handle_.destroy();
    }

    /// Completes at the body's next `co_yield` with its value, at the end of the body with nothing
    /// (then and ever after), or throws what the body threw. One at a time.
    next_awaiter next() noexcept { return next_awaiter(handle_); }

private:
    explicit generator(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}

    std::coroutine_handle<promise_type> handle_;
};

/// The compiler's end of a generator, and what its frame holds.
template <typename T>
class generator<T>::promise_type {
public:
    static void* operator new(std::size_t size) { return detail::frame_pool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        detail::frame_pool::deallocate(memory, size);
    }

    generator get_return_object() noexcept {
        return generator(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }

    /// At a `co_yield` and at the end: resumes who awaits next().
    class to_consumer {
    public:
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(
            std::coroutine_handle<promise_type> producer) const noexcept {
            return producer.promise().consumer_;
        }
        void await_resume() const noexcept {}
    };
    to_consumer final_suspend() const noexcept { return {}; }
    template <typename Value>
    to_consumer yield_value(Value&& value) {
        value_.emplace(std::forward<Value>(value));
        return {};
    }

    void return_void() const noexcept {}
    void unhandled_exception() noexcept { failure_ = std::current_exception(); }
    context& task_context() const noexcept { return *context_; }

private:
    friend next_awaiter;

    std::coroutine_handle<> consumer_;
    context* context_ = nullptr;
    std::optional<T> value_;
    std::exception_ptr failure_;
};

/// What next() returns: to be awaited, once.
template <typename T>
class generator<T>::next_awaiter {
public:
    explicit next_awaiter(std::coroutine_handle<promise_type> producer) noexcept
        : producer_(producer) {}

    bool await_ready() const noexcept { return producer_.done(); }
    template <has_context Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> consumer) noexcept {
        producer_.promise().consumer_ = consumer;
        producer_.promise().context_ = &consumer.promise().task_context();
        return producer_;
    }
    std::optional<T> await_resume() {
        promise_type& promise = producer_.promise();
        if (promise.failure_) std::rethrow_exception(std::exchange(promise.failure_, nullptr));
        return std::exchange(promise.value_, std::nullopt);
    }

private:
    std::coroutine_handle<promise_type> producer_;
};

}  // namespace rondo::inline v0
