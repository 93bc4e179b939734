// A first-in first-out queue in one block of memory.
#pragma once

#include <cassert>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace rondo::inline v0::detail {

/// The block doubles when it is full and never shrinks, so that a queue that is filled and emptied
/// in turn soon allocates no more. Elements are numbered from the front.
template <typename T>
class ring_queue {
    static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                  "a value that fails to move would be lost on its way");

public:
    ring_queue() noexcept = default;
    ring_queue(const ring_queue&) = delete;
    ring_queue& operator=(const ring_queue&) = delete;
    ~ring_queue() {
        while (!empty()) pop_front();
        if (slots_ != 0) std::allocator<T>().deallocate(memory_, slots_);
    }

    bool empty() const noexcept { return front_ == end_; }
    std::size_t size() const noexcept { return end_ - front_; }

    T& operator[](std::size_t index) noexcept {
        assert(index < size());
        return *slot(front_ + index);
    }
    T& front() noexcept { return (*this)[0]; }

    /// Throws std::bad_alloc, and `value` is as before then.
    void push_back(T&& value) {
        if (size() == slots_) [[unlikely]] grow();
        std::construct_at(slot(end_), std::move(value));
        ++end_;
    }

    void pop_front() noexcept {
        assert(!empty());
        std::destroy_at(slot(front_));
        ++front_;
    }

private:
    T* slot(std::size_t position) const noexcept { return memory_ + (position & (slots_ - 1)); }

    [[gnu::noinline]] void grow() {
        const std::size_t slots = slots_ == 0 ? 4 : slots_ * 2;
        T* const memory = std::allocator<T>().allocate(slots);
        const std::size_t count = size();
        for (std::size_t i = 0; i != count; ++i) {
            std::construct_at(memory + i, std::move((*this)[i]));
            std::destroy_at(slot(front_ + i));
        }
        if (slots_ != 0) std::allocator<T>().deallocate(memory_, slots_);
        memory_ = memory;
        slots_ = slots;
        front_ = 0;
        end_ = count;
    }

    T* memory_ = nullptr;
    std::size_t slots_ = 0;  // a power of two, or none yet
    // Both only ever count up; a slot's place is what is left by the number of slots.
    std::size_t front_ = 0;
    std::size_t end_ = 0;
};

}  // namespace rondo::inline v0::detail
