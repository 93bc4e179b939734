// An address and a port as a value, its text, and its form for the kernel.
#pragma once

#include <rondo/net/ip_address.hpp>

#include <fmt/core.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct sockaddr;

namespace rondo::inline v0 {

/// One end of a connection: an address and a port in host order. Port 0 lets the kernel choose.
class endpoint {
public:
    /// Room for the longest text: the address, brackets, colon, port.
    static constexpr std::size_t max_text_size = ip_address::max_text_size + 8;

    /// 0.0.0.0:0
    constexpr endpoint() noexcept = default;
    constexpr endpoint(const ip_address& address, std::uint16_t port) noexcept
        : address_(address), port_(port) {}

    /// `127.0.0.1:80`, `[::1]:80` or `[fe80::1%2]:80`; the whole of `text` or nothing. The port is
    /// decimal, without leading zeros.
    static constexpr std::optional<endpoint> parse(std::string_view text) noexcept;

    [[nodiscard]] constexpr const ip_address& address() const noexcept { return address_; }
    [[nodiscard]] constexpr std::uint16_t port() const noexcept { return port_; }

    /// What `parse` reads.
    [[nodiscard]] std::string to_string() const;
    /// The same to `out`, which has room for `max_text_size`, without a NUL. Returns the end.
    char* write_text(char* out) const noexcept;

    [[nodiscard]] std::size_t hash() const noexcept;

    friend constexpr auto operator<=>(const endpoint&, const endpoint&) noexcept = default;

private:
    ip_address address_;
    std::uint16_t port_ = 0;
};

/// The endpoints meant by what a user types, in the order to try them:
/// a numeric endpoint as in `endpoint::parse` is itself; `localhost:80` is [::1]:80, then
/// 127.0.0.1:80; `:80` and `*:80` are [::]:80, then 0.0.0.0:80.
/// Anything else throws `std::errc::invalid_argument` with one line that starts with `verb`, quotes
/// `text` and tells what is expected.
std::vector<endpoint> parse_endpoints(std::string_view text, std::string_view verb = "endpoint");

/// An endpoint as bind(2), connect(2), accept(2) and getsockname(2) take and give it: a sockaddr_in
/// or a sockaddr_in6 and its size. A new one is all room for the kernel to write into.
class socket_address {
public:
    socket_address() noexcept = default;
    explicit socket_address(const endpoint& from) noexcept;

    /// Nothing where the family is neither AF_INET nor AF_INET6, or the size does not fit it.
    [[nodiscard]] std::optional<endpoint> to_endpoint() const noexcept;

    /// AF_INET, AF_INET6, or what the kernel wrote; AF_UNSPEC while nothing was written.
    [[nodiscard]] int family() const noexcept;

    [[nodiscard]] sockaddr* data() noexcept;
    [[nodiscard]] const sockaddr* data() const noexcept;
    [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
    /// A socklen_t for the kernel to read the room from and to write the size to.
    [[nodiscard]] std::uint32_t* size_pointer() noexcept { return &size_; }

private:
    static constexpr std::size_t capacity = 28;

    alignas(4) std::array<std::byte, capacity> bytes_{};
    std::uint32_t size_ = capacity;
};

namespace detail {

/// `host:port` taken apart. Nothing is said about either part yet.
struct host_and_port {
    std::string_view host;
    std::string_view port;
    bool is_bracketed = false;
};

/// At the bracket that ends the host, or at the last colon. Nothing where there is no colon to
/// split at, or where a bracket is not closed.
constexpr std::optional<host_and_port> split_host_and_port(std::string_view text) noexcept {
    if (!text.starts_with('[')) {
        const std::size_t colon = text.rfind(':');
        if (colon == std::string_view::npos) {
            return std::nullopt;
        }
        return host_and_port{text.substr(0, colon), text.substr(colon + 1), false};
    }
    const std::size_t bracket = text.find(']');
    if (bracket == std::string_view::npos || !text.substr(bracket + 1).starts_with(':')) {
        return std::nullopt;
    }
    return host_and_port{text.substr(1, bracket - 1), text.substr(bracket + 2), true};
}

/// What is wrong with a host that is no address, or with a text that is no port, in a few words.
std::string explain_host(const host_and_port& parts);
std::string explain_port(std::string_view port);

/// Digits and dots, and at least one of them: no name, then, but maybe no address either.
bool looks_like_v4(std::string_view host) noexcept;

}  // namespace detail

constexpr std::optional<endpoint> endpoint::parse(std::string_view text) noexcept {
    const auto parts = detail::split_host_and_port(text);
    if (!parts) {
        return std::nullopt;
    }
    const auto address = ip_address::parse(parts->host);
    const auto port = detail::parse_decimal(parts->port, 65535);
    if (!address || !port || address->is_v6() != parts->is_bracketed) {
        return std::nullopt;
    }
    return endpoint(*address, static_cast<std::uint16_t>(*port));
}

}  // namespace rondo::inline v0

template <>
struct std::hash<rondo::endpoint> {
    std::size_t operator()(const rondo::endpoint& value) const noexcept { return value.hash(); }
};

/// Takes the format specification of a string: width, fill, alignment.
template <>
struct fmt::formatter<rondo::endpoint> : fmt::formatter<fmt::string_view> {
    auto format(const rondo::endpoint& value, fmt::format_context& context) const
        -> fmt::format_context::iterator;
};
