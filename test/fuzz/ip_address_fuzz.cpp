// Addresses: inet_pton(3) and inet_ntop(3) agree, and what is written is read again.
#include <fuzz/fuzz.hpp>

#include <rondo/net/ip_address.hpp>

#include <arpa/inet.h>
#include <fmt/format.h>

#include <optional>
#include <string>

namespace rondo::fuzz {

namespace {

using address = rondo::ip_address;

std::optional<address> by_inet_pton(const std::string& text) {
    if (text.find('\0') != text.npos) return std::nullopt;
    address::v4_bytes v4{};
    if (::inet_pton(AF_INET, text.c_str(), v4.data()) == 1) return address(v4);
    address::v6_bytes v6{};
    if (::inet_pton(AF_INET6, text.c_str(), v6.data()) == 1) return address(v6);
    return std::nullopt;
}

std::string by_inet_ntop(const address& from) {
    char text[INET6_ADDRSTRLEN];
    const bool is_v4 = from.is_v4();
    const auto& bytes = from.to_v6_bytes();
    check(::inet_ntop(is_v4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof text) != nullptr,
          "inet_ntop refuses an address");
    return text;
}

// ::a.b.c.d, which only inet_ntop writes so: it is deprecated (RFC 4291, section 2.5.5.1).
bool is_v4_compatible(const address& from) {
    const auto& bytes = from.to_v6_bytes();
    return from.is_v6() && std::all_of(bytes.begin(), bytes.begin() + 12,
                                       [](std::uint8_t byte) { return byte == 0; });
}

void check_text(const address& from) {
    const std::string text = from.to_string();
    check(text.size() <= address::max_text_size, "the text is longer than its room");
    check(fmt::format("{}", from) == text, "format and to_string differ");
    const auto again = address::parse(text);
    check(again.has_value() && *again == from, "parse does not read what to_string has written");
    check(again->hash() == from.hash(), "equal addresses have different hashes");
    if (from.scope_id() == 0 && !is_v4_compatible(from)) {
        check(text == by_inet_ntop(from), "to_string and inet_ntop differ");
    }
    check(from.unmapped().is_v4() == (from.is_v4() || from.is_v4_mapped()),
          "what is mapped is not unmapped to IPv4");
}

void check_parse(std::string_view text) {
    const std::size_t percent = text.find('%');
    const auto parsed = address::parse(text);
    const auto expected = by_inet_pton(std::string(text.substr(0, percent)));
    if (percent == text.npos) {
        check(parsed == expected, "parse and inet_pton differ");
    } else if (parsed) {
        check(expected.has_value() && expected->is_v6(), "a zone behind what is no IPv6 address");
        check(parsed->to_v6_bytes() == expected->to_v6_bytes(), "the zone has changed the address");
    }
    if (parsed) check_text(*parsed);
}

}  // namespace

void feed_ip_address(input in) {
    const unsigned kind = in.below(4);
    if (kind == 0) return check_text(address(in.value<address::v4_bytes>()));
    if (kind == 1) {
        const auto bytes = in.value<address::v6_bytes>();
        return check_text(address(bytes, in.value<std::uint32_t>()));
    }
    const exact_copy text(in.rest());
    check_parse(text.text());
}

}  // namespace rondo::fuzz
