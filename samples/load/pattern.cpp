#include "pattern.hpp"

#include "options.hpp"

#include <fmt/core.h>

#include <stdexcept>
#include <vector>

namespace load {

namespace {

constexpr std::size_t pattern_size = pattern_period + most_bytes;

std::vector<std::byte> make_pattern() {
    std::vector<std::byte> made(pattern_size);
    std::uint64_t state = 0x9e3779b97f4a7c15u;
    for (std::size_t i = 0; i < pattern_period; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        made[i] = static_cast<std::byte>(state >> 56);
    }
    for (std::size_t i = pattern_period; i < pattern_size; ++i) made[i] = made[i - pattern_period];
    return made;
}

const std::vector<std::byte> bytes = make_pattern();

}  // namespace

const std::byte* pattern() noexcept { return bytes.data(); }

void stretch::report_wrong(std::span<const std::byte> data) const {
    std::size_t at = 0;
    while (data[at] == pattern()[receive_at_ + at]) ++at;
    throw std::runtime_error(
        fmt::format("connection {}: byte {} of what came back is wrong: 0x{:02x} instead of "
                    "0x{:02x}",
                    connection_, received_ + at, static_cast<unsigned>(data[at]),
                    static_cast<unsigned>(pattern()[receive_at_ + at])));
}

void stretch::report_end() const {
    throw std::runtime_error(
        fmt::format("connection {}: the server ended it early, after {} bytes had come back",
                    connection_, received_));
}

void stretch::report_surplus(std::size_t surplus) const {
    throw std::runtime_error(
        fmt::format("connection {}: more came back than was sent: {} bytes behind byte {}",
                    connection_, surplus, received_));
}

}  // namespace load
