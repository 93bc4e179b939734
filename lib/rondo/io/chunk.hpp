// Received bytes on lease.
#pragma once

#include <rondo/io/buffer_pool.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

namespace rondo::inline v0 {

/// A move-only lease on a buffer with received bytes, given back when it is destroyed. False when
/// it holds none: the end of the stream. While many chunks are held, fewer buffers are left to
/// receive into; what is kept for long is better copied out by to_owned(). It belongs to the
/// thread of the socket it came from, unless it owns its bytes.
class chunk {
public:
    chunk() noexcept = default;
    chunk(chunk&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)),
          id_(other.id_),
          pool_(std::exchange(other.pool_, nullptr)) {}
    chunk& operator=(chunk&& other) noexcept {
        chunk taken(std::move(other));
        std::swap(data_, taken.data_);
        std::swap(size_, taken.size_);
        std::swap(id_, taken.id_);
        std::swap(pool_, taken.pool_);
        return *this;
    }
    // Inlined always: it is a quarter of what an echo server does itself for a message.
    [[gnu::always_inline]] ~chunk() {
        if (pool_ != nullptr) [[likely]] {
            pool_->give_back_chunk(id_, data_);
        } else {
            delete[] data_;
        }
    }

    explicit operator bool() const noexcept { return size_ != 0; }
    bool empty() const noexcept { return size_ == 0; }
    std::size_t size() const noexcept { return size_; }
    std::byte* data() const noexcept { return data_; }
    std::span<std::byte> bytes() const noexcept { return {data_, size_}; }
    std::string_view text() const noexcept { return {reinterpret_cast<char*>(data_), size_}; }

    /// The same bytes in memory of their own, to be kept as long as wanted.
    chunk to_owned() const {
        chunk copy;
        if (size_ == 0) return copy;
        copy.data_ = new std::byte[size_];
        copy.size_ = size_;
        std::memcpy(copy.data_, data_, size_);
        return copy;
    }

private:
    friend class receive_state;
    friend class datagram_state;

    // A lease on a pool's buffer.
    chunk(buffer_pool& pool, std::uint16_t id, std::uint32_t size) noexcept
        : data_(pool.data(id)), size_(size), id_(id), pool_(&pool) {}
    // The owner of an array from new[].
    chunk(std::byte* owned, std::uint32_t size) noexcept : data_(owned), size_(size) {}

    // What was read of it already. The rest is moved, so that data_ stays what is given back.
    void drop_front(std::uint32_t count) noexcept {
        if (count == 0) [[likely]] return;
        size_ -= count;
        std::memmove(data_, data_ + count, size_);
    }

    std::byte* data_ = nullptr;  // where the buffer begins
    std::uint32_t size_ = 0;
    std::uint16_t id_ = 0;
    buffer_pool* pool_ = nullptr;  // null when the bytes are owned
};

}  // namespace rondo::inline v0
