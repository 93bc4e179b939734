// A request which epoll_engine keeps while it waits, and the store in which it is found again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace rondo::inline v0::detail {

/// One accepted entry and how far it has come. Nothing names an operation but links which its
/// release takes away (its descriptor's list, the index): none can reach it after its slot is
/// used again. What lives longer, an event of epoll, names the descriptor and its generation.
struct epoll_operation {
    epoll_operation* next = nullptr;  // in its descriptor's list, or in the free list
    epoll_operation* previous = nullptr;
    epoll_operation* index_next = nullptr;
    epoll_operation** index_link = nullptr;  // what points at this in the index; null: nothing

    std::uint64_t user_data = 0;
    std::uint64_t address = 0;   // buffer, msghdr or sockaddr
    std::uint64_t address2 = 0;  // destination of a send, length of an accepted or connected name,
                                 // sizes of a multishot message's name and control data
    int descriptor = -1;
    std::uint32_t length = 0;  // bytes asked for; in a multishot receive per buffer, 0 is all
    std::uint32_t done = 0;    // bytes transferred so far
    std::uint32_t limit = 0;   // bytes a multishot receive may still deliver, 0 is any number
    std::uint32_t flags = 0;   // MSG_*, SOCK_* or the poll mask
    std::uint16_t group = 0;
    std::uint8_t opcode = 0;
    std::uint8_t entry_flags = 0;  // IOSQE_*
    bool multishot = false;
    bool started = false;  // connect(2) has been called

    bool has_flag(int flag) const noexcept {
        return (flags & static_cast<std::uint32_t>(flag)) != 0;
    }
};

/// What an attempt at an operation came to. `interrupted`: it has had its share of this turn.
enum class epoll_outcome : std::uint8_t { finished, waiting, interrupted };

/// What the number in `address` or `address2` stands for.
template <class Pointee>
Pointee* pointer(std::uint64_t address) noexcept {
    return reinterpret_cast<Pointee*>(static_cast<std::uintptr_t>(address));
}

/// Operations of one descriptor which wait for the same, in the order of their arrival.
class epoll_operation_list {
public:
    epoll_operation* front() const noexcept { return first_; }
    bool empty() const noexcept { return first_ == nullptr; }

    void push_back(epoll_operation& operation) noexcept {
        operation.next = nullptr;
        operation.previous = last_;
        (last_ != nullptr ? last_->next : first_) = &operation;
        last_ = &operation;
    }

    void remove(epoll_operation& operation) noexcept {
        (operation.previous != nullptr ? operation.previous->next : first_) = operation.next;
        (operation.next != nullptr ? operation.next->previous : last_) = operation.previous;
    }

private:
    epoll_operation* first_ = nullptr;
    epoll_operation* last_ = nullptr;
};

/// A slab of operations with a free list, and an index of the waiting ones by user_data: both
/// ends of a request cost a constant time, so that cancelling n of n is linear.
class epoll_operation_store {
public:
    epoll_operation_store();

    /// A fresh operation. Throws std::bad_alloc; after it add_to_index() needs no memory.
    epoll_operation& acquire() {
        if (free_ == nullptr || live_ >= buckets_.size()) grow();
        epoll_operation& operation = *free_;
        free_ = operation.next;
        ++live_;
        operation = epoll_operation{};
        return operation;
    }

    void release(epoll_operation& operation) noexcept {
        if (operation.index_link != nullptr) remove_from_index(operation);
        operation.next = free_;
        free_ = &operation;
        --live_;
    }

    void add_to_index(epoll_operation& operation) noexcept;

    /// Any waiting operation of that user_data, null if there is none.
    epoll_operation* find(std::uint64_t user_data) const noexcept;

    /// Operations in the index.
    std::size_t waiting() const noexcept { return waiting_; }

private:
    static constexpr std::size_t block_size = 128;

    void grow();
    void link(epoll_operation& operation) noexcept;
    void remove_from_index(epoll_operation& operation) noexcept;
    std::size_t bucket_of(std::uint64_t user_data) const noexcept;

    std::vector<std::unique_ptr<epoll_operation[]>> blocks_;
    std::vector<epoll_operation*> buckets_;  // a power of two, at least as many as live operations
    epoll_operation* free_ = nullptr;
    std::size_t live_ = 0;
    std::size_t waiting_ = 0;
};

}  // namespace rondo::inline v0::detail
