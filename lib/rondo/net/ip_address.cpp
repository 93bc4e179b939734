#include <rondo/net/ip_address.hpp>

#include <fmt/format.h>
#include <net/if.h>

#include <array>
#include <charconv>
#include <cstring>

namespace rondo::inline v0 {

namespace {

char* write_v4(char* out, const std::uint8_t* bytes) noexcept {
    for (int i = 0; i < 4; ++i) {
        if (i > 0) {
            *out++ = '.';
        }
        out = std::to_chars(out, out + 3, bytes[i]).ptr;
    }
    return out;
}

struct zero_run {
    int first = 8;
    int length = 0;
};

/// The longest run of zero groups, the first of several, and only from two groups on (RFC 5952,
/// section 4.2).
zero_run longest_zero_run(const std::array<unsigned, 8>& groups) noexcept {
    zero_run best;
    zero_run current;
    for (int i = 0; i < 8; ++i) {
        if (groups[static_cast<std::size_t>(i)] != 0) {
            current.length = 0;
            continue;
        }
        if (current.length == 0) {
            current.first = i;
        }
        ++current.length;
        if (current.length > best.length) {
            best = current;
        }
    }
    return best.length >= 2 ? best : zero_run{};
}

char* write_v6(char* out, const ip_address::v6_bytes& bytes) noexcept {
    std::array<unsigned, 8> groups{};
    for (std::size_t i = 0; i < groups.size(); ++i) {
        groups[i] = (unsigned{bytes[2 * i]} << 8) | bytes[2 * i + 1];
    }
    const zero_run run = longest_zero_run(groups);
    for (int i = 0; i < 8; ++i) {
        if (i == run.first) {
            *out++ = ':';
            *out++ = ':';
            i += run.length - 1;
            continue;
        }
        if (i > 0 && i != run.first + run.length) {
            *out++ = ':';
        }
        out = std::to_chars(out, out + 4, groups[static_cast<std::size_t>(i)], 16).ptr;
    }
    return out;
}

std::uint64_t load(const std::uint8_t* bytes) noexcept {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

/// The finaliser of splitmix64: every input bit reaches every output bit.
std::uint64_t mix(std::uint64_t value) noexcept {
    value += 0x9e37'79b9'7f4a'7c15;
    value = (value ^ (value >> 30)) * 0xbf58'476d'1ce4'e5b9;
    value = (value ^ (value >> 27)) * 0x94d0'49bb'1331'11eb;
    return value ^ (value >> 31);
}

}  // namespace

char* ip_address::write_text(char* out) const noexcept {
    if (is_v4()) {
        return write_v4(out, bytes_.data());
    }
    if (is_v4_mapped()) {
        constexpr std::string_view prefix = "::ffff:";
        std::memcpy(out, prefix.data(), prefix.size());
        out = write_v4(out + prefix.size(), bytes_.data() + 12);
    } else {
        out = write_v6(out, bytes_);
    }
    if (scope_id_ != 0) {
        *out++ = '%';
        out = std::to_chars(out, out + 10, scope_id_).ptr;
    }
    return out;
}

std::string ip_address::to_string() const {
    std::array<char, max_text_size> text;
    return std::string(text.data(), write_text(text.data()));
}

std::size_t ip_address::hash() const noexcept {
    const std::uint64_t rest = (std::uint64_t{scope_id_} << 1) | (is_v6_ ? 1 : 0);
    return mix(load(bytes_.data()) ^ mix(load(bytes_.data() + 8) ^ mix(rest)));
}

std::uint32_t detail::interface_index(std::string_view name) noexcept {
    std::array<char, IF_NAMESIZE> terminated{};
    if (name.empty() || name.size() >= terminated.size() ||
        name.find('\0') != std::string_view::npos) {
        return 0;
    }
    std::memcpy(terminated.data(), name.data(), name.size());
    return ::if_nametoindex(terminated.data());
}

}  // namespace rondo::inline v0

auto fmt::formatter<rondo::ip_address>::format(const rondo::ip_address& address,
                                               fmt::format_context& context) const
    -> fmt::format_context::iterator {
    std::array<char, rondo::ip_address::max_text_size> text;
    const char* end = address.write_text(text.data());
    return fmt::formatter<fmt::string_view>::format(
        {text.data(), static_cast<std::size_t>(end - text.data())}, context);
}
