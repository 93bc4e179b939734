#include <rondo/detail/quoted.hpp>
#include <rondo/io/blocking.hpp>
#include <rondo/net/resolver.hpp>
#include <rondo/net/socket_error.hpp>

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace rondo::inline v0 {

namespace {

using detail::name_to_resolve;
using detail::quoted;

bool is_any(std::string_view host) noexcept { return host.empty() || host == "*"; }

bool is_number(std::string_view service) noexcept {
    return std::ranges::all_of(service, [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<std::uint16_t> port_of(std::string_view service) noexcept {
    const auto number = detail::parse_decimal(service, 65535);
    if (!number) return std::nullopt;
    return static_cast<std::uint16_t>(*number);
}

// What needs nobody to be asked; empty for a name.
std::vector<ip_address> addresses_of(std::string_view host) {
    if (host == "localhost") return {ip_address::v6_loopback(), ip_address::v4_loopback()};
    if (is_any(host)) return {ip_address::v6_any(), ip_address::v4_any()};
    if (const auto address = ip_address::parse(host)) return {*address};
    return {};
}

// What getaddrinfo() would take for something else than its user, or would cut at the zero byte.
std::string explain_text(std::string_view host, std::string_view service) {
    if (host.find('\0') != host.npos || service.find('\0') != service.npos) {
        return "a zero byte is part of no name";
    }
    if (is_number(service) && !port_of(service)) return detail::explain_port(service);
    return {};
}

// --- on a helper thread ------------------------------------------------------------------------

struct answer {
    int failure = 0;       // an EAI_*, or 0
    int system_error = 0;  // the errno of an EAI_SYSTEM
    std::vector<endpoint> found;
};

struct free_list {
    void operator()(addrinfo* first) const noexcept { ::freeaddrinfo(first); }
};

void append(std::vector<endpoint>& found, const addrinfo& entry) {
    socket_address name;
    if (entry.ai_addrlen > name.size()) return;
    std::memcpy(name.data(), entry.ai_addr, entry.ai_addrlen);
    *name.size_pointer() = entry.ai_addrlen;
    const auto where = name.to_endpoint();
    // A service of TCP and of UDP is there twice.
    if (where && std::ranges::find(found, *where) == found.end()) found.push_back(*where);
}

// An empty host asks for the service alone.
answer look_up(const name_to_resolve& name, std::optional<ip_version> version) {
    addrinfo hints{};
    hints.ai_family = !version ? AF_UNSPEC : *version == ip_version::v4 ? AF_INET : AF_INET6;
    if (is_number(name.service)) {
        hints.ai_socktype = SOCK_STREAM;  // any one would do: a number means the same for all
        hints.ai_flags = AI_NUMERICSERV;
    }
    answer made;
    addrinfo* first = nullptr;
    const char* host = name.host.empty() ? nullptr : name.host.c_str();
    made.failure = ::getaddrinfo(host, name.service.c_str(), &hints, &first);
    if (made.failure == EAI_SYSTEM) made.system_error = errno;
    if (made.failure != 0) return made;
    const std::unique_ptr<addrinfo, free_list> owned(first);
    for (const addrinfo* each = first; each != nullptr; each = each->ai_next) {
        append(made.found, *each);
    }
    if (made.found.empty()) made.failure = EAI_NODATA;
    return made;
}

// --- errors ------------------------------------------------------------------------------------

std::string hint_for(int failure, const name_to_resolve& name, std::optional<ip_version> version) {
    const char* database = !version                       ? "ahosts"
                           : *version == ip_version::v4 ? "ahostsv4"
                                                          : "ahostsv6";
    switch (failure) {
        case EAI_NONAME:
            return fmt::format("check the spelling; see getent {} {}", database, quoted(name.host));
        case EAI_NODATA:
        case EAI_ADDRFAMILY:
            return fmt::format("the name exists, but not with such an address; see getent {} {}",
                               database, quoted(name.host));
        case EAI_AGAIN:
            return "no name server has answered; see /etc/resolv.conf, or try again later";
        case EAI_FAIL: return "a name server cannot answer; see /etc/resolv.conf";
        case EAI_SERVICE: return "no such service; see /etc/services, or give the port's number";
        default: return {};
    }
}

[[noreturn]] void throw_failure(const answer& failed, const name_to_resolve& name,
                                std::optional<ip_version> version) {
    const std::error_code code =
        failed.failure == EAI_SYSTEM
            ? std::error_code(failed.system_error, std::generic_category())
            : std::error_code(failed.failure, resolver_category());
    const std::string asked =
        failed.failure == EAI_SERVICE ? name.host + ':' + name.service : name.host;
    std::string sentence = fmt::format("resolve {}: {}", quoted(asked), code.message());
    const std::string hint = hint_for(failed.failure, name, version);
    if (!hint.empty()) sentence += fmt::format(" ({})", hint);
    throw resolve_error(code, sentence);
}

}  // namespace

namespace detail {

name_to_resolve parse_name(std::string_view host_port, std::string_view verb) {
    const auto parts = split_host_and_port(host_port);
    // What cannot be taken apart is explained there.
    if (!parts) parse_endpoints(host_port, verb);
    const auto refuse = [&](const std::string& reason) {
        return argument_error(fmt::format("{} {}: {}", verb, quoted(host_port), reason));
    };
    const auto address = ip_address::parse(parts->host);
    const bool has_colon = parts->host.find(':') != std::string_view::npos;
    const bool may_be_name = !parts->is_bracketed && !has_colon && !looks_like_v4(parts->host);
    const bool is_address = address && address->is_v6() == parts->is_bracketed;
    if (!may_be_name && !is_address) throw refuse(explain_host(*parts));
    const std::string wrong = explain_text(parts->host, parts->port);
    if (!wrong.empty()) throw refuse(wrong);
    return {std::string(parts->host), std::string(parts->port)};
}

task<std::vector<endpoint>> resolve_name(name_to_resolve name, resolve_options options) {
    const std::vector<ip_address> addresses = addresses_of(name.host);
    const std::optional<std::uint16_t> port = port_of(name.service);
    answer got;
    if (addresses.empty()) {
        got = co_await blocking(look_up, name, options.version);
    } else {
        std::optional<std::uint16_t> found = port;
        if (!found) {
            const name_to_resolve service_alone{{}, name.service};
            got = co_await blocking(look_up, service_alone, std::optional<ip_version>());
            if (got.failure == 0) found = got.found.front().port();
            got.found.clear();
        }
        for (const ip_address& each : addresses) {
            const ip_version version = each.is_v4() ? ip_version::v4 : ip_version::v6;
            if (options.version.value_or(version) != version) continue;
            got.found.emplace_back(each, found.value_or(0));
        }
        if (got.failure == 0 && got.found.empty()) got.failure = EAI_ADDRFAMILY;
    }
    if (got.failure != 0) throw_failure(got, name, options.version);
    co_return std::move(got.found);
}

}  // namespace detail

task<std::vector<endpoint>> resolve(std::string host, std::string service,
                                    resolve_options options) {
    const auto refuse = [&](const std::string& reason) {
        return argument_error(fmt::format("resolve {}: {}", quoted(host), reason));
    };
    if (addresses_of(host).empty()) {
        if (host.find(':') != host.npos) {
            throw refuse("a name has no colon, and it is no IPv6 address");
        }
        if (detail::looks_like_v4(host)) throw refuse(detail::explain_host({host, service}));
    }
    const std::string wrong = explain_text(host, service);
    if (!wrong.empty()) throw refuse(wrong);
    name_to_resolve name{std::move(host), std::move(service)};
    auto found = co_await detail::resolve_name(std::move(name), options);
    co_return found;
}

task<std::vector<endpoint>> resolve(std::string host, std::uint16_t port,
                                    resolve_options options) {
    auto found = co_await resolve(std::move(host), std::to_string(port), options);
    co_return found;
}

task<std::vector<endpoint>> resolve(std::string host_port, resolve_options options) {
    name_to_resolve name = detail::parse_name(host_port, "resolve");
    auto found = co_await detail::resolve_name(std::move(name), options);
    co_return found;
}

}  // namespace rondo::inline v0
