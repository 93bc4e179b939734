// Bytes to be sent, however the caller has them.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace rondo::inline v0 {

/// A view of bytes, which must live until the operation it is given to has ended. A string literal
/// is sent without its NUL.
class const_buffer {
public:
    const_buffer() noexcept = default;
    /// A span, a vector, an array of bytes.
    template <typename Bytes>
        requires std::constructible_from<std::span<const std::byte>, const Bytes&>
    const_buffer(const Bytes& bytes) noexcept
        : data_(std::span<const std::byte>(bytes).data()),
          size_(std::span<const std::byte>(bytes).size()) {}
    const_buffer(std::string_view text) noexcept
        : data_(reinterpret_cast<const std::byte*>(text.data())), size_(text.size()) {}
    const_buffer(const std::string& text) noexcept : const_buffer(std::string_view(text)) {}
    const_buffer(const char* text) noexcept : const_buffer(std::string_view(text)) {}
    /// Bytes on lease, as recv() returns them.
    template <typename Lease>
        requires requires(const Lease& received) {
            { received.bytes() } -> std::convertible_to<std::span<const std::byte>>;
        }
    const_buffer(const Lease& received) noexcept
        : const_buffer(std::span<const std::byte>(received.bytes())) {}

    const std::byte* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }

private:
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace rondo::inline v0
