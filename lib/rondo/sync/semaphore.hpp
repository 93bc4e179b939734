// A number of permits that tasks take and give back.
#pragma once

#include <rondo/sync/sync_operation.hpp>

#include <cstddef>
#include <source_location>
#include <string>
#include <utility>

namespace rondo::inline v0 {

class semaphore;

namespace detail {
class semaphore_hold_operation;
}

/// Permits of a semaphore, given back when destroyed. False when there are none.
class [[nodiscard("the permits are given back at once")]] semaphore_permits {
public:
    semaphore_permits() noexcept = default;
    semaphore_permits(semaphore_permits&& other) noexcept
        : from_(std::exchange(other.from_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    semaphore_permits& operator=(semaphore_permits&& other) noexcept {
        if (this != &other) {
            release();
            from_ = std::exchange(other.from_, nullptr);
            count_ = std::exchange(other.count_, 0);
        }
        return *this;
    }
    ~semaphore_permits() { release(); }

    explicit operator bool() const noexcept { return from_ != nullptr; }
    std::size_t count() const noexcept { return count_; }
    /// Before their holder's end; of no effect when there are none.
    void release() noexcept;

private:
    friend class detail::semaphore_hold_operation;
    semaphore_permits(semaphore& from, std::size_t count) noexcept : from_(&from), count_(count) {}

    semaphore* from_ = nullptr;
    std::size_t count_ = 0;
};

namespace detail {

/// What both ways to take permits share.
class semaphore_operation : public sync_operation {
public:
    std::string awaits() const override { return "permits of a semaphore"; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) noexcept {
        return start(awaiting, context_at(awaiting, place));
    }

protected:
    semaphore_operation(semaphore& from, std::size_t count) noexcept
        : semaphore_(&from), count_(count) {}
    ~semaphore_operation() = default;

    semaphore* semaphore_;
    std::size_t count_;

private:
    friend semaphore;
    bool start(std::coroutine_handle<> awaiting, context& where) noexcept;
    void cancel() noexcept override;
};

class [[nodiscard]] semaphore_acquire_operation final : public semaphore_operation {
public:
    semaphore_acquire_operation(semaphore& from, std::size_t count) noexcept
        : semaphore_operation(from, count) {}
    void await_resume() const { throw_if_canceled(); }
};

class [[nodiscard]] semaphore_hold_operation final : public semaphore_operation {
public:
    semaphore_hold_operation(semaphore& from, std::size_t count) noexcept
        : semaphore_operation(from, count) {}
    semaphore_permits await_resume() const {
        throw_if_canceled();
        return semaphore_permits(*semaphore_, count_);
    }
};

}  // namespace detail

/// Counts permits, for instance of connections that may be open at a time. Any number of tasks may
/// ask, and they get them in the order of the asking: who wants many is not overtaken by who wants
/// few. It belongs to one thread and must outlive who waits for it.
class semaphore {
public:
    explicit semaphore(std::size_t permits) noexcept : available_(permits) {}
    semaphore(const semaphore&) = delete;
    semaphore& operator=(const semaphore&) = delete;
    ~semaphore();

    /// Completes when `count` permits are the caller's, who gives them back by release(). Throws
    /// operation_canceled, and none is taken then.
    detail::semaphore_acquire_operation acquire(std::size_t count = 1) noexcept {
        return detail::semaphore_acquire_operation(*this, count);
    }

    /// As acquire(), but returns an object that gives them back when it is destroyed.
    detail::semaphore_hold_operation hold(std::size_t count = 1) noexcept {
        return detail::semaphore_hold_operation(*this, count);
    }

    /// Takes them if they are there and nobody waits.
    bool try_acquire(std::size_t count = 1) noexcept;

    /// Adds permits; any task may, also such as were never taken.
    void release(std::size_t count = 1) noexcept;

    std::size_t available() const noexcept { return available_; }

private:
    friend class detail::semaphore_operation;

    void serve() noexcept;

    std::size_t available_;
    detail::wait_list_of<detail::semaphore_operation> waiting_;
};

inline void semaphore_permits::release() noexcept {
    if (semaphore* const from = std::exchange(from_, nullptr)) {
        from->release(std::exchange(count_, 0));
    }
}

}  // namespace rondo::inline v0
