// The bytes that are sent, and the check that they come back.
#pragma once

#include <rondo/const_buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace load {

// Pseudo-random bytes, over and over. The period is a prime, so no message size comes round to the
// same place soon; behind it stands one message more, so that each is in one piece.
inline constexpr std::size_t pattern_period = 65521;
const std::byte* pattern() noexcept;

// One connection's stretch of it, sent and received: bytes of another connection, or of another
// place in the stream, are noticed.
class stretch {
public:
    explicit stretch(unsigned connection) noexcept
        : connection_(connection), send_at_(connection * 7919u % pattern_period),
          receive_at_(send_at_) {}

    unsigned connection() const noexcept { return connection_; }
    std::uint64_t received() const noexcept { return received_; }

    // The next `size` bytes to send.
    rondo::const_buffer next(std::size_t size) noexcept {
        const std::byte* const begin = pattern() + send_at_;
        send_at_ = (send_at_ + size) % pattern_period;
        return std::span(begin, size);
    }

    // The same bytes once more: all that has not come back.
    rondo::const_buffer again(std::size_t size) const noexcept {
        return std::span(pattern() + receive_at_, size);
    }

    // Throws where `data`, of a message's size at most, is not what was sent.
    void check(std::span<const std::byte> data) {
        if (std::memcmp(data.data(), pattern() + receive_at_, data.size()) != 0) [[unlikely]]
            report_wrong(data);
        receive_at_ = (receive_at_ + data.size()) % pattern_period;
        received_ += data.size();
    }
    // The place of what is to come next, and whether `data` is what belongs to a place.
    std::size_t place() const noexcept { return receive_at_; }
    std::size_t place_before(std::size_t bytes) const noexcept {
        return (receive_at_ + pattern_period - bytes % pattern_period) % pattern_period;
    }
    static bool matches(std::span<const std::byte> data, std::size_t place) noexcept {
        return std::memcmp(data.data(), pattern() + place, data.size()) == 0;
    }
    [[noreturn]] void report_wrong(std::span<const std::byte> data) const;
    [[noreturn]] void report_end() const;
    [[noreturn]] void report_surplus(std::size_t bytes) const;

private:
    unsigned connection_;
    std::size_t send_at_;
    std::size_t receive_at_;
    std::uint64_t received_ = 0;
};

}  // namespace load
