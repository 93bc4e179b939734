// Addresses: text to value and back, with inet_pton(3) and inet_ntop(3) as the oracle.
#include <rondo/net/ip_address.hpp>

#include <catch2/catch_test_macros.hpp>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

using rondo::ip_address;

std::optional<ip_address> oracle(const std::string& text) {
    if (text.find('\0') != std::string::npos) {
        return std::nullopt;
    }
    ip_address::v4_bytes v4;
    if (::inet_pton(AF_INET, text.c_str(), v4.data()) == 1) {
        return ip_address(v4);
    }
    ip_address::v6_bytes v6;
    if (::inet_pton(AF_INET6, text.c_str(), v6.data()) == 1) {
        return ip_address(v6);
    }
    return std::nullopt;
}

std::string oracle_text(const ip_address& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* bytes = address.to_v6_bytes().data();
    REQUIRE(::inet_ntop(address.is_v4() ? AF_INET : AF_INET6, bytes, text.data(),
                        static_cast<socklen_t>(text.size())) != nullptr);
    return text.data();
}

/// glibc writes these deprecated addresses as ::192.0.2.1, which RFC 5952, section 5, does not.
bool is_v4_compatible(const ip_address& address) {
    const auto& bytes = address.to_v6_bytes();
    return address.is_v6() &&
           std::all_of(bytes.begin(), bytes.begin() + 12, [](auto byte) { return byte == 0; });
}

/// Zero bytes are as frequent as all others together, or runs of zero groups would be rare.
ip_address random_v6(std::mt19937& random) {
    ip_address::v6_bytes bytes;
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
        const bool zero = random() % 2 == 0;
        bytes[i] = zero ? std::uint8_t{0} : static_cast<std::uint8_t>(random() % 256);
        bytes[i + 1] = zero ? std::uint8_t{0} : static_cast<std::uint8_t>(random() % 256);
    }
    return ip_address(bytes);
}

ip_address random_v4(std::mt19937& random) {
    ip_address::v4_bytes bytes;
    for (auto& byte : bytes) {
        byte = static_cast<std::uint8_t>(random() % 256);
    }
    return ip_address(bytes);
}

const std::vector<std::pair<std::string, std::string>> valid = {
    {"0.0.0.0", "0.0.0.0"},
    {"127.0.0.1", "127.0.0.1"},
    {"255.255.255.255", "255.255.255.255"},
    {"192.0.2.10", "192.0.2.10"},
    {"::", "::"},
    {"::1", "::1"},
    {"1::", "1::"},
    {"0:0:0:0:0:0:0:0", "::"},
    {"0000:0000:0000:0000:0000:0000:0000:0001", "::1"},
    {"2001:db8::1", "2001:db8::1"},
    {"2001:DB8::ABCD", "2001:db8::abcd"},
    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
    {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
    {"2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
    {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
    {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
    {"1:0:0:4:5:6:0:0", "1::4:5:6:0:0"},
    {"0:0:3:4:5:6:7:8", "::3:4:5:6:7:8"},
    {"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
    {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
    {"::ffff:c000:201", "::ffff:192.0.2.1"},
    {"::192.0.2.1", "::c000:201"},
    {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
    {"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
    {"fe80::1%2", "fe80::1%2"},
    {"fe80::1%0", "fe80::1"},
    {"fe80::1%4294967295", "fe80::1%4294967295"},
    {"ff02::1%7", "ff02::1%7"},
};

const std::vector<std::string> invalid = {
    "",
    " ",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.4.",
    ".1.2.3.4",
    "1..2.3",
    "01.2.3.4",
    "1.2.3.04",
    "1.2.3.256",
    "1.2.3.1000",
    "1.2.3.99999999999999999999",
    "0x7f.0.0.1",
    "+1.2.3.4",
    "-1.2.3.4",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1.2.3.a",
    "1.2.3.4%1",
    "127.1",
    "2130706433",
    ":",
    ":::",
    "1:",
    ":1",
    "::1:",
    ":1::",
    "1:::2",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "1:2:3:4::5:6:7:8",
    "12345::",
    "::12345",
    "g::",
    "::g",
    "::1 ",
    " ::1",
    "::-1",
    "::+1",
    "::0x1",
    "[::1]",
    "::1.2.3",
    "::1.2.3.4.5",
    "::1.2.3.256",
    "::01.2.3.4",
    "1.2.3.4::",
    "::1.2.3.4:1",
    "1:2:3:4:5:6:7:1.2.3.4",
    "1:2:3:4:5:1.2.3.4",
    "fe80::1%",
    "fe80::1%01",
    "fe80::1%4294967296",
    "fe80::1%-1",
    "fe80::1%1%1",
    "fe80::1%no such",
    "fe80::1%an-interface-name-that-is-too-long",
    "%1",
    "%",
    std::string("::1\0", 4),
    std::string("1.2.3.4\0", 8),
    std::string("fe80::1%lo\0", 11),
};

static_assert(ip_address() == ip_address::v4_any());
static_assert(ip_address::parse("127.0.0.1") == ip_address::v4_loopback());
static_assert(ip_address::parse("0.0.0.0") == ip_address::v4_any());
static_assert(ip_address::parse("::1") == ip_address::v6_loopback());
static_assert(ip_address::parse("::") == ip_address::v6_any());
static_assert(ip_address::parse("fe80::1%3")->scope_id() == 3);
static_assert(ip_address::parse("::ffff:1.2.3.4")->unmapped() == ip_address::parse("1.2.3.4"));
static_assert(!ip_address::parse("fe80::1%lo"), "no interface is known while compiling");
static_assert(!ip_address::parse("1.2.3.04"));
static_assert(ip_address::v4_loopback().is_loopback() && !ip_address::v4_any().is_loopback());
static_assert(ip_address::v4_any() < ip_address::v4_loopback());
static_assert(sizeof(ip_address) <= 24);

}  // namespace

TEST_CASE("an address parses and is written in canonical form", "[net][ip_address]") {
    for (const auto& [text, canonical] : valid) {
        INFO(text);
        const auto address = ip_address::parse(text);
        REQUIRE(address);
        CHECK(address->to_string() == canonical);
        CHECK(fmt::format("{}", *address) == canonical);
        CHECK(ip_address::parse(canonical) == address);
        if (text.find('%') == std::string::npos) {
            CHECK(address == oracle(text));
        }
    }
}

TEST_CASE("what is not exactly an address does not parse", "[net][ip_address]") {
    for (const auto& text : invalid) {
        INFO(text);
        CHECK_FALSE(ip_address::parse(text));
        CHECK_FALSE(oracle(text));
    }
}

TEST_CASE("every truncation of an address parses as inet_pton does", "[net][ip_address]") {
    for (const auto& [text, canonical] : valid) {
        const std::string bare = text.substr(0, text.find('%'));
        for (std::size_t length = 0; length <= bare.size(); ++length) {
            const std::string start = bare.substr(0, length);
            const std::string end = bare.substr(length);
            INFO(start << " | " << end);
            CHECK(ip_address::parse(start) == oracle(start));
            CHECK(ip_address::parse(end) == oracle(end));
        }
    }
}

TEST_CASE("every truncation of a zone is another zone or none", "[net][ip_address]") {
    const std::string text = "fe80::1%4294967295";
    const std::size_t percent = text.find('%');
    CHECK_FALSE(ip_address::parse(text.substr(0, percent + 1)));
    for (std::size_t length = percent + 2; length <= text.size(); ++length) {
        const auto address = ip_address::parse(text.substr(0, length));
        REQUIRE(address);
        CHECK(std::to_string(address->scope_id()) ==
              text.substr(percent + 1, length - percent - 1));
    }
}

TEST_CASE("an address with random characters changed parses as inet_pton does",
          "[net][ip_address]") {
    std::mt19937 random(4291);
    constexpr std::string_view alphabet = "0123456789abcdefABCDEFg:::...%x- ";
    std::size_t accepted = 0;
    for (int round = 0; round < 50'000; ++round) {
        std::string text = valid[random() % valid.size()].first;
        text = text.substr(0, text.find('%'));
        for (auto changes = 1 + random() % 2; changes > 0; --changes) {
            const char c = alphabet[random() % alphabet.size()];
            const std::size_t at = random() % text.size();
            switch (random() % 3) {
                case 0: text[at] = c; break;
                case 1: text.insert(at, 1, c); break;
                default: text.erase(at, text.size() > 1 ? 1 : 0); break;
            }
        }
        if (text.find('%') != std::string::npos) {
            continue;  // a zone, which inet_pton does not know
        }
        const auto expected = oracle(text);
        accepted += expected ? 1U : 0U;
        if (ip_address::parse(text) != expected) {
            FAIL_CHECK(text);
        }
    }
    CHECK(accepted > 1000);
}

TEST_CASE("random addresses survive the way to text and back", "[net][ip_address]") {
    std::mt19937 random(5952);
    for (int round = 0; round < 20'000; ++round) {
        const ip_address address = round % 4 == 0 ? random_v4(random) : random_v6(random);
        const std::string text = address.to_string();
        const auto parsed = ip_address::parse(text);
        const bool is_same_text = text == oracle_text(address) || is_v4_compatible(address);
        if (parsed != address || oracle(text) != address || !is_same_text) {
            FAIL_CHECK(text << " and not " << oracle_text(address));
        }
        const ip_address scoped(address.to_v6_bytes(),
                                static_cast<std::uint32_t>(1 + random() % 0xffff'fffe));
        if (ip_address::parse(scoped.to_string()) != scoped) {
            FAIL_CHECK(scoped.to_string());
        }
    }
}

TEST_CASE("the longest text fits the room promised for it", "[net][ip_address]") {
    ip_address::v6_bytes bytes;
    bytes.fill(0xff);
    const std::string longest = ip_address(bytes, 0xffff'ffff).to_string();
    CHECK(longest == "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295");
    CHECK(longest.size() == ip_address::max_text_size);
}

TEST_CASE("a zone may be the name of an interface", "[net][ip_address]") {
    struct if_nameindex* interfaces = ::if_nameindex();
    REQUIRE(interfaces != nullptr);
    int seen = 0;
    for (const auto* each = interfaces; each->if_index != 0; ++each, ++seen) {
        const auto address = ip_address::parse(std::string("fe80::1%") + each->if_name);
        CHECK(address == ip_address(ip_address::parse("fe80::1")->to_v6_bytes(), each->if_index));
    }
    ::if_freenameindex(interfaces);
    CHECK(seen > 0);
    CHECK_FALSE(ip_address::parse("fe80::1%rondo-none"));
}

TEST_CASE("an address knows what kind it is", "[net][ip_address]") {
    struct row {
        const char* text;
        bool unspecified, loopback, multicast, link_local, mapped;
    };
    const std::vector<row> rows = {
        {"0.0.0.0", true, false, false, false, false},
        {"0.0.0.1", false, false, false, false, false},
        {"126.255.255.255", false, false, false, false, false},
        {"127.0.0.0", false, true, false, false, false},
        {"127.255.255.255", false, true, false, false, false},
        {"128.0.0.0", false, false, false, false, false},
        {"169.253.255.255", false, false, false, false, false},
        {"169.254.0.0", false, false, false, true, false},
        {"169.255.0.0", false, false, false, false, false},
        {"223.255.255.255", false, false, false, false, false},
        {"224.0.0.0", false, false, true, false, false},
        {"239.255.255.255", false, false, true, false, false},
        {"240.0.0.0", false, false, false, false, false},
        {"::", true, false, false, false, false},
        {"::1", false, true, false, false, false},
        {"::2", false, false, false, false, false},
        {"7f00::", false, false, false, false, false},
        {"e000::", false, false, false, false, false},
        {"fe7f:ffff::", false, false, false, false, false},
        {"fe80::", false, false, false, true, false},
        {"febf:ffff::%3", false, false, false, true, false},
        {"fec0::", false, false, false, false, false},
        {"feff::", false, false, false, false, false},
        {"ff00::", false, false, true, false, false},
        {"ff02::1", false, false, true, false, false},
        {"::ffff:0.0.0.0", false, false, false, false, true},
        {"::ffff:127.0.0.1", false, false, false, false, true},
        {"::fffe:127.0.0.1", false, false, false, false, false},
        {"1::ffff:127.0.0.1", false, false, false, false, false},
    };
    for (const row& each : rows) {
        INFO(each.text);
        const auto address = ip_address::parse(each.text);
        REQUIRE(address);
        CHECK(address->is_unspecified() == each.unspecified);
        CHECK(address->is_loopback() == each.loopback);
        CHECK(address->is_multicast() == each.multicast);
        CHECK(address->is_link_local() == each.link_local);
        CHECK(address->is_v4_mapped() == each.mapped);
        CHECK(address->is_v6() == (std::strchr(each.text, ':') != nullptr));
        CHECK(address->is_v4() != address->is_v6());
        CHECK((address->unmapped() != *address) == each.mapped);
    }
}

TEST_CASE("addresses order by family, bytes and scope", "[net][ip_address]") {
    const std::vector<std::string> ascending = {
        "0.0.0.0", "1.2.3.4", "1.2.4.0",   "255.0.0.0", "::",
        "::1",     "fe80::1", "fe80::1%1", "fe80::1%2", "fe80::2",
    };
    std::set<ip_address> ordered;
    for (auto text = ascending.rbegin(); text != ascending.rend(); ++text) {
        ordered.insert(ip_address::parse(*text).value());
    }
    std::vector<std::string> texts;
    for (const ip_address& address : ordered) {
        texts.push_back(address.to_string());
    }
    CHECK(texts == ascending);
    CHECK(ip_address::v4_any() != ip_address::v6_any());
}

TEST_CASE("an address is a key of an unordered map", "[net][ip_address]") {
    std::unordered_map<ip_address, int> map;
    for (int i = 0; i < 256; ++i) {
        const auto byte = static_cast<std::uint8_t>(i);
        map[ip_address(ip_address::v4_bytes{10, 0, 0, byte})] = i;
        map[ip_address(ip_address::v6_bytes{0xfe, 0x80}, static_cast<std::uint32_t>(i))] = i;
    }
    CHECK(map.size() == 512);
    CHECK(map.at(ip_address::parse("10.0.0.77").value()) == 77);
    CHECK(map.at(ip_address::parse("fe80::%78").value()) == 78);
    std::set<std::size_t> hashes;
    for (const auto& [address, value] : map) {
        hashes.insert(std::hash<ip_address>()(address));
    }
    CHECK(hashes.size() == 512);
    CHECK(ip_address::v4_any().hash() != ip_address::v6_any().hash());
}

TEST_CASE("an address is formatted like a string", "[net][ip_address]") {
    CHECK(fmt::format("[{:>10}]", ip_address::v4_loopback()) == "[ 127.0.0.1]");
    CHECK(fmt::format("[{:*<5}]", ip_address::v6_loopback()) == "[::1**]");
}
