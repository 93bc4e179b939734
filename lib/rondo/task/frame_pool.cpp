#include <rondo/task/frame_pool.hpp>

#include <mutex>
#include <new>
#include <vector>

namespace rondo::inline v0::detail {

namespace {

constexpr std::size_t slab_size = std::size_t{64} * 1024;

// Lists of threads that have ended, and slabs never given back to the system: a frame may be
// freed on another thread than its slab's, so no slab has an owner who could free it.
struct depot {
    std::mutex mutex;
    void* lists[frame_pool::classes] = {};
    std::vector<void*> slabs;  // keeps them reachable in the eyes of LeakSanitizer
};

depot& shared_depot() {
    static depot* const instance = new depot;  // outlives every thread's end
    return *instance;
}

}  // namespace

// Hands the ending thread's free lists to the depot.
struct frame_pool_thread {
    ~frame_pool_thread() {
        depot& shared = shared_depot();
        const std::scoped_lock lock(shared.mutex);
        for (std::size_t i = 0; i < frame_pool::classes; ++i) {
            while (frame_pool::block* b = frame_pool::free_[i]) {
                frame_pool::unpoison(b, sizeof *b);
                frame_pool::free_[i] = b->next;
                b->next = static_cast<frame_pool::block*>(shared.lists[i]);
                shared.lists[i] = b;
            }
        }
    }
    void touch() noexcept {}
};

void frame_pool::watch_thread_end() noexcept {
    static thread_local frame_pool_thread at_thread_end;
    at_thread_end.touch();
}

void* frame_pool::refill(std::size_t index) {
    watch_thread_end();
    const std::size_t size = (index + 1) * alignment;
    {
        depot& shared = shared_depot();
        const std::scoped_lock lock(shared.mutex);
        if (shared.lists[index] != nullptr) {
            auto* first = static_cast<block*>(shared.lists[index]);
            shared.lists[index] = nullptr;
            unpoison(first, size);
            free_[index] = first->next;
            return first;
        }
    }
    auto* slab = static_cast<std::byte*>(::operator new(slab_size, std::align_val_t{alignment}));
    {
        depot& shared = shared_depot();
        const std::scoped_lock lock(shared.mutex);
        shared.slabs.push_back(slab);
    }
    const std::size_t count = slab_size / size;
    // Linked back to front, so that blocks are handed out in rising order of address, and pages
    // not yet needed stay untouched as long as possible.
    for (std::size_t i = count - 1; i > 0; --i) {
        auto* b = new (slab + i * size) block{free_[index]};
        free_[index] = b;
        poison(b, size);
    }
    return slab;
}

void* frame_pool::allocate_large(std::size_t size) {
    return ::operator new(size, std::align_val_t{alignment});
}

void frame_pool::deallocate_large(void* memory) noexcept {
    ::operator delete(memory, std::align_val_t{alignment});
}

}  // namespace rondo::inline v0::detail
