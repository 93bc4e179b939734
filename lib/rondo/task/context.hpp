// What a task runs in: a loop, a parent, and whether it is to stop.
#pragma once

#include <rondo/detail/intrusive_list.hpp>
#include <rondo/task/waiter.hpp>

#include <concepts>
#include <coroutine>

namespace rondo::inline v0 {

class event_loop;
class graceful_stop;

/// One thread of control: a chain of tasks of which at most the innermost waits. A task gets the
/// context of its awaiter; a spawned child, a branch of when_all and the inside of a cancel scope
/// each have one of their own. Contexts form a tree, and cancellation walks down it.
class context : public detail::intrusive_hook {
public:
    enum class shielding : bool { off, on };

    /// The root of a tree.
    explicit context(event_loop& loop) noexcept;
    /// A child. It starts cancelled if its parent is, unless shielded from it.
    explicit context(context& parent, shielding shield = shielding::off) noexcept;
    context(const context&) = delete;
    context& operator=(const context&) = delete;
    ~context();

    event_loop& loop() const noexcept { return *loop_; }
    context* parent() const noexcept { return parent_; }

    /// True from cancel() on; it is never taken back (level-triggered).
    bool cancelled() const noexcept { return cancelled_; }

    /// Cancels what waits here and in all contexts below, but for shielded ones. From now on every
    /// await of an operation here fails. Resumes nobody by itself.
    void cancel() noexcept;

    /// Records who waits, for cancel(). The waiter's loop clears it by make_ready().
    void wait_for(waiter& w, std::coroutine_handle<> resumed) noexcept {
        w.frame_ = resumed.address();
        w.context_ = this;
        waiting_ = &w;
    }

    /// Whether this waiter is the one who waits: not made ready, not resumed yet.
    bool waited_for_by(const waiter& w) const noexcept { return waiting_ == &w; }

    /// The nearest graceful stop around this context, or null.
    graceful_stop* stop() const noexcept { return stop_; }
    void set_stop(graceful_stop& stop) noexcept { stop_ = &stop; }

private:
    friend class event_loop;

    // Set once.
    event_loop* loop_;
    context* parent_;
    graceful_stop* stop_;
    bool shielded_;
    // The loop's thread.
    bool cancelled_;
    waiter* waiting_ = nullptr;
    detail::intrusive_list<context> children_;
};

/// What a coroutine's promise must offer so that operations can be awaited in it.
template <typename Promise>
concept has_context = requires(Promise& promise) {
    { promise.task_context() } -> std::same_as<context&>;
};

namespace detail {

/// Awaits nothing and returns the awaiting task's context.
class this_context_awaiter {
public:
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        context_ = &awaiting.promise().task_context();
        return false;
    }
    context& await_resume() const noexcept { return *context_; }

private:
    context* context_ = nullptr;
};

}  // namespace detail

/// `context& here = co_await this_context();` Never suspends, never fails.
inline detail::this_context_awaiter this_context() noexcept { return {}; }

}  // namespace rondo::inline v0
