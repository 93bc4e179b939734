// A coroutine that runs in a context of its own and reports its end to an owner.
#pragma once

#include <rondo/task/context.hpp>
#include <rondo/task/event_loop.hpp>
#include <rondo/task/frame_pool.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <string>

namespace rondo::inline v0::detail {

/// The return type of such a coroutine. Its first parameter is `Owner&`, which offers
/// `context& scope()`, `void child_failed(std::exception_ptr)` and `void child_ended()`. Start it
/// with start() or begin(); from then on it owns itself: its frame, with the arguments in it, is
/// gone before child_ended() is called. child_ended() must resume nobody directly.
template <typename Owner>
class child {
public:
    class promise_type final : private waiter {
    public:
        template <typename... Arguments>
        explicit promise_type(Owner& owner, Arguments&...) noexcept
            : owner_(&owner), context_(owner.scope()) {}

        static void* operator new(std::size_t size) { return frame_pool::allocate(size); }
        static void operator delete(void* memory, std::size_t size) noexcept {
            frame_pool::deallocate(memory, size);
        }

        child get_return_object() noexcept { return child(*this); }
        std::suspend_always initial_suspend() const noexcept { return {}; }

        class final_awaiter {
        public:
            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<promise_type> ended) const noexcept {
                Owner& owner = *ended.promise().owner_;
                ended.destroy();
                owner.child_ended();
            }
            void await_resume() const noexcept {}
        };
        final_awaiter final_suspend() const noexcept { return {}; }

        void return_void() const noexcept {}
        void unhandled_exception() noexcept { owner_->child_failed(std::current_exception()); }
        context& task_context() noexcept { return context_; }

    private:
        friend child;

        // It is only ever queued, never waiting, so no cancellation arrives here.
        void cancel() noexcept override {}
        std::string awaits() const override { return "its first turn"; }

        void start() noexcept {
            context_.wait_for(*this, std::coroutine_handle<promise_type>::from_promise(*this));
            context_.loop().make_ready(*this);
        }

        Owner* owner_;
        context context_;
    };

    /// Queues the first step; nothing of the body runs before the loop comes to it.
    void start() noexcept { promise_->start(); }

    /// Runs the first step before it returns.
    void begin() noexcept {
        std::coroutine_handle<promise_type>::from_promise(*promise_).resume();
    }

private:
    explicit child(promise_type& promise) noexcept : promise_(&promise) {}
    promise_type* promise_;
};

}  // namespace rondo::inline v0::detail
