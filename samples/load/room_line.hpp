// The lines that a room's members say, and how they are known again.
#pragma once

#include "figures.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace load {

struct room_line {
    unsigned sender = 0;
    std::uint32_t number = 0;            // of the sender's
    std::chrono::nanoseconds intended{};  // since the start
};

// Writes lines of one size, and reads them.
class line_form {
public:
    explicit line_form(std::size_t size);

    // With its end.
    std::string write(const room_line& line) const;
    // Without it. Nothing where `text` is no line of ours, or a changed one.
    std::optional<room_line> read(std::string_view text) const;

private:
    static constexpr std::size_t letters = 26;

    // Depends on all of it, so that a filling goes with no other line.
    const std::string& filling(const room_line& line) const noexcept;

    std::array<std::string, letters> fillings_;
};

}  // namespace load
