// Endpoints: text to value and back, what users type, and the form for the kernel.
#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/endpoint.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace {

using rondo::endpoint;
using rondo::ip_address;
using rondo::parse_endpoints;
using rondo::socket_address;
using rondo::detail::unique_fd;

std::vector<std::string> texts(const std::vector<endpoint>& endpoints) {
    std::vector<std::string> result;
    for (const endpoint& each : endpoints) {
        result.push_back(each.to_string());
    }
    return result;
}

std::string refusal(std::string_view text, std::string_view verb = "endpoint") {
    try {
        parse_endpoints(text, verb);
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::invalid_argument);
        return error.what();
    }
    return "accepted";
}

const std::vector<std::string> valid = {
    "127.0.0.1:80", "0.0.0.0:0",  "255.255.255.255:65535",    "1.2.3.4:1",
    "[::1]:80",     "[::]:0",     "[2001:db8::1]:65535",      "[fe80::1%2]:80",
    "[::]:8000",    "[1::]:8080", "[::ffff:192.0.2.1]:12345", "[fe80::%4294967295]:9",
};

static_assert(endpoint::parse("127.0.0.1:80") == endpoint(ip_address::v4_loopback(), 80));
static_assert(endpoint::parse("[::1]:80") == endpoint(ip_address::v6_loopback(), 80));
static_assert(endpoint::parse("[fe80::1%2]:80")->address().scope_id() == 2);
static_assert(!endpoint::parse("127.0.0.1:65536"));
static_assert(endpoint().port() == 0 && endpoint().address() == ip_address::v4_any());
static_assert(sizeof(endpoint) <= 28);

}  // namespace

TEST_CASE("an endpoint parses and is written alike", "[net][endpoint]") {
    for (const auto& text : valid) {
        INFO(text);
        const auto parsed = endpoint::parse(text);
        REQUIRE(parsed);
        CHECK(parsed->to_string() == text);
        CHECK(fmt::format("{}", *parsed) == text);
        CHECK(parse_endpoints(text) == std::vector<endpoint>{*parsed});
    }
    CHECK(endpoint::parse("[0:0::1]:80")->to_string() == "[::1]:80");
    CHECK(fmt::format("{:>14}", *endpoint::parse("127.0.0.1:80")) == "  127.0.0.1:80");
}

TEST_CASE("what is not exactly an endpoint does not parse", "[net][endpoint]") {
    const std::vector<std::string> invalid = {
        "",
        ":",
        ":80",
        "80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:080",
        "127.0.0.1:00",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 80",
        "127.0.0.1:80 ",
        " 127.0.0.1:80",
        "127.0.0.1:8o",
        "127.0.0.1:http",
        "127.0.0.1:99999999999999999999",
        "127.0.0.1::80",
        "127.0.0.1:80:80",
        "[127.0.0.1]:80",
        "127.0.0.256:80",
        "::1:80",
        "::1",
        "[::1]",
        "[::1]:",
        "[::1]80",
        "[::1:80",
        "::1]:80",
        "[[::1]]:80",
        "[]:80",
        "[]",
        "[",
        "[::1]:80]",
        "[::1] :80",
        "[::1%]:80",
        "localhost:80",
        "*:80",
        "x:80",
        std::string("1.2.3.4:80\0", 11),
    };
    for (const auto& text : invalid) {
        INFO(text);
        CHECK_FALSE(endpoint::parse(text));
    }
}

TEST_CASE("a truncated endpoint is refused, but for its port", "[net][endpoint]") {
    for (const auto& text : valid) {
        const std::size_t port = text.rfind(':') + 1;
        for (std::size_t length = 0; length < text.size(); ++length) {
            const std::string start = text.substr(0, length);
            INFO(start);
            CHECK(endpoint::parse(start).has_value() == (length > port));
            CHECK((refusal(start) == "accepted") == (length > port));
        }
        CHECK_FALSE(endpoint::parse(text.substr(port)));
    }
}

TEST_CASE("random endpoints survive the way to text, to the kernel's form and back",
          "[net][endpoint]") {
    std::mt19937 random(3493);
    for (int round = 0; round < 5000; ++round) {
        ip_address::v6_bytes bytes;
        for (auto& byte : bytes) {
            byte = static_cast<std::uint8_t>(random() % 3 == 0 ? random() % 256 : 0);
        }
        const ip_address v6(bytes, static_cast<std::uint32_t>(random() % 3));
        const ip_address v4(v6.to_v4_bytes());
        const endpoint original(round % 2 == 0 ? v6 : v4,
                                static_cast<std::uint16_t>(random() % 65536));
        if (endpoint::parse(original.to_string()) != original ||
            socket_address(original).to_endpoint() != original) {
            FAIL_CHECK(original.to_string());
        }
    }
}

TEST_CASE("the longest endpoint fits the room promised for it", "[net][endpoint]") {
    ip_address::v6_bytes bytes;
    bytes.fill(0xff);
    const endpoint longest(ip_address(bytes, 0xffff'ffff), 65535);
    CHECK(longest.to_string().size() == endpoint::max_text_size);
}

TEST_CASE("what users type means endpoints in the order to try them", "[net][endpoint]") {
    using list = std::vector<std::string>;
    CHECK(texts(parse_endpoints("localhost:8000")) == list{"[::1]:8000", "127.0.0.1:8000"});
    CHECK(texts(parse_endpoints(":8000")) == list{"[::]:8000", "0.0.0.0:8000"});
    CHECK(texts(parse_endpoints("*:8000")) == list{"[::]:8000", "0.0.0.0:8000"});
    CHECK(texts(parse_endpoints("localhost:0")) == list{"[::1]:0", "127.0.0.1:0"});
    CHECK(texts(parse_endpoints(":65535")) == list{"[::]:65535", "0.0.0.0:65535"});
}

TEST_CASE("bad input gives one line that names it and what is expected", "[net][endpoint]") {
    const std::vector<std::pair<std::string, std::string>> rows = {
        {"127.0.0.1:99999", R"("127.0.0.1:99999": port 99999 is not between 0 and 65535)"},
        {":65536", R"(":65536": port 65536 is not between 0 and 65535)"},
        {"localhost:-1", R"("localhost:-1": port "-1" is not a number between 0 and 65535)"},
        {"localhost:http", R"("localhost:http": port "http" is not a number between 0 and 65535)"},
        {"localhost:080", R"("localhost:080": port "080" has a leading zero)"},
        {"localhost:", R"("localhost:": the port is missing behind the colon)"},
        {"localhost", R"("localhost": the port is missing, as in localhost:80)"},
        {"127.0.0.1", R"("127.0.0.1": the port is missing, as in 127.0.0.1:80)"},
        {"8000", R"("8000": a port alone is written with its colon, as in :8000)"},
        {"", R"("": nothing where HOST:PORT is expected)"},
        {"example.com:80",
         R"("example.com:80": a host name where a numeric address or localhost is expected)"},
        {"LOCALHOST.:80",
         R"("LOCALHOST.:80": a host name where a numeric address or localhost is expected)"},
        {"::1", R"("::1": an IPv6 address with a port is written in brackets, as in [::1]:80)"},
        {"::1:80",
         R"("::1:80": an IPv6 address with a port is written in brackets, as in [::1]:80)"},
        {"[::1]", R"("[::1]": an address in brackets must be closed and followed by a port, )"
                  "as in [::1]:80"},
        {"[::1", R"("[::1": an address in brackets must be closed and followed by a port, )"
                 "as in [::1]:80"},
        {"[localhost]:80", R"("[localhost]:80": "localhost" is not an IPv6 address, )"
                           "and brackets are for these alone"},
        {"[1.2.3.4]:80", R"("[1.2.3.4]:80": "1.2.3.4" is not an IPv6 address, )"
                         "and brackets are for these alone"},
        {"[fe80::1%rondo-none]:80", R"("[fe80::1%rondo-none]:80": "rondo-none" is neither an )"
                                    "interface here nor an interface's number"},
        {"1.2.3:80", R"("1.2.3:80": "1.2.3" is not an IPv4 address: four numbers from 0 to 255 )"
                     "without leading zeros are expected, as in 127.0.0.1"},
    };
    for (const auto& [text, expected] : rows) {
        CHECK(refusal(text) == "endpoint " + expected);
        CHECK(refusal(text, "listen") == "listen " + expected);
    }
}

TEST_CASE("no junk breaks the one line of a refusal", "[net][endpoint]") {
    CHECK(refusal("a\nb:80\r") == R"(endpoint "a\nb:80\r": a host name where )"
                                  "a numeric address or localhost is expected");
    CHECK(refusal("a\"\\:1").starts_with(R"(endpoint "a\"\\:1": )"));
    CHECK(refusal(std::string("\0:80", 4)).starts_with(R"(endpoint "\x00:80": )"));
    CHECK(refusal("\x1b[31m:80").starts_with(R"(endpoint "\x1b[31m:80": )"));
    std::mt19937 random(17);
    for (int round = 0; round < 2000; ++round) {
        std::string junk(random() % 300, ' ');
        for (char& c : junk) {
            c = static_cast<char>(random() % 256);
        }
        const std::string line = refusal(junk);
        CHECK(line.size() < 1000);
        for (const char c : line) {
            if (c < ' ' || c > '~') {
                FAIL("control character in " << line);
            }
        }
    }
}

TEST_CASE("endpoints order by address, then port", "[net][endpoint]") {
    const std::vector<std::string> ascending = {"1.2.3.4:80", "1.2.3.4:443", "1.2.3.5:1",
                                                "[::]:1",     "[::1]:0",     "[::1]:65535"};
    std::set<endpoint> ordered;
    for (auto text = ascending.rbegin(); text != ascending.rend(); ++text) {
        ordered.insert(endpoint::parse(*text).value());
    }
    CHECK(texts({ordered.begin(), ordered.end()}) == ascending);
}

TEST_CASE("an endpoint is a key of an unordered map", "[net][endpoint]") {
    std::unordered_map<endpoint, int> map;
    std::unordered_set<std::size_t> hashes;
    for (int port = 0; port < 65536; ++port) {
        const endpoint key(ip_address::v4_loopback(), static_cast<std::uint16_t>(port));
        map[key] = port;
        hashes.insert(key.hash());
    }
    map[endpoint(ip_address::v6_loopback(), 80)] = -1;
    CHECK(map.size() == 65537);
    CHECK(hashes.size() == 65536);
    CHECK(map.at(endpoint::parse("127.0.0.1:80").value()) == 80);
    CHECK(map.at(endpoint::parse("[::1]:80").value()) == -1);
}

TEST_CASE("a socket address is laid out as the kernel's", "[net][endpoint]") {
    const socket_address v4(endpoint::parse("1.2.3.4:258").value());
    CHECK(v4.family() == AF_INET);
    CHECK(v4.size() == sizeof(sockaddr_in));
    sockaddr_in in;
    std::memcpy(&in, v4.data(), sizeof in);
    CHECK(in.sin_family == AF_INET);
    CHECK(in.sin_port == htons(258));
    CHECK(in.sin_addr.s_addr == htonl(0x01020304));

    const socket_address v6(endpoint::parse("[fe80::102%7]:258").value());
    CHECK(v6.family() == AF_INET6);
    CHECK(v6.size() == sizeof(sockaddr_in6));
    sockaddr_in6 in6;
    std::memcpy(&in6, v6.data(), sizeof in6);
    CHECK(in6.sin6_family == AF_INET6);
    CHECK(in6.sin6_port == htons(258));
    CHECK(in6.sin6_scope_id == 7);
    CHECK(in6.sin6_flowinfo == 0);
    CHECK(in6.sin6_addr.s6_addr[0] == 0xfe);
    CHECK(in6.sin6_addr.s6_addr[15] == 0x02);
}

TEST_CASE("a socket address of another family is no endpoint", "[net][endpoint]") {
    socket_address empty;
    CHECK(empty.family() == AF_UNSPEC);
    CHECK_FALSE(empty.to_endpoint());
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    const unique_fd first(pair[0]);
    const unique_fd second(pair[1]);
    socket_address unnamed;
    REQUIRE(::getsockname(first.get(), unnamed.data(), unnamed.size_pointer()) == 0);
    CHECK(unnamed.family() == AF_UNIX);
    CHECK_FALSE(unnamed.to_endpoint());
    socket_address cut(endpoint::parse("[::1]:80").value());
    *cut.size_pointer() = sizeof(sockaddr_in6) - 1;
    CHECK_FALSE(cut.to_endpoint());
    *cut.size_pointer() = 1;
    CHECK(cut.family() == AF_UNSPEC);
}

TEST_CASE("the kernel takes and gives socket addresses", "[net][endpoint]") {
    for (const char* text : {"127.0.0.1:0", "[::1]:0"}) {
        INFO(text);
        const endpoint any_port = endpoint::parse(text).value();
        const socket_address wanted(any_port);
        const unique_fd listener(::socket(wanted.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(listener);
        REQUIRE(::bind(listener.get(), wanted.data(), wanted.size()) == 0);
        REQUIRE(::listen(listener.get(), 1) == 0);
        socket_address bound;
        REQUIRE(::getsockname(listener.get(), bound.data(), bound.size_pointer()) == 0);
        const auto local = bound.to_endpoint();
        REQUIRE(local);
        CHECK(local->address() == any_port.address());
        CHECK(local->port() != 0);

        const unique_fd client(::socket(wanted.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
        const socket_address target(*local);
        REQUIRE(::connect(client.get(), target.data(), target.size()) == 0);
        socket_address peer;
        const unique_fd served(::accept(listener.get(), peer.data(), peer.size_pointer()));
        REQUIRE(served);
        socket_address own;
        REQUIRE(::getsockname(client.get(), own.data(), own.size_pointer()) == 0);
        CHECK(peer.to_endpoint() == own.to_endpoint());
    }
}
