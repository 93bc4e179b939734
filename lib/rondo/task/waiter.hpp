// What suspends a task and will make it ready again: the base of every leaf that is awaited.
#pragma once

#include <rondo/detail/intrusive_list.hpp>

#include <coroutine>
#include <string>

namespace rondo::inline v0 {

class context;

/// A suspended leaf of a chain of tasks. It lives in the awaiting frame, and the context it waits
/// in points back to it, so that a cancellation finds it without any list.
class waiter : public detail::queue_hook {
public:
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;

    /// The context was cancelled while this waits: see to it that the task becomes ready soon, by
    /// way of the ready queue, and resumes with std::errc::operation_canceled or with what
    /// happened first. Called at most once, never after make_ready().
    virtual void cancel() noexcept = 0;

    context& where() const noexcept { return *context_; }

    /// What is waited for, in a few words, for dump_tasks(): "recv from 127.0.0.1:8000".
    virtual std::string awaits() const = 0;

protected:
    // Its members are set by context::wait_for(), not before: one is made for every await.
    waiter() noexcept {}
    ~waiter() = default;

private:
    friend class context;
    friend class event_loop;

    void* frame_;       // the coroutine that is resumed
    context* context_;  // where it waits
};

}  // namespace rondo::inline v0
