// Values from one task to all who listen, of which the slow miss some and are told.
#pragma once

#include <rondo/detail/misuse.hpp>
#include <rondo/detail/ring_queue.hpp>
#include <rondo/sync/channel_closed.hpp>
#include <rondo/sync/sync_operation.hpp>

#include <algorithm>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <source_location>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

template <typename T>
class broadcast;
template <typename T>
class broadcast_receiver;

/// What a receiver got: a value, and how many before it were overwritten unseen. False at the end.
template <typename T>
class broadcast_value {
public:
    broadcast_value() noexcept = default;
    broadcast_value(const T& value, std::uint64_t missed) : value_(value), missed_(missed) {}

    explicit operator bool() const noexcept { return value_.has_value(); }
    std::uint64_t missed() const noexcept { return missed_; }
    T& operator*() noexcept { return *value_; }
    T* operator->() noexcept { return &*value_; }

private:
    std::optional<T> value_;
    std::uint64_t missed_ = 0;
};

/// How many values a receiver got at once, and how many before these were overwritten unseen.
/// False at the end.
class broadcast_count {
public:
    broadcast_count() noexcept = default;
    broadcast_count(std::size_t received, std::uint64_t missed) noexcept
        : received_(received), missed_(missed) {}

    explicit operator bool() const noexcept { return received_ != 0; }
    std::size_t received() const noexcept { return received_; }
    std::uint64_t missed() const noexcept { return missed_; }

private:
    std::size_t received_ = 0;
    std::uint64_t missed_ = 0;
};

namespace detail {

/// What both ways to receive share: waiting until there is something new.
template <typename T>
class broadcast_operation : public sync_operation {
public:
    std::string awaits() const override { return "a value of a broadcast"; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) noexcept {
        return start(awaiting, context_at(awaiting, place));
    }
    /// The end is no error.
    std::error_code error() noexcept {
        leave();
        return outcome_ == wait_outcome::canceled ? sync_operation::error() : std::error_code();
    }

protected:
    explicit broadcast_operation(broadcast_receiver<T>& receiver) noexcept : receiver_(&receiver) {}
    ~broadcast_operation() = default;

    void leave() noexcept { receiver_->awaited_ = false; }

    broadcast_receiver<T>* receiver_;

private:
    bool start(std::coroutine_handle<> awaiting, context& where) noexcept {
        require(!receiver_->awaited_, "two tasks wait for the same receiver of a broadcast");
        receiver_->awaited_ = true;
        if (where.cancelled()) [[unlikely]] {
            return end_by_loop(wait_outcome::canceled, awaiting, where);
        }
        broadcast<T>& from = *receiver_->from_;
        if (from.next_ != receiver_->next_) return end_at_once(awaiting, where);
        if (from.closed_) return end_by_loop(wait_outcome::closed, awaiting, where);
        where.wait_for(*this, awaiting);
        from.waiting_.push_back(*this);
        return true;
    }
};

/// recv().
template <typename T>
class [[nodiscard]] broadcast_receive_operation final : public broadcast_operation<T> {
public:
    explicit broadcast_receive_operation(broadcast_receiver<T>& receiver) noexcept
        : broadcast_operation<T>(receiver) {}
    broadcast_value<T> await_resume() {
        this->leave();
        this->throw_if_canceled();
        if (this->outcome_ == wait_outcome::closed) return {};
        return this->receiver_->take();
    }
};

/// receive_all(values).
template <typename T>
class [[nodiscard]] broadcast_receive_all_operation final : public broadcast_operation<T> {
public:
    broadcast_receive_all_operation(broadcast_receiver<T>& receiver,
                                    std::vector<T>& values) noexcept
        : broadcast_operation<T>(receiver), values_(&values) {}
    broadcast_count await_resume() {
        this->leave();
        this->throw_if_canceled();
        values_->clear();
        if (this->outcome_ == wait_outcome::closed) return {};
        return this->receiver_->take_all(*values_);
    }

private:
    std::vector<T>* values_;
};

}  // namespace detail

/// One listener of a broadcast, which must outlive it. It moves while nobody waits for it.
template <typename T>
class broadcast_receiver {
public:
    broadcast_receiver(broadcast_receiver&& other) noexcept
        : from_(std::exchange(other.from_, nullptr)), next_(other.next_) {
        detail::require(!other.awaited_, "a receiver of a broadcast is moved while it is awaited");
    }
    broadcast_receiver& operator=(broadcast_receiver&&) = delete;
    ~broadcast_receiver() {
        detail::require(!awaited_, "a receiver of a broadcast is destroyed while it is awaited");
        if (from_ != nullptr) --from_->receivers_;
    }

    /// Completes when there is a value this receiver has not seen, or the broadcast is closed.
    /// Returns a copy of the oldest that is left, and how many were missed before it; false when
    /// the broadcast is closed and all was seen. One at a time. Throws operation_canceled, and
    /// what is there is there for the next call.
    detail::broadcast_receive_operation<T> recv() noexcept {
        return detail::broadcast_receive_operation<T>(*this);
    }

    /// Completes as recv(). Empties `values`, which must live until then, and fills it with copies
    /// of all that is left; returns how many, and how many were missed before them. 0 means that
    /// the broadcast is closed and all was seen.
    detail::broadcast_receive_all_operation<T> receive_all(std::vector<T>& values) noexcept {
        return detail::broadcast_receive_all_operation<T>(*this, values);
    }

private:
    friend broadcast<T>;
    friend class detail::broadcast_operation<T>;
    friend class detail::broadcast_receive_operation<T>;
    friend class detail::broadcast_receive_all_operation<T>;

    explicit broadcast_receiver(broadcast<T>& from) noexcept : from_(&from), next_(from.next_) {
        ++from.receivers_;
    }

    // The number of the oldest value that is left and not seen.
    std::uint64_t oldest() const noexcept {
        return std::max(next_, from_->next_ - from_->values_.size());
    }

    broadcast_value<T> take() {
        const std::uint64_t number = oldest();
        broadcast_value<T> taken(from_->value(number), number - next_);
        next_ = number + 1;
        return taken;
    }

    broadcast_count take_all(std::vector<T>& values) {
        const std::uint64_t first = oldest();
        const std::uint64_t missed = first - next_;
        for (std::uint64_t i = first; i != from_->next_; ++i) values.push_back(from_->value(i));
        next_ = from_->next_;
        return broadcast_count(values.size(), missed);
    }

    broadcast<T>* from_;
    std::uint64_t next_;  // the number of the first value not seen
    bool awaited_ = false;
};

/// Sends every value to all receivers, without waiting: the last `capacity` values are kept, and
/// who falls behind by more finds the oldest overwritten and is told how many. A new receiver
/// begins with what is sent from then on. It belongs to one thread and must outlive its receivers.
/// T is copied for each receiver: a shared_ptr to what is large.
template <typename T>
class broadcast {
    static_assert(std::copy_constructible<T>);

public:
    /// `capacity` is at least 1.
    explicit broadcast(std::size_t capacity) noexcept : capacity_(capacity) {
        detail::require(capacity != 0, "a broadcast keeps at least one value");
    }
    broadcast(const broadcast&) = delete;
    broadcast& operator=(const broadcast&) = delete;
    ~broadcast() {
        detail::require(receivers_ == 0, "a broadcast is destroyed before its receivers");
    }

    broadcast_receiver<T> subscribe() noexcept { return broadcast_receiver<T>(*this); }

    /// Returns how many receivers there are. Throws channel_closed after close(), and
    /// std::bad_alloc.
    std::size_t send(T value) {
        if (closed_) detail::throw_channel_closed();
        if (values_.size() == capacity_) values_.pop_front();
        values_.push_back(std::move(value));
        ++next_;
        wake(detail::wait_outcome::done);
        return receivers_;
    }

    /// Receivers still get what they have not seen, then the end.
    void close() noexcept {
        closed_ = true;
        wake(detail::wait_outcome::closed);
    }
    bool is_closed() const noexcept { return closed_; }

    std::size_t receivers() const noexcept { return receivers_; }

private:
    friend class broadcast_receiver<T>;
    friend class detail::broadcast_operation<T>;

    void wake(detail::wait_outcome outcome) noexcept {
        while (auto* const first = waiting_.pop_front()) first->end(outcome);
    }
    const T& value(std::uint64_t number) noexcept {
        return values_[static_cast<std::size_t>(number - (next_ - values_.size()))];
    }

    std::size_t capacity_;
    std::size_t receivers_ = 0;
    std::uint64_t next_ = 0;  // the number of the value to come
    bool closed_ = false;
    detail::ring_queue<T> values_;
    detail::wait_list_of<detail::broadcast_operation<T>> waiting_;
};

}  // namespace rondo::inline v0
