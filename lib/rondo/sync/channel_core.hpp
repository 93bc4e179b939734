// Where the values of a channel are, and who waits for them.
#pragma once

#include <rondo/detail/ring_queue.hpp>
#include <rondo/sync/sync_operation.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace rondo::inline v0::detail {

/// The rules of both kinds of channel. Invariants: where a receiver waits, no value is here; where
/// a sender waits, the queue is full. So nobody overtakes who waits, and a value is either in the
/// queue, at its sender or at its receiver. `Sender` offers `T& value()`, `Receiver` offers
/// `void give(T&&)`. `here` is the loop of who calls, or null where it is not known.
template <typename T, typename Sender, typename Receiver>
class channel_core {
public:
    explicit channel_core(std::size_t capacity) noexcept : capacity_(capacity) {}

    std::size_t capacity() const noexcept { return capacity_; }
    std::size_t size() const noexcept { return values_.size(); }
    bool closed() const noexcept { return closed_; }
    bool awaited() const noexcept { return !senders_.empty() || !receivers_.empty(); }

    void enlist(Sender& sender) noexcept { senders_.push_back(sender); }
    void enlist(Receiver& receiver) noexcept { receivers_.push_back(receiver); }

    /// Moves `value` to the first receiver or into the queue; false, and it stays, where there is
    /// no room. Not in a closed channel. Throws std::bad_alloc.
    bool offer(T& value, event_loop* here) {
        if (Receiver* const first = receivers_.pop_front()) {
            first->give(std::move(value));
            first->end(wait_outcome::done, here);
            return true;
        }
        if (values_.size() >= capacity_) return false;
        values_.push_back(std::move(value));
        return true;
    }

    /// Moves the oldest value into `to`, which is empty; false where there is none.
    bool take(std::optional<T>& to, event_loop* here) noexcept {
        if (!values_.empty()) {
            to.emplace(std::move(values_.front()));
            values_.pop_front();
            // There is room in the block, as one has just left.
            if (Sender* const first = senders_.pop_front()) {
                values_.push_back(std::move(first->value()));
                first->end(wait_outcome::done, here);
            }
            return true;
        }
        Sender* const first = senders_.pop_front();
        if (first == nullptr) return false;
        to.emplace(std::move(first->value()));
        first->end(wait_outcome::done, here);
        return true;
    }

    /// Appends all values to `to`, those of the waiting senders, too. Throws std::bad_alloc, and
    /// nothing has moved then.
    void take_all(std::vector<T>& to, event_loop* here) {
        make_room(to);
        while (!values_.empty()) {
            to.push_back(std::move(values_.front()));
            values_.pop_front();
        }
        while (Sender* const first = senders_.pop_front()) {
            to.push_back(std::move(first->value()));
            first->end(wait_outcome::done, here);
        }
    }

    void close(event_loop* here) noexcept {
        closed_ = true;
        while (Sender* const first = senders_.pop_front()) first->end(wait_outcome::closed, here);
        while (Receiver* const first = receivers_.pop_front()) {
            first->end(wait_outcome::closed, here);
        }
    }

private:
    void make_room(std::vector<T>& to) {
        const std::size_t size = to.size() + values_.size() + senders_.size();
        if (size > to.capacity()) to.reserve(std::max(size, 2 * to.capacity()));
    }

    std::size_t capacity_;
    bool closed_ = false;
    ring_queue<T> values_;
    wait_list_of<Sender> senders_;
    wait_list_of<Receiver> receivers_;
};

}  // namespace rondo::inline v0::detail
