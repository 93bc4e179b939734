// The base of what is awaited in this folder, and the lists in which it waits.
#pragma once

#include <rondo/task/context.hpp>
#include <rondo/task/event_loop.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <coroutine>
#include <cstddef>
#include <string>
#include <system_error>

namespace rondo::inline v0::detail {

/// How a wait ended, or that it has not.
enum class wait_outcome : unsigned char {
    done,
    closed,    ///< by close(): no value went through
    canceled,  ///< by a cancellation: nothing happened
    none,      ///< it is in a list
};

class wait_list;

/// A task waits in the list of a primitive, first come first served. Who ends the wait takes it
/// out of the list and makes it ready in one step; from then on no cancellation finds it, so what
/// happened wins.
class sync_operation : public waiter {
public:
    bool await_ready() const noexcept { return false; }

    std::error_code error() const noexcept {
        if (outcome_ == wait_outcome::done) [[likely]] return {};
        return std::make_error_code(outcome_ == wait_outcome::canceled
                                        ? std::errc::operation_canceled
                                        : std::errc::broken_pipe);
    }

    /// For the primitive, once this has left its list.
    void end(wait_outcome outcome) noexcept {
        outcome_ = outcome;
        where().loop().make_ready(*this);
    }

protected:
    // Most never wait: what is only needed in a list is only set there.
    sync_operation() noexcept {}
    ~sync_operation() = default;

    /// For await_suspend where there was nothing to wait for: suspends only where others are due.
    bool end_at_once(std::coroutine_handle<> awaiting, context& where) noexcept {
        outcome_ = wait_outcome::done;
        if (!where.loop().must_yield()) [[likely]] return false;
        return end_by_loop(wait_outcome::done, awaiting, where);
    }

    /// For await_suspend where the outcome is known: suspends until its turn in the ready queue.
    bool end_by_loop(wait_outcome outcome, std::coroutine_handle<> awaiting,
                     context& where) noexcept {
        where.wait_for(*this, awaiting);
        end(outcome);
        return true;
    }

    void cancel() noexcept override {
        leave_list();
        end(wait_outcome::canceled);
    }
    inline void leave_list() noexcept;

    void throw_if_canceled() const {
        if (outcome_ == wait_outcome::canceled) [[unlikely]] throw_canceled();
    }

    wait_outcome outcome_;

private:
    friend wait_list;
    sync_operation* previous_;
    sync_operation* following_;
    wait_list* list_;
};

/// Those who wait, the first in front. It does not move: they point at it.
class wait_list {
public:
    wait_list() noexcept = default;
    wait_list(const wait_list&) = delete;
    wait_list& operator=(const wait_list&) = delete;

    bool empty() const noexcept { return first_ == nullptr; }
    std::size_t size() const noexcept { return size_; }
    sync_operation* front() const noexcept { return first_; }

    void push_back(sync_operation& waiting) noexcept {
        waiting.outcome_ = wait_outcome::none;
        waiting.list_ = this;
        waiting.previous_ = last_;
        waiting.following_ = nullptr;
        (last_ == nullptr ? first_ : last_->following_) = &waiting;
        last_ = &waiting;
        ++size_;
    }

    void erase(sync_operation& waiting) noexcept {
        sync_operation* const before = waiting.previous_;
        sync_operation* const behind = waiting.following_;
        (before == nullptr ? first_ : before->following_) = behind;
        (behind == nullptr ? last_ : behind->previous_) = before;
        --size_;
    }

private:
    sync_operation* first_ = nullptr;
    sync_operation* last_ = nullptr;
    std::size_t size_ = 0;
};

inline void sync_operation::leave_list() noexcept { list_->erase(*this); }

/// The same for operations of one type.
template <typename Operation>
class wait_list_of {
public:
    bool empty() const noexcept { return list_.empty(); }
    std::size_t size() const noexcept { return list_.size(); }
    /// Null when empty.
    Operation* front() const noexcept { return static_cast<Operation*>(list_.front()); }
    void push_back(Operation& waiting) noexcept { list_.push_back(waiting); }
    /// Null when empty.
    Operation* pop_front() noexcept {
        Operation* const first = front();
        if (first != nullptr) list_.erase(*first);
        return first;
    }

private:
    wait_list list_;
};

}  // namespace rondo::inline v0::detail
