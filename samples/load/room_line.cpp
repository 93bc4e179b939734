#include "room_line.hpp"

#include <fmt/format.h>

#include <charconv>

namespace load {

namespace {

// "07 0000000012 00000000000004d2 ", decimal, decimal, hexadecimal.
constexpr std::size_t sender_digits = 2;
constexpr std::size_t number_digits = 10;
constexpr std::size_t time_digits = 16;
constexpr std::size_t header = sender_digits + number_digits + time_digits + 3;

// `digits` of `text` and the blank behind them.
template <typename Number>
bool take_number(std::string_view& text, std::size_t digits, int base, Number& value) {
    const char* const end = text.data() + digits;
    const auto [last, error] = std::from_chars(text.data(), end, value, base);
    if (error != std::errc() || last != end || *end != ' ') return false;
    text.remove_prefix(digits + 1);
    return true;
}

}  // namespace

line_form::line_form(std::size_t size) {
    char letter = 'a';
    for (std::string& each : fillings_) each.assign(size - header, letter++);
}

const std::string& line_form::filling(const room_line& line) const noexcept {
    const auto time = static_cast<std::uint64_t>(line.intended.count());
    return fillings_[(line.sender + line.number * 7 + time) % letters];
}

std::string line_form::write(const room_line& line) const {
    return fmt::format("{:02} {:010} {:016x} {}\n", line.sender, line.number,
                       line.intended.count(), filling(line));
}

std::optional<room_line> line_form::read(std::string_view text) const {
    if (text.size() != header + fillings_.front().size()) return std::nullopt;
    room_line line;
    std::int64_t intended = 0;
    const bool is_ours = take_number(text, sender_digits, 10, line.sender) &&
                         take_number(text, number_digits, 10, line.number) &&
                         take_number(text, time_digits, 16, intended);
    line.intended = std::chrono::nanoseconds(intended);
    if (!is_ours || text != filling(line)) return std::nullopt;
    return line;
}

}  // namespace load
