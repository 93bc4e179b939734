// What a task runs in: a loop, a parent, and whether it is to stop.
#pragma once

#include <rondo/detail/intrusive_list.hpp>
#include <rondo/task/await_site.hpp>
#include <rondo/task/timer.hpp>
#include <rondo/task/waiter.hpp>

#include <concepts>
#include <coroutine>
#include <source_location>

namespace rondo::inline v0 {

class event_loop;
class graceful_stop;

/// One thread of control: a chain of tasks of which at most the innermost waits. A task gets the
/// context of its awaiter; a spawned child, a branch of when_all and the inside of a cancel scope
/// each have one of their own. Contexts form a tree, and cancellation walks down it.
class context : public detail::intrusive_hook {
public:
    /// Whether cancellation stops at a context, on its way down the tree.
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

    // --- for dump_tasks() ---

    /// Notes where the innermost task is about to wait.
    void waits_at(std::source_location place) noexcept { waits_at_ = place; }
    std::source_location waits_at() const noexcept { return waits_at_; }
    /// Links a task that begins here, and takes it out at its end.
    void enter_task(await_site& site, std::source_location place) noexcept {
        site.place_ = place;
        site.outer_ = innermost_;
        innermost_ = &site;
    }
    void leave_task(await_site& site) noexcept { innermost_ = site.outer_; }
    const await_site* innermost() const noexcept { return innermost_; }
    /// What it waits for; null while it is ready, runs, or waits for tasks in contexts below.
    const waiter* waiting() const noexcept { return waiting_; }
    /// The time of the turn in which it was made ready last, as exact as the loop's coarse clock.
    clock::time_point since() const noexcept { return since_; }
    /// Static text or one that outlives the context; empty where none was set.
    const char* name() const noexcept { return name_; }
    void set_name(const char* name) noexcept { name_ = name; }
    template <typename Visit>
    void each_child(Visit visit) const {
        for (const context& child : children_) visit(child);
    }

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
    std::source_location waits_at_{};
    clock::time_point since_;
    await_site* innermost_ = nullptr;
    const char* name_ = "";
    detail::intrusive_list<context> children_;
};

/// What a coroutine's promise must offer so that operations can be awaited in it.
template <typename Promise>
concept has_context = requires(Promise& promise) {
    { promise.task_context() } -> std::same_as<context&>;
};

/// The awaiting task's context, with a note in it where the task waits: what an operation's
/// await_suspend() begins with. `place` is to be a default argument there, which the compiler
/// fills in with the line of the co_await.
template <has_context Promise>
context& context_at(std::coroutine_handle<Promise> awaiting, std::source_location place) noexcept {
    context& where = awaiting.promise().task_context();
    where.waits_at(place);
    return where;
}

namespace detail {

/// Awaits nothing and returns the awaiting task's context.
class [[nodiscard]] this_context_awaiter {
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
