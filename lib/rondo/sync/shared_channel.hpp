// Values from task to task across threads, in order, with a bound.
#pragma once

#include <rondo/sync/channel_operations.hpp>
#include <rondo/sync/posted_operation.hpp>

#include <concepts>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace rondo::inline v0 {

namespace detail {

/// Tasks on any thread that has a loop.
struct on_any_thread {
    using mutex = std::mutex;
    using operation = posted_operation;
};

}  // namespace detail

/// What channel is for tasks of one thread, for any number of tasks of several: the same rules, and
/// a lock around each step. A copy is another handle on the same channel, so that threads can be
/// given one each; the last one frees it. A handle must outlive who waits by it, and the loop of
/// each thread must live until its tasks have ended, as run() sees to.
template <typename T>
class shared_channel {
    using side = detail::on_any_thread;

public:
    /// Throws std::bad_alloc.
    explicit shared_channel(std::size_t capacity)
        : state_(std::make_shared<detail::channel_state<T, side>>(capacity)) {}

    /// Completes when the value is in the channel or a receiver has it. `value` must live until
    /// then and is moved from only then. Throws channel_closed, or operation_canceled: in both
    /// cases it has not gone in, and the caller still has it.
    detail::channel_send_operation<T, side> send(T&& value) const noexcept {
        return detail::channel_send_operation<T, side>(*state_, value);
    }
    /// As send(T&&), with a copy that is made at once: `value` need not live on.
    detail::channel_send_copy_operation<T, side> send(const T& value) const
        requires std::copy_constructible<T>
    {
        return detail::channel_send_copy_operation<T, side>(*state_, value);
    }

    /// Completes when there is a value, or the channel is closed. Returns the oldest value; none
    /// when the channel is closed and empty. Throws operation_canceled, and takes none then.
    detail::channel_receive_operation<T, side> recv() const noexcept {
        return detail::channel_receive_operation<T, side>(*state_);
    }

    /// Completes as recv(). Empties `values`, which must live until then, and fills it with all
    /// there is when the caller resumes, waiting sends included; returns how many, 0 at the end.
    detail::channel_receive_all_operation<T, side> receive_all(std::vector<T>& values) const {
        return detail::channel_receive_all_operation<T, side>(*state_, values);
    }

    // Any thread, also one without a loop.

    /// Sends if that needs no waiting. False where it does, or in a closed channel, and `value` is
    /// as before then.
    bool try_send(T&& value) const { return state_->try_send(value); }
    bool try_send(const T& value) const
        requires std::copy_constructible<T>
    {
        T copy(value);
        return state_->try_send(copy);
    }

    /// The oldest value, if there is one.
    std::optional<T> try_recv() const noexcept { return state_->try_recv(); }

    /// From now on nothing goes in; sends that wait fail. What is there can still be received.
    void close() const noexcept { state_->close(); }
    bool is_closed() const noexcept { return state_->is_closed(); }

    std::size_t size() const noexcept { return state_->size(); }  ///< values in the queue
    std::size_t capacity() const noexcept { return state_->core.capacity(); }

private:
    std::shared_ptr<detail::channel_state<T, side>> state_;
};

}  // namespace rondo::inline v0
