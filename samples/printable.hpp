// What came from the network, fit for a terminal.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

// Without the line end that nc sends along, and on one line: control bytes, which would act on the
// terminal, are written as \x1b is.
inline std::string printable(std::string_view text) {
    while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
    std::string shown;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool is_control = (byte < 0x20 && c != '\t') || byte == 0x7f;
        shown += is_control ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
    }
    return shown;
}
