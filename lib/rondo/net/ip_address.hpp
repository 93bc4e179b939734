// A numeric IPv4 or IPv6 address as a value.
#pragma once

#include <fmt/core.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace rondo::inline v0 {

/// The family of an address: AF_INET or AF_INET6.
enum class ip_version : std::uint8_t { v4, v6 };

/// An IPv4 or an IPv6 address, the latter with a scope id: the index of the interface a link-local
/// address is on, 0 for none (RFC 4007). Addresses order by family (IPv4 first), bytes, scope id;
/// an IPv4-mapped IPv6 address is IPv6 throughout and equals no IPv4 address, see `unmapped`.
class ip_address {
public:
    using v4_bytes = std::array<std::uint8_t, 4>;
    using v6_bytes = std::array<std::uint8_t, 16>;

    /// Room for the longest text: 39 for the address, 11 for the zone.
    static constexpr std::size_t max_text_size = 50;

    /// 0.0.0.0
    constexpr ip_address() noexcept = default;
    /// Bytes in network order, as they are written.
    constexpr explicit ip_address(const v4_bytes& bytes) noexcept {
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            bytes_[i] = bytes[i];
        }
    }
    constexpr explicit ip_address(const v6_bytes& bytes, std::uint32_t scope_id = 0) noexcept
        : is_v6_(true), bytes_(bytes), scope_id_(scope_id) {}

    static constexpr ip_address v4_any() noexcept { return {}; }
    static constexpr ip_address v4_loopback() noexcept {
        return ip_address(v4_bytes{127, 0, 0, 1});
    }
    static constexpr ip_address v6_any() noexcept { return ip_address(v6_bytes{}); }
    static constexpr ip_address v6_loopback() noexcept {
        return ip_address(v6_bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    }

    /// The whole of `text` or nothing. IPv4: four decimal numbers without leading zeros. IPv6: the
    /// forms of RFC 4291, section 2.2, and behind `%` a zone: a scope id, or the name of an
    /// interface this machine has now (RFC 4007, section 11; not in a constant expression).
    static constexpr std::optional<ip_address> parse(std::string_view text) noexcept;

    [[nodiscard]] constexpr bool is_v4() const noexcept { return !is_v6_; }
    [[nodiscard]] constexpr bool is_v6() const noexcept { return is_v6_; }

    /// All zero.
    [[nodiscard]] constexpr bool is_unspecified() const noexcept { return bytes_ == v6_bytes{}; }
    /// 127.0.0.0/8 and ::1.
    [[nodiscard]] constexpr bool is_loopback() const noexcept {
        return is_v6_ ? bytes_ == v6_loopback().bytes_ : bytes_[0] == 127;
    }
    /// 224.0.0.0/4 and ff00::/8.
    [[nodiscard]] constexpr bool is_multicast() const noexcept {
        return is_v6_ ? bytes_[0] == 0xff : (bytes_[0] & 0xf0) == 0xe0;
    }
    /// 169.254.0.0/16 and fe80::/10.
    [[nodiscard]] constexpr bool is_link_local() const noexcept {
        return is_v6_ ? bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80
                      : bytes_[0] == 169 && bytes_[1] == 254;
    }
    /// ::ffff:0:0/96, how an IPv6 socket that also serves IPv4 shows an IPv4 peer (ipv6(7)).
    [[nodiscard]] constexpr bool is_v4_mapped() const noexcept {
        for (std::size_t i = 0; i < 10; ++i) {
            if (bytes_[i] != 0) {
                return false;
            }
        }
        return is_v6_ && bytes_[10] == 0xff && bytes_[11] == 0xff;
    }

    /// The IPv4 address in an IPv4-mapped one; any other address as it is.
    [[nodiscard]] constexpr ip_address unmapped() const noexcept {
        if (!is_v4_mapped()) {
            return *this;
        }
        return ip_address(v4_bytes{bytes_[12], bytes_[13], bytes_[14], bytes_[15]});
    }

    /// Of an IPv4 address; of an IPv6 address the first four bytes.
    [[nodiscard]] constexpr v4_bytes to_v4_bytes() const noexcept {
        return {bytes_[0], bytes_[1], bytes_[2], bytes_[3]};
    }
    /// Of an IPv6 address; of an IPv4 address its four bytes, then zeros.
    [[nodiscard]] constexpr const v6_bytes& to_v6_bytes() const noexcept { return bytes_; }
    [[nodiscard]] constexpr std::uint32_t scope_id() const noexcept { return scope_id_; }

    /// The canonical text of RFC 5952, IPv4-mapped addresses as ::ffff:192.0.2.1, a scope id other
    /// than 0 as a decimal zone.
    [[nodiscard]] std::string to_string() const;
    /// The same to `out`, which has room for `max_text_size`, without a NUL. Returns the end.
    char* write_text(char* out) const noexcept;

    [[nodiscard]] std::size_t hash() const noexcept;

    friend constexpr auto operator<=>(const ip_address&, const ip_address&) noexcept = default;

private:
    bool is_v6_ = false;
    // An IPv4 address fills the first four; the others stay zero, so that comparing is one rule.
    v6_bytes bytes_{};
    std::uint32_t scope_id_ = 0;
};

namespace detail {

/// Digits only, no sign, no leading zero, not above `most`.
constexpr std::optional<std::uint32_t> parse_decimal(std::string_view text,
                                                     std::uint32_t most) noexcept {
    if (text.empty() || text.size() > 10 || (text.size() > 1 && text[0] == '0')) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') {
            return std::nullopt;
        }
        value = value * 10 + static_cast<std::uint64_t>(c - '0');
    }
    if (value > most) {
        return std::nullopt;
    }
    return static_cast<std::uint32_t>(value);
}

/// The value of a hexadecimal digit; 16 for what is none.
constexpr unsigned hex_value(char c) noexcept {
    if (c >= '0' && c <= '9') {
        return static_cast<unsigned>(c - '0');
    }
    if (c >= 'a' && c <= 'f') {
        return static_cast<unsigned>(c - 'a') + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return static_cast<unsigned>(c - 'A') + 10;
    }
    return 16;
}

constexpr std::optional<ip_address::v4_bytes> parse_v4(std::string_view text) noexcept {
    ip_address::v4_bytes bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const std::size_t end = i + 1 < bytes.size() ? text.find('.') : text.size();
        if (end == std::string_view::npos) {
            return std::nullopt;
        }
        const auto octet = parse_decimal(text.substr(0, end), 255);
        if (!octet) {
            return std::nullopt;
        }
        bytes[i] = static_cast<std::uint8_t>(*octet);
        text.remove_prefix(i + 1 < bytes.size() ? end + 1 : end);
    }
    return bytes;
}

/// Where the groups of an IPv6 text go while it is read from left to right.
struct v6_groups {
    ip_address::v6_bytes bytes{};
    std::size_t filled = 0;
    // How much was filled when `::` was met; more than fits where it was not.
    std::size_t gap = 17;

    [[nodiscard]] constexpr bool has_gap() const noexcept { return gap <= 16; }

    constexpr bool add_group(std::string_view digits) noexcept {
        if (digits.empty() || digits.size() > 4 || filled + 2 > bytes.size()) {
            return false;
        }
        unsigned value = 0;
        for (const char c : digits) {
            const unsigned digit = hex_value(c);
            if (digit > 15) {
                return false;
            }
            value = value * 16 + digit;
        }
        bytes[filled++] = static_cast<std::uint8_t>(value >> 8);
        bytes[filled++] = static_cast<std::uint8_t>(value & 0xff);
        return true;
    }

    constexpr bool add_v4(std::string_view text) noexcept {
        const auto v4 = parse_v4(text);
        if (!v4 || filled + 4 > bytes.size()) {
            return false;
        }
        for (const std::uint8_t byte : *v4) {
            bytes[filled++] = byte;
        }
        return true;
    }

    /// Moves what was read after `::` to the end. False where the groups do not make 16 bytes;
    /// `::` stands for one group at least (RFC 4291, section 2.2).
    constexpr bool close_gap() noexcept {
        if (!has_gap()) {
            return filled == bytes.size();
        }
        if (filled == bytes.size()) {
            return false;
        }
        const std::size_t shift = bytes.size() - filled;
        for (std::size_t i = filled; i > gap; --i) {
            bytes[i - 1 + shift] = bytes[i - 1];
            bytes[i - 1] = 0;
        }
        return true;
    }
};

constexpr std::optional<ip_address::v6_bytes> parse_v6(std::string_view text) noexcept {
    v6_groups groups;
    if (text.starts_with("::")) {
        groups.gap = 0;
        text.remove_prefix(2);
    } else if (text.empty()) {
        return std::nullopt;
    }
    while (!text.empty()) {
        const std::size_t colon = text.find(':');
        const std::string_view group = text.substr(0, colon);
        if (colon == std::string_view::npos) {
            const bool is_v4 = group.find('.') != std::string_view::npos;
            if (!(is_v4 ? groups.add_v4(group) : groups.add_group(group))) {
                return std::nullopt;
            }
            break;
        }
        if (!groups.add_group(group)) {
            return std::nullopt;
        }
        text.remove_prefix(colon + 1);
        if (text.starts_with(':')) {
            if (groups.has_gap()) {
                return std::nullopt;
            }
            groups.gap = groups.filled;
            text.remove_prefix(1);
        } else if (text.empty()) {
            return std::nullopt;
        }
    }
    if (!groups.close_gap()) {
        return std::nullopt;
    }
    return groups.bytes;
}

/// if_nametoindex(3); 0 where there is no such interface.
std::uint32_t interface_index(std::string_view name) noexcept;

constexpr std::optional<std::uint32_t> parse_zone(std::string_view zone) noexcept {
    if (const auto number = parse_decimal(zone, 0xffff'ffff)) {
        return number;
    }
    if (std::is_constant_evaluated()) {
        return std::nullopt;
    }
    const std::uint32_t index = interface_index(zone);
    return index == 0 ? std::nullopt : std::optional(index);
}

}  // namespace detail

constexpr std::optional<ip_address> ip_address::parse(std::string_view text) noexcept {
    if (const auto v4 = detail::parse_v4(text)) {
        return ip_address(*v4);
    }
    const std::size_t percent = text.find('%');
    const auto v6 = detail::parse_v6(text.substr(0, percent));
    if (!v6) {
        return std::nullopt;
    }
    if (percent == std::string_view::npos) {
        return ip_address(*v6);
    }
    const auto scope_id = detail::parse_zone(text.substr(percent + 1));
    if (!scope_id) {
        return std::nullopt;
    }
    return ip_address(*v6, *scope_id);
}

}  // namespace rondo::inline v0

template <>
struct std::hash<rondo::ip_address> {
    std::size_t operator()(const rondo::ip_address& address) const noexcept {
        return address.hash();
    }
};

/// Takes the format specification of a string: width, fill, alignment.
template <>
struct fmt::formatter<rondo::ip_address> : fmt::formatter<fmt::string_view> {
    auto format(const rondo::ip_address& address, fmt::format_context& context) const
        -> fmt::format_context::iterator;
};
