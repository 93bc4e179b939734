// Values from task to task on one thread, in order, with a bound.
#pragma once

#include <rondo/sync/channel_operations.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <vector>

namespace rondo::inline v0 {

namespace detail {

/// All tasks are on one thread: nothing is locked.
struct on_one_thread {
    struct mutex {
        void lock() const noexcept {}
        void unlock() const noexcept {}
    };
    class operation : public sync_operation {
    public:
        void end(wait_outcome outcome, event_loop*) noexcept { sync_operation::end(outcome); }

    protected:
        explicit operation(mutex) noexcept {}
        ~operation() = default;
    };
};

}  // namespace detail

/// A queue of at most `capacity` values between any number of tasks of one thread; shared_channel
/// is the one between threads. Senders wait while it is full, receivers while it is empty, each
/// first come first served; with a capacity of 0 a send waits for its receiver. No value is lost by
/// a cancellation: it is in the channel, or still the sender's, or returned to a receiver. Memory
/// grows up to the capacity as it is used. The channel must outlive who waits for it.
template <typename T>
class channel {
    using side = detail::on_one_thread;

public:
    explicit channel(std::size_t capacity) noexcept : state_(capacity) {}

    /// Completes when the value is in the channel or a receiver has it. `value` must live until
    /// then and is moved from only then. Throws channel_closed, or operation_canceled: in both
    /// cases it has not gone in, and the caller still has it.
    detail::channel_send_operation<T, side> send(T&& value) noexcept {
        return detail::channel_send_operation<T, side>(state_, value);
    }
    /// As send(T&&), with a copy that is made at once: `value` need not live on.
    detail::channel_send_copy_operation<T, side> send(const T& value)
        requires std::copy_constructible<T>
    {
        return detail::channel_send_copy_operation<T, side>(state_, value);
    }

    /// Completes when there is a value, or the channel is closed. Returns the oldest value; none
    /// when the channel is closed and empty. Throws operation_canceled, and takes none then.
    detail::channel_receive_operation<T, side> recv() noexcept {
        return detail::channel_receive_operation<T, side>(state_);
    }

    /// Completes as recv(). Empties `values`, which must live until then, and fills it with all
    /// there is when the caller resumes, waiting sends included; returns how many, 0 at the end.
    /// It allocates only until `values` has grown to what comes at a time.
    detail::channel_receive_all_operation<T, side> receive_all(std::vector<T>& values) {
        return detail::channel_receive_all_operation<T, side>(state_, values);
    }

    /// Sends if that needs no waiting. False where it does, or in a closed channel, and `value` is
    /// as before then.
    bool try_send(T&& value) { return state_.try_send(value); }
    bool try_send(const T& value)
        requires std::copy_constructible<T>
    {
        T copy(value);
        return state_.try_send(copy);
    }

    /// The oldest value, if there is one.
    std::optional<T> try_recv() noexcept { return state_.try_recv(); }

    /// From now on nothing goes in; sends that wait fail. What is there can still be received.
    void close() noexcept { state_.close(); }
    bool is_closed() const noexcept { return state_.core.closed(); }

    std::size_t size() const noexcept { return state_.core.size(); }  ///< values in the queue
    std::size_t capacity() const noexcept { return state_.core.capacity(); }

private:
    detail::channel_state<T, side> state_;
};

}  // namespace rondo::inline v0
