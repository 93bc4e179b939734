#include <rondo/io/buffer_pool.hpp>

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>

namespace rondo::inline v0 {

namespace {

// Buffers a power of two apart would put the first lines of all of them into the same few sets of
// the first-level cache; three lines more spread them over all sets.
constexpr std::size_t cache_colour = 192;

constexpr unsigned most_possible = 32768;  // buffers in a ring, io_uring_register_buf_ring(3)

std::byte* map(std::size_t size, int flags) {
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (memory == MAP_FAILED) {
        throw std::system_error(errno, std::generic_category(), "mmap of receive buffers");
    }
    return static_cast<std::byte*>(memory);
}

}  // namespace

buffer_pool::buffer_pool(engine& owner, const buffer_pool_options& options)
    : engine_(&owner),
      buffer_size_(std::max<std::size_t>(options.buffer_size, 1)),
      stride_((buffer_size_ + 63) / 64 * 64 + cache_colour),
      most_(std::bit_ceil(std::clamp(options.most, 1u, most_possible))),
      mask_(most_ - 1) {
    if (!owner.has(feature::buffer_ring)) return;
    notes_ = std::make_unique<note[]>(most_);
    memory_ = map(stride_ * most_, MAP_NORESERVE);
    try {
        slots_ = reinterpret_cast<abi::buffer_slot*>(map(sizeof(abi::buffer_slot) * most_, 0));
    } catch (...) {
        ::munmap(memory_, stride_ * most_);
        throw;
    }
    try {
        const std::error_code failed = owner.register_buffer_ring(group, slots_, most_);
        if (failed) throw std::system_error(failed, "registering the ring of receive buffers");
    } catch (...) {
        ::munmap(memory_, stride_ * most_);
        ::munmap(slots_, sizeof(abi::buffer_slot) * most_);
        throw;
    }
    registered_ = true;
    for (std::size_t i = 0; i <= mask_; ++i) {
        slots_[i].length = static_cast<std::uint32_t>(buffer_size_);
    }
    most_ = std::min(most_, std::max(options.most, 1u));
    const unsigned initial = std::clamp(options.initial, 1u, most_);
    for (; size_ < initial; ++size_) give_back(static_cast<std::uint16_t>(size_));
    publish();
}

buffer_pool::~buffer_pool() {
    if (!registered_) return;
    const std::size_t slots = mask_ + 1;
    ::munmap(memory_, stride_ * slots);
    ::munmap(slots_, sizeof(abi::buffer_slot) * slots);
}

bool buffer_pool::grow() noexcept {
    ++starvations_;
    const unsigned before = size_;
    const unsigned target = std::min(size_ * 2, most_);
    for (; size_ < target; ++size_) give_back(static_cast<std::uint16_t>(size_));
    publish();
    return size_ > before;
}

void buffer_pool::free_retired() noexcept {
    if (held() == 0) delete this;
}

void buffer_pool::retire(std::unique_ptr<buffer_pool> pool) noexcept {
    if (pool->registered_) pool->engine_->unregister_buffer_ring(group);
    if (pool->held() == 0) return;
    pool->retired_ = true;
    pool.release();  // NOLINT: the last chunk deletes it
}

}  // namespace rondo::inline v0
