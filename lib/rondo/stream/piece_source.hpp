// Where a buffered_reader gets its pieces: on lease, or into a block of its own.
#pragma once

#include <rondo/stream/stream.hpp>
#include <rondo/task/task.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

namespace rondo::inline v0::detail {

inline std::string_view as_text(std::span<const std::byte> bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <readable_stream Stream>
class piece_source {
public:
    explicit piece_source(Stream& stream) noexcept : stream_(&stream) {}

    Stream& stream() const noexcept { return *stream_; }

    /// The next bytes, valid until release(); empty at the end of the stream.
    task<std::string_view> next() {
        if (!block_) block_ = std::make_unique_for_overwrite<std::byte[]>(block_size);
        const std::span<std::byte> block(block_.get(), block_size);
        const std::size_t size = co_await stream_->recv(block);
        co_return as_text(block.first(size));
    }
    void release() noexcept {}

private:
    static constexpr std::size_t block_size = 16 * 1024;

    Stream* stream_;
    std::unique_ptr<std::byte[]> block_;
};

template <lease_stream Stream>
class piece_source<Stream> {
public:
    explicit piece_source(Stream& stream) noexcept : stream_(&stream) {}

    Stream& stream() const noexcept { return *stream_; }

    task<std::string_view> next() {
        lease_type received = co_await stream_->recv();
        lease_ = std::move(received);
        co_return as_text(lease_.bytes());
    }
    void release() noexcept { lease_ = lease_type(); }

private:
    using lease_type = await_result_t<decltype(std::declval<Stream&>().recv())>;

    Stream* stream_;
    lease_type lease_;
};

}  // namespace rondo::inline v0::detail
