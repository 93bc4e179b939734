#include <rondo/detail/quoted.hpp>

#include <fmt/format.h>

#include <cstddef>

namespace rondo::inline v0::detail {

std::string quoted(std::string_view text) {
    constexpr std::size_t longest = 80;
    std::string result = "\"";
    for (const char c : text.substr(0, longest)) {
        if (c == '"' || c == '\\') {
            result += '\\';
            result += c;
        } else if (c >= ' ' && c <= '~') {
            result += c;
        } else if (c == '\n') {
            result += "\\n";
        } else if (c == '\r') {
            result += "\\r";
        } else if (c == '\t') {
            result += "\\t";
        } else {
            result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
    result += text.size() > longest ? "...\"" : "\"";
    return result;
}

}  // namespace rondo::inline v0::detail
