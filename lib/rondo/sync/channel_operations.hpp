// What is awaited at the ends of a channel.
#pragma once

#include <rondo/detail/misuse.hpp>
#include <rondo/sync/channel_closed.hpp>
#include <rondo/sync/channel_core.hpp>
#include <rondo/sync/sync_operation.hpp>

#include <coroutine>
#include <cstddef>
#include <mutex>
#include <optional>
#include <source_location>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace rondo::inline v0::detail {

template <typename T, typename Side>
class channel_send_operation;
template <typename T, typename Side>
class channel_receive_base;

/// A channel's core and the lock around it. `Side` tells how its tasks are kept apart: by its type
/// `mutex`, and by `operation`, the base of what waits.
template <typename T, typename Side>
struct channel_state {
    using core_type =
        channel_core<T, channel_send_operation<T, Side>, channel_receive_base<T, Side>>;

    explicit channel_state(std::size_t capacity) noexcept : core(capacity) {}
    channel_state(const channel_state&) = delete;
    channel_state& operator=(const channel_state&) = delete;
    ~channel_state() {
        require(!core.awaited(), "a channel is destroyed while a task waits for it");
    }

    std::size_t size() noexcept {
        const std::lock_guard guard(lock);
        return core.size();
    }
    bool is_closed() noexcept {
        const std::lock_guard guard(lock);
        return core.closed();
    }
    void close() noexcept {
        const std::lock_guard guard(lock);
        core.close(nullptr);
    }
    bool try_send(T& value) {
        const std::lock_guard guard(lock);
        return !core.closed() && core.offer(value, nullptr);
    }
    std::optional<T> try_recv() noexcept {
        std::optional<T> value;
        const std::lock_guard guard(lock);
        core.take(value, nullptr);
        return value;
    }

    [[no_unique_address]] typename Side::mutex lock;
    core_type core;
};

/// send(value). The value stays where the caller has it until it goes in.
template <typename T, typename Side>
class [[nodiscard]] channel_send_operation : public Side::operation {
public:
    std::string awaits() const override { return "room in a channel"; }
    channel_send_operation(channel_state<T, Side>& state, T& value) noexcept
        : Side::operation(state.lock), state_(&state), value_(&value) {}

    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return start(awaiting, context_at(awaiting, place));
    }
    void await_resume() const {
        if (this->outcome_ == wait_outcome::done) [[likely]] return;
        this->throw_if_canceled();
        throw_channel_closed();
    }

    T& value() const noexcept { return *value_; }

private:
    bool start(std::coroutine_handle<> awaiting, context& where) {
        if (where.cancelled()) [[unlikely]] {
            return this->end_by_loop(wait_outcome::canceled, awaiting, where);
        }
        const std::lock_guard guard(state_->lock);
        if (state_->core.closed()) [[unlikely]] {
            return this->end_by_loop(wait_outcome::closed, awaiting, where);
        }
        if (state_->core.offer(*value_, &where.loop())) return this->end_at_once(awaiting, where);
        where.wait_for(*this, awaiting);
        state_->core.enlist(*this);
        return true;
    }

    channel_state<T, Side>* state_;
    T* value_;
};

/// send() of what the caller keeps: the copy that goes in.
template <typename T>
class kept_copy {
protected:
    explicit kept_copy(const T& value) : copy_(value) {}
    T copy_;
};
template <typename T, typename Side>
class [[nodiscard]] channel_send_copy_operation final : private kept_copy<T>,
                                          public channel_send_operation<T, Side> {
public:
    channel_send_copy_operation(channel_state<T, Side>& state, const T& value)
        : kept_copy<T>(value), channel_send_operation<T, Side>(state, kept_copy<T>::copy_) {}
};

/// What both ways to receive share: waiting for the first value.
template <typename T, typename Side>
class channel_receive_base : public Side::operation {
public:
    std::string awaits() const override { return "a value of a channel"; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) noexcept {
        return start(awaiting, context_at(awaiting, place));
    }
    /// The end of the channel is no error.
    std::error_code error() const noexcept {
        if (this->outcome_ != wait_outcome::canceled) return {};
        return Side::operation::error();
    }

    void give(T&& value) noexcept { value_.emplace(std::move(value)); }

protected:
    explicit channel_receive_base(channel_state<T, Side>& state) noexcept
        : Side::operation(state.lock), state_(&state) {}
    ~channel_receive_base() = default;

    channel_state<T, Side>* state_;
    event_loop* here_;
    std::optional<T> value_;

private:
    bool start(std::coroutine_handle<> awaiting, context& where) noexcept {
        if (where.cancelled()) [[unlikely]] {
            return this->end_by_loop(wait_outcome::canceled, awaiting, where);
        }
        here_ = &where.loop();
        const std::lock_guard guard(state_->lock);
        if (state_->core.take(value_, here_)) return this->end_at_once(awaiting, where);
        if (state_->core.closed()) [[unlikely]] {
            return this->end_by_loop(wait_outcome::closed, awaiting, where);
        }
        where.wait_for(*this, awaiting);
        state_->core.enlist(*this);
        return true;
    }
};

/// recv().
template <typename T, typename Side>
class [[nodiscard]] channel_receive_operation final : public channel_receive_base<T, Side> {
public:
    explicit channel_receive_operation(channel_state<T, Side>& state) noexcept
        : channel_receive_base<T, Side>(state) {}
    std::optional<T> await_resume() {
        this->throw_if_canceled();
        return std::move(this->value_);
    }
};

/// receive_all(values).
template <typename T, typename Side>
class [[nodiscard]] channel_receive_all_operation final : public channel_receive_base<T, Side> {
public:
    channel_receive_all_operation(channel_state<T, Side>& state, std::vector<T>& values)
        : channel_receive_base<T, Side>(state), values_(&values) {
        values.clear();
        // The first value has its place before it comes, so that it cannot be lost.
        values.reserve(1);
    }
    std::size_t await_resume() {
        this->throw_if_canceled();
        if (!this->value_) return 0;
        values_->push_back(std::move(*this->value_));
        const std::lock_guard guard(this->state_->lock);
        this->state_->core.take_all(*values_, this->here_);
        return values_->size();
    }

private:
    std::vector<T>* values_;
};

}  // namespace rondo::inline v0::detail
