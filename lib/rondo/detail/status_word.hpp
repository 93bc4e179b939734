// Values out of the kernel's text files, as /proc/self/status is one.
#pragma once

#include <cstddef>
#include <string_view>

namespace rondo::inline v0::detail {

/// The first word behind `key`, which comes with its colon, in the line that begins with it; for an
/// empty key that of the first line; empty where there is none. A line's value may be what a user
/// has written, as the name of a program is: a key in there is none.
inline std::string_view status_word(std::string_view text, std::string_view key = {}) noexcept {
    constexpr std::string_view blanks = " \t";
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        if (line.starts_with(key)) {
            std::string_view value = line.substr(key.size());
            const std::size_t begin = value.find_first_not_of(blanks);
            if (begin == value.npos) return {};
            value.remove_prefix(begin);
            return value.substr(0, value.find_first_of(blanks));
        }
        text.remove_prefix(line.size());
        if (!text.empty()) text.remove_prefix(1);
    }
    return {};
}

}  // namespace rondo::inline v0::detail
