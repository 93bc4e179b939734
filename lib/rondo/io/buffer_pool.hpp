// The buffers that received bytes arrive in, shared by all sockets of a scheduler.
#pragma once

#include <rondo/engine/abi.hpp>
#include <rondo/engine/engine.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace rondo::inline v0 {

/// How large a buffer_pool is, at first and at most.
struct buffer_pool_options {
    std::size_t buffer_size = std::size_t{16} * 1024;  ///< bytes
    unsigned initial = 64;                             ///< buffers offered at the start
    unsigned most = 4096;                              ///< never more; a power of two
};

/// A provided-buffer ring (io_uring_register_buf_ring(3)): the engine takes a buffer at the moment
/// data arrives, so an idle connection holds none. A buffer is named by its id. Memory for `most`
/// is reserved as addresses only; pages are touched as buffers are used. The pool starts small,
/// because the ring hands buffers out in turn and so touches all it was given, and grows when it
/// was found empty. One thread's.
class buffer_pool {
public:
    static constexpr std::uint16_t no_buffer = 0xFFFF;
    static constexpr std::uint16_t group = 0;

    /// Throws std::system_error.
    buffer_pool(engine& owner, const buffer_pool_options& options);
    buffer_pool(const buffer_pool&) = delete;
    buffer_pool& operator=(const buffer_pool&) = delete;
    ~buffer_pool();

    /// False where the engine has no buffer rings.
    bool usable() const noexcept { return registered_; }
    std::size_t buffer_size() const noexcept { return buffer_size_; }

    std::byte* data(std::uint16_t id) const noexcept { return memory_ + id * stride_; }

    /// What a received buffer's owner notes about it: bytes in it, and the next one of its list.
    struct note {
        std::uint32_t length;
        std::uint16_t next;
    };
    note& operator[](std::uint16_t id) noexcept { return notes_[id]; }

    /// The engine has put data into a buffer: it is held until give_back().
    void taken() noexcept { ++taken_; }

    /// The engine may fill the buffer again after the next publish().
    [[gnu::always_inline]] void give_back(std::uint16_t id) noexcept { offer(id, data(id)); }

    /// Lets the engine see what was given back. One store per turn instead of one per buffer.
    void publish() noexcept {
        std::atomic_ref<std::uint16_t>(slots_->reserved)
            .store(static_cast<std::uint16_t>(offered_), std::memory_order_release);
    }

    /// The engine found no buffer. Offers more, or returns false when there are `most`.
    bool grow() noexcept;

    std::uint64_t starvations() const noexcept { return starvations_; }
    /// Buffers that hold data somebody has not given back.
    std::size_t held() const noexcept { return taken_ + size_ - offered_; }
    std::size_t size() const noexcept { return size_; }

    /// The engine is about to end. Chunks may outlive it; the last give_back() frees the pool.
    static void retire(std::unique_ptr<buffer_pool> pool) noexcept;
    /// give_back() for chunks, which know where their buffer begins and may be the last holders of
    /// a retired pool.
    [[gnu::always_inline]] void give_back_chunk(std::uint16_t id, std::byte* begin) noexcept {
        offer(id, begin);
        if (retired_) [[unlikely]] free_retired();
    }

private:
    [[gnu::always_inline]] void offer(std::uint16_t id, std::byte* begin) noexcept {
        abi::buffer_slot& slot = slots_[offered_ & mask_];
        slot.address = reinterpret_cast<std::uint64_t>(begin);
        slot.id = id;  // all slots have the same length, set once
        ++offered_;
    }
    [[gnu::cold]] void free_retired() noexcept;

    // Set once.
    engine* engine_;
    std::size_t buffer_size_;
    std::size_t stride_;
    std::byte* memory_ = nullptr;
    abi::buffer_slot* slots_ = nullptr;  // the ring shared with the engine
    std::unique_ptr<note[]> notes_;
    unsigned most_;
    std::uint64_t mask_;
    bool registered_ = false;
    // The scheduler's thread.
    bool retired_ = false;
    unsigned size_ = 0;
    std::uint64_t offered_ = 0;  // slots written since the beginning; the ring's tail
    std::uint64_t taken_ = 0;    // buffers the engine has used since the beginning
    std::uint64_t starvations_ = 0;
};

}  // namespace rondo::inline v0
