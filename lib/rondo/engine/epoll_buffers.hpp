// The kernel's side of provided-buffer rings, played by epoll_engine.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include <rondo/engine/abi.hpp>

namespace rondo::inline v0::detail {

/// One registered ring. The caller owns the slots and the tail, the engine its head.
struct epoll_buffer_group {
    abi::buffer_slot* slots;
    std::uint16_t id;
    std::uint16_t mask;
    std::uint16_t head;

    /// The buffer to fill next, null when the caller has given no more.
    const abi::buffer_slot* front() const noexcept {
        const auto tail =
            std::atomic_ref<std::uint16_t>(slots[0].reserved).load(std::memory_order_acquire);
        return tail == head ? nullptr : &slots[head & mask];
    }
    void pop_front() noexcept { ++head; }
};

class epoll_buffers {
public:
    /// Null if there is no such group.
    epoll_buffer_group* find(std::uint16_t id) noexcept {
        for (epoll_buffer_group& group : groups_) {
            if (group.id == id) return &group;
        }
        return nullptr;
    }

    void add(std::uint16_t id, void* ring, unsigned entries) {
        groups_.push_back(
            {static_cast<abi::buffer_slot*>(ring), id, static_cast<std::uint16_t>(entries - 1), 0});
    }

    void remove(std::uint16_t id) noexcept {
        std::erase_if(groups_, [id](const epoll_buffer_group& group) { return group.id == id; });
    }

private:
    std::vector<epoll_buffer_group> groups_;
};

}  // namespace rondo::inline v0::detail
