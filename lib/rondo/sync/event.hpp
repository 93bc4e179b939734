// A condition that tasks wait for.
#pragma once

#include <rondo/sync/sync_operation.hpp>

#include <source_location>
#include <string>

namespace rondo::inline v0 {

class event;

namespace detail {

class [[nodiscard]] event_wait_operation final : public sync_operation {
public:
    std::string awaits() const override { return "an event to be set"; }
    explicit event_wait_operation(event& awaited) noexcept : event_(&awaited) {}
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) noexcept {
        return start(awaiting, context_at(awaiting, place));
    }
    void await_resume() const { throw_if_canceled(); }

private:
    bool start(std::coroutine_handle<> awaiting, context& where) noexcept;
    event* event_;
};

}  // namespace detail

/// Set, until it is reset: whoever waits meanwhile goes on. Any number of tasks may wait. It
/// belongs to one thread and must outlive who waits for it.
class event {
public:
    explicit event(bool set = false) noexcept : set_(set) {}
    event(const event&) = delete;
    event& operator=(const event&) = delete;
    ~event();

    bool is_set() const noexcept { return set_; }

    /// Everybody who waits now becomes ready, also if it is reset before they run.
    void set() noexcept;
    void reset() noexcept { set_ = false; }

    /// Completes when the event is set. Throws operation_canceled.
    detail::event_wait_operation wait() noexcept { return detail::event_wait_operation(*this); }

private:
    friend class detail::event_wait_operation;

    bool set_;
    detail::wait_list_of<detail::event_wait_operation> waiting_;
};

}  // namespace rondo::inline v0
