// One task at a time, also across its awaits.
#pragma once

#include <rondo/sync/sync_operation.hpp>

#include <source_location>
#include <string>
#include <utility>

namespace rondo::inline v0 {

class mutex;

namespace detail {
class mutex_lock_operation;
}

/// Holds a mutex and unlocks it when destroyed. False when it holds none.
class [[nodiscard("the mutex is unlocked at once")]] mutex_guard {
public:
    mutex_guard() noexcept = default;
    mutex_guard(mutex_guard&& other) noexcept : held_(std::exchange(other.held_, nullptr)) {}
    mutex_guard& operator=(mutex_guard&& other) noexcept {
        if (this != &other) {
            unlock();
            held_ = std::exchange(other.held_, nullptr);
        }
        return *this;
    }
    ~mutex_guard() { unlock(); }

    explicit operator bool() const noexcept { return held_ != nullptr; }
    /// Before the guard's end; of no effect when it holds none.
    void unlock() noexcept;

private:
    friend mutex;
    friend class detail::mutex_lock_operation;
    explicit mutex_guard(mutex& held) noexcept : held_(&held) {}

    mutex* held_ = nullptr;
};

namespace detail {

class [[nodiscard]] mutex_lock_operation final : public sync_operation {
public:
    std::string awaits() const override { return "a mutex to be unlocked"; }
    explicit mutex_lock_operation(mutex& wanted) noexcept : mutex_(&wanted) {}
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) noexcept {
        return start(awaiting, context_at(awaiting, place));
    }
    mutex_guard await_resume();

private:
    bool start(std::coroutine_handle<> awaiting, context& where) noexcept;
    mutex* mutex_;
};

}  // namespace detail

/// Keeps tasks of one thread apart where a critical section awaits; one that does not await needs
/// none. Any number of tasks may ask for it; it is handed over in the order of the asking. It must
/// outlive who waits for it.
class mutex {
public:
    mutex() noexcept = default;
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;
    ~mutex();

    /// Completes when the mutex is the caller's; returns the guard that holds it. Locking it twice
    /// in one task waits forever. Throws operation_canceled, and nothing is held then.
    detail::mutex_lock_operation lock() noexcept { return detail::mutex_lock_operation(*this); }

    /// A guard that holds the mutex if it was free, else none.
    mutex_guard try_lock() noexcept;

    bool is_locked() const noexcept { return locked_; }

private:
    friend class mutex_guard;
    friend class detail::mutex_lock_operation;

    void unlock() noexcept;

    bool locked_ = false;
    detail::wait_list_of<detail::mutex_lock_operation> waiting_;
};

inline void mutex_guard::unlock() noexcept {
    if (mutex* const held = std::exchange(held_, nullptr)) held->unlock();
}

}  // namespace rondo::inline v0
