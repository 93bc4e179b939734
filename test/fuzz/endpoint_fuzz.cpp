// Endpoints and host:port: parsers that share a grammar agree with each other, with a plain reading
// of it, and with the form for the kernel; what is refused is explained in one line.
#include <fuzz/fuzz.hpp>

#include <rondo/net/endpoint.hpp>
#include <rondo/net/resolver.hpp>
#include <rondo/net/socket_error.hpp>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace rondo::fuzz {

namespace {

using value = rondo::endpoint;

// Digits without a leading zero, at most 65535.
std::optional<std::uint16_t> port_in(std::string_view text) {
    if (text.empty() || text.size() > 5 || (text.size() > 1 && text[0] == '0')) return {};
    unsigned port = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') return {};
        port = port * 10 + static_cast<unsigned>(c - '0');
    }
    if (port > 65535) return {};
    return static_cast<std::uint16_t>(port);
}

// IPv6 addresses in brackets, IPv4 ones without.
std::optional<value> read_plainly(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == text.npos) return {};
    std::string_view host = text.substr(0, colon);
    const auto port = port_in(text.substr(colon + 1));
    const bool bracketed = host.starts_with('[') && host.ends_with(']') && host.size() > 1;
    if (bracketed) host = host.substr(1, host.size() - 2);
    const auto address = rondo::ip_address::parse(host);
    if (!port || !address || address->is_v6() != bracketed) return {};
    return value(*address, *port);
}

void check_sentence(const std::system_error& error, std::string_view verb) {
    const std::string_view sentence = error.what();
    check(sentence.starts_with(verb), "a refusal does not begin with its verb");
    check(std::ranges::all_of(sentence, [](char c) { return c >= ' ' && c <= '~'; }),
          "a refusal is not one line of plain text");
    check(sentence.size() < 1000, "a refusal repeats a long input");
    check(error.code() == std::errc::invalid_argument, "a refusal is no argument error");
}

std::optional<std::vector<value>> listed(std::string_view text) {
    try {
        return parse_endpoints(text, "verb");
    } catch (const argument_error& error) {
        check_sentence(error, "verb ");
        return {};
    }
}

std::optional<rondo::detail::name_to_resolve> named(std::string_view text) {
    try {
        return rondo::detail::parse_name(text, "verb");
    } catch (const argument_error& error) {
        check_sentence(error, "verb ");
        return {};
    }
}

void check_value(const value& from) {
    const std::string text = from.to_string();
    check(text.size() <= value::max_text_size, "the text is longer than its room");
    check(fmt::format("{}", from) == text, "format and to_string differ");
    check(value::parse(text) == from, "parse does not read what to_string has written");
    const socket_address wire(from);
    check(wire.to_endpoint() == from, "the form for the kernel does not keep an endpoint");
}

void check_text(std::string_view text) {
    const auto parsed = value::parse(text);
    check(parsed == read_plainly(text), "parse and a plain reading differ");
    const auto list = listed(text);
    const auto name = named(text);
    if (parsed) {
        check_value(*parsed);
        check(list && list->size() == 1 && list->front() == *parsed,
              "parse_endpoints and parse differ");
    }
    if (list) check(name.has_value(), "parse_endpoints takes what parse_name refuses");
    if (!name) return;
    const std::string_view host = name->host;
    const std::string_view service = name->service;
    check(host.find('\0') == host.npos && service.find('\0') == service.npos,
          "getaddrinfo would cut a name");
    const bool bracketed = text.starts_with('[');
    check(fmt::format("{}{}{}:{}", bracketed ? "[" : "", host, bracketed ? "]" : "", service) ==
              text, "a name is not what was written");
}

// What the kernel, or somebody who pretends to be it, has written.
void check_wire(input in) {
    socket_address wire;
    const std::size_t room = wire.size();
    const auto bytes = in.bytes(room);
    if (!bytes.empty()) std::memcpy(wire.data(), bytes.data(), bytes.size());
    *wire.size_pointer() = static_cast<std::uint32_t>(bytes.size());
    const auto read = wire.to_endpoint();
    const bool is_v4 = wire.family() == AF_INET && bytes.size() >= sizeof(sockaddr_in);
    const bool is_v6 = wire.family() == AF_INET6 && bytes.size() >= sizeof(sockaddr_in6);
    check(read.has_value() == (is_v4 || is_v6), "an address of the wrong size or family is read");
    if (read) check_value(*read);
}

}  // namespace

void feed_endpoint(input in) {
    if (in.below(4) == 0) return check_wire(in);
    const exact_copy text(in.rest());
    check_text(text.text());
}

}  // namespace rondo::fuzz
