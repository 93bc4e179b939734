// What the micro-benchmarks compare with: the least a coroutine library can do, by hand.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>

/// A lazy task with symmetric transfer and recycled frames, and a queue of tasks that are ready:
/// no context, no cancellation, no kernel.
namespace reference {

/// Frames by size class, on free lists of the thread.
class frame_pool {
public:
    static void* allocate(std::size_t size) {
        const std::size_t index = (size - 1) / granularity;
        if (index >= classes) [[unlikely]] return ::operator new(size);
        if (block* first = free_[index]) [[likely]] {
            free_[index] = first->next;
            return first;
        }
        return ::operator new((index + 1) * granularity);
    }
    static void deallocate(void* memory, std::size_t size) noexcept {
        const std::size_t index = (size - 1) / granularity;
        if (index >= classes) [[unlikely]] return ::operator delete(memory);
        block* freed = static_cast<block*>(memory);
        freed->next = free_[index];
        free_[index] = freed;
    }

private:
    struct block {
        block* next;
    };
    static constexpr std::size_t granularity = 64;
    static constexpr std::size_t classes = 16;
    static inline constinit thread_local block* free_[classes] = {};
};

class promise_base {
public:
    static void* operator new(std::size_t size) { return frame_pool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        frame_pool::deallocate(memory, size);
    }

    class final_awaiter {
    public:
        bool await_ready() const noexcept { return false; }
        template <typename Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) noexcept {
            return ended.promise().continuation;
        }
        void await_resume() const noexcept {}
    };

    std::suspend_always initial_suspend() const noexcept { return {}; }
    final_awaiter final_suspend() const noexcept { return {}; }
    void unhandled_exception() noexcept { failure = std::current_exception(); }
    void rethrow() {
        if (failure) [[unlikely]] std::rethrow_exception(std::move(failure));
    }

    std::coroutine_handle<> continuation = std::noop_coroutine();
    std::exception_ptr failure;
};

template <typename T>
class task {
public:
    class promise_type : public promise_base {
    public:
        task get_return_object() noexcept { return task(handle::from_promise(*this)); }
        void return_value(T returned) noexcept { value_ = returned; }
        T result() {
            rethrow();
            return value_;
        }

    private:
        T value_;
    };
    using handle = std::coroutine_handle<promise_type>;

    task(const task&) = delete;
    task& operator=(const task&) = delete;
    ~task() { handle_.destroy(); }

    class awaiter {
    public:
        explicit awaiter(handle started) noexcept : started_(started) {}
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) noexcept {
            started_.promise().continuation = awaiting;
            return started_;
        }
        T await_resume() { return started_.promise().result(); }

    private:
        handle started_;
    };
    awaiter operator co_await() && noexcept { return awaiter(handle_); }

    /// Runs it until it first waits; it must be kept until it has ended.
    void start() { handle_.resume(); }
    bool done() const noexcept { return handle_.done(); }

private:
    explicit task(handle made) noexcept : handle_(made) {}
    handle handle_;
};

template <>
class task<void>::promise_type : public promise_base {
public:
    task get_return_object() noexcept { return task(handle::from_promise(*this)); }
    void return_void() const noexcept {}
    void result() { rethrow(); }
};

/// Tasks that are ready, linked through the awaiters in their frames.
class ready_queue {
public:
    class yield_awaiter {
    public:
        explicit yield_awaiter(ready_queue& queue) noexcept : queue_(queue) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> awaiting) noexcept {
            awaiting_ = awaiting;
            next_ = nullptr;
            *queue_.last_ = this;
            queue_.last_ = &next_;
        }
        void await_resume() const noexcept {}

    private:
        friend ready_queue;
        ready_queue& queue_;
        std::coroutine_handle<> awaiting_;
        yield_awaiter* next_;
    };

    ready_queue() noexcept = default;
    ready_queue(const ready_queue&) = delete;
    ready_queue& operator=(const ready_queue&) = delete;

    yield_awaiter yield() noexcept { return yield_awaiter(*this); }

    /// Resumes one after the other until nobody is ready.
    void run() {
        while (yield_awaiter* const ready = first_) {
            first_ = ready->next_;
            if (first_ == nullptr) last_ = &first_;
            ready->awaiting_.resume();
        }
    }

private:
    yield_awaiter* first_ = nullptr;
    yield_awaiter** last_ = &first_;
};

}  // namespace reference
