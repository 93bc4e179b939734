// Memory for coroutine frames and other small blocks, recycled by size class on each thread.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#elif defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace rondo::inline v0::detail {

/// Blocks in classes of 64 bytes up to 2 KiB, carved from slabs and kept on free lists of the
/// thread that freed them; larger ones come from operator new. Every block is aligned to 64 bytes,
/// which is what over-aligned objects in a coroutine frame can count on. Under AddressSanitizer a
/// free block is poisoned, so that the pool hides no use after free.
class frame_pool {
public:
    static constexpr std::size_t alignment = 64;
    static constexpr std::size_t classes = 32;

    /// Throws std::bad_alloc.
    static void* allocate(std::size_t size) {
        const std::size_t index = (size - 1) / alignment;
        if (index >= classes) [[unlikely]] return allocate_large(size);
        block* first = free_[index];
        if (first == nullptr) [[unlikely]] return refill(index);
        unpoison(first, (index + 1) * alignment);
        free_[index] = first->next;
        return first;
    }

    /// `size` is what allocate() was asked for. Any thread.
    static void deallocate(void* memory, std::size_t size) noexcept {
        const std::size_t index = (size - 1) / alignment;
        if (index >= classes) [[unlikely]] return deallocate_large(memory);
        block* freed = static_cast<block*>(memory);
        freed->next = free_[index];
        if (freed->next == nullptr) [[unlikely]] watch_thread_end();
        free_[index] = freed;
        poison(freed, (index + 1) * alignment);
    }

private:
    struct block {
        block* next;
    };
    friend struct frame_pool_thread;

    static void* refill(std::size_t index);
    /// Sees to it that the lists are handed on at this thread's end. A thread gets to its first
    /// block by refill() or by freeing one of another thread.
    static void watch_thread_end() noexcept;
    static void* allocate_large(std::size_t size);
    static void deallocate_large(void* memory) noexcept;

    static void poison([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t size) noexcept {
#ifdef ASAN_POISON_MEMORY_REGION
        ASAN_POISON_MEMORY_REGION(memory, size);
#endif
    }
    static void unpoison([[maybe_unused]] void* memory,
                         [[maybe_unused]] std::size_t size) noexcept {
#ifdef ASAN_UNPOISON_MEMORY_REGION
        ASAN_UNPOISON_MEMORY_REGION(memory, size);
#endif
    }

    // Trivially destructible on purpose: a thread-local with a destructor costs a check per use.
    static inline constinit thread_local block* free_[classes] = {};
};

}  // namespace rondo::inline v0::detail
