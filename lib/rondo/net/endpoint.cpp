#include <rondo/net/endpoint.hpp>

#include <rondo/detail/quoted.hpp>
#include <rondo/net/socket_error.hpp>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace rondo::inline v0 {

using detail::quoted;

namespace {

bool is_number(std::string_view text) noexcept {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

/// What is wrong with a text that has no port, or none that can be told from its host.
std::string explain_shape(std::string_view text) {
    if (text.empty()) {
        return "nothing where HOST:PORT is expected";
    }
    if (text.starts_with('[')) {
        return "an address in brackets must be closed and followed by a port, as in [::1]:80";
    }
    if (is_number(text)) {
        return fmt::format("a port alone is written with its colon, as in :{}", text.substr(0, 20));
    }
    if (ip_address::parse(text)) {
        return fmt::format("the port is missing, as in {}:80", text);
    }
    return "the port is missing, as in localhost:80";
}

}  // namespace

namespace detail {

bool looks_like_v4(std::string_view host) noexcept {
    return !host.empty() &&
           std::ranges::all_of(host, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

std::string explain_port(std::string_view port) {
    if (port.empty()) {
        return "the port is missing behind the colon";
    }
    if (!is_number(port)) {
        return fmt::format("port {} is not a number between 0 and 65535", quoted(port));
    }
    if (port.starts_with('0')) {
        return fmt::format("port {} has a leading zero", quoted(port));
    }
    return fmt::format("port {} is not between 0 and 65535", port.substr(0, 20));
}

std::string explain_host(const host_and_port& parts) {
    if (parts.is_bracketed) {
        const std::size_t percent = parts.host.find('%');
        const auto v6 = ip_address::parse(parts.host.substr(0, percent));
        if (!v6 || v6->is_v4()) {
            return fmt::format("{} is not an IPv6 address, and brackets are for these alone",
                               quoted(parts.host));
        }
        return fmt::format("{} is neither an interface here nor an interface's number",
                           quoted(parts.host.substr(percent + 1)));
    }
    if (parts.host.find(':') != std::string_view::npos) {
        return "an IPv6 address with a port is written in brackets, as in [::1]:80";
    }
    if (looks_like_v4(parts.host)) {
        return fmt::format(
            "{} is not an IPv4 address: four numbers from 0 to 255 without leading "
            "zeros are expected, as in 127.0.0.1",
            quoted(parts.host));
    }
    return "a host name where a numeric address or localhost is expected";
}

}  // namespace detail

char* endpoint::write_text(char* out) const noexcept {
    if (address_.is_v6()) {
        *out++ = '[';
        out = address_.write_text(out);
        *out++ = ']';
    } else {
        out = address_.write_text(out);
    }
    *out++ = ':';
    return std::to_chars(out, out + 5, port_).ptr;
}

std::string endpoint::to_string() const {
    std::array<char, max_text_size> text;
    return std::string(text.data(), write_text(text.data()));
}

std::size_t endpoint::hash() const noexcept {
    // An odd factor keeps the ports of one address apart in the low bits, by which tables choose.
    return address_.hash() ^ (std::size_t{port_} * 0x9e37'79b9'7f4a'7c15U);
}

std::vector<endpoint> parse_endpoints(std::string_view text, std::string_view verb) {
    const auto refuse = [&](const std::string& reason) {
        return argument_error(fmt::format("{} {}: {}", verb, quoted(text), reason));
    };
    const auto parts = detail::split_host_and_port(text);
    if (!parts) {
        throw refuse(explain_shape(text));
    }
    const auto number = detail::parse_decimal(parts->port, 65535);
    const auto port = static_cast<std::uint16_t>(number.value_or(0));
    std::vector<endpoint> result;
    if (!parts->is_bracketed && parts->host == "localhost") {
        result = {{ip_address::v6_loopback(), port}, {ip_address::v4_loopback(), port}};
    } else if (!parts->is_bracketed && (parts->host.empty() || parts->host == "*")) {
        result = {{ip_address::v6_any(), port}, {ip_address::v4_any(), port}};
    } else {
        const auto address = ip_address::parse(parts->host);
        if (!address || address->is_v6() != parts->is_bracketed) {
            throw refuse(detail::explain_host(*parts));
        }
        result = {{*address, port}};
    }
    if (!number) {
        throw refuse(detail::explain_port(parts->port));
    }
    return result;
}

static_assert(sizeof(sockaddr_in6) == 28 && alignof(sockaddr_in6) <= 4);
static_assert(sizeof(sockaddr_in) <= sizeof(sockaddr_in6));
static_assert(sizeof(socklen_t) == sizeof(std::uint32_t));

socket_address::socket_address(const endpoint& from) noexcept {
    const ip_address& address = from.address();
    if (address.is_v4()) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(from.port());
        std::memcpy(&v4.sin_addr, address.to_v4_bytes().data(), sizeof v4.sin_addr);
        std::memcpy(bytes_.data(), &v4, sizeof v4);
        size_ = sizeof v4;
        return;
    }
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(from.port());
    std::memcpy(&v6.sin6_addr, address.to_v6_bytes().data(), sizeof v6.sin6_addr);
    v6.sin6_scope_id = address.scope_id();
    std::memcpy(bytes_.data(), &v6, sizeof v6);
    size_ = sizeof v6;
}

std::optional<endpoint> socket_address::to_endpoint() const noexcept {
    if (family() == AF_INET && size_ >= sizeof(sockaddr_in)) {
        sockaddr_in v4;
        std::memcpy(&v4, bytes_.data(), sizeof v4);
        ip_address::v4_bytes bytes;
        std::memcpy(bytes.data(), &v4.sin_addr, bytes.size());
        return endpoint(ip_address(bytes), ntohs(v4.sin_port));
    }
    if (family() == AF_INET6 && size_ >= sizeof(sockaddr_in6)) {
        sockaddr_in6 v6;
        std::memcpy(&v6, bytes_.data(), sizeof v6);
        ip_address::v6_bytes bytes;
        std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
        return endpoint(ip_address(bytes, v6.sin6_scope_id), ntohs(v6.sin6_port));
    }
    return std::nullopt;
}

int socket_address::family() const noexcept {
    sa_family_t family = AF_UNSPEC;
    if (size_ >= sizeof family) {
        std::memcpy(&family, bytes_.data(), sizeof family);
    }
    return family;
}

sockaddr* socket_address::data() noexcept { return reinterpret_cast<sockaddr*>(bytes_.data()); }

const sockaddr* socket_address::data() const noexcept {
    return reinterpret_cast<const sockaddr*>(bytes_.data());
}

}  // namespace rondo::inline v0

auto fmt::formatter<rondo::endpoint>::format(const rondo::endpoint& value,
                                             fmt::format_context& context) const
    -> fmt::format_context::iterator {
    std::array<char, rondo::endpoint::max_text_size> text;
    const char* end = value.write_text(text.data());
    return fmt::formatter<fmt::string_view>::format(
        {text.data(), static_cast<std::size_t>(end - text.data())}, context);
}
