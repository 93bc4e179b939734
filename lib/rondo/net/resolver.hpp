// Names to endpoints.
#pragma once

#include <rondo/net/endpoint.hpp>
#include <rondo/net/resolve_error.hpp>
#include <rondo/task/task.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::inline v0 {

/// Which addresses of a name resolve() returns.
struct resolve_options {
    /// Addresses of this version alone.
    std::optional<ip_version> version = {};
};

/// Completes when it is known which endpoints `host` (a name or an address) and `service` (a port
/// or a name of services(5)) mean; returns at least one, in the order to try them (RFC 6724).
/// Throws resolve_error, or argument_error for what can be no name. getaddrinfo(3) runs as a
/// blocking() call: cancelled, it is abandoned. Addresses and localhost are known at once.
task<std::vector<endpoint>> resolve(std::string host, std::string service,
                                    resolve_options options = {});
/// As resolve(host, service), for a port in host order.
task<std::vector<endpoint>> resolve(std::string host, std::uint16_t port,
                                    resolve_options options = {});

/// As resolve(host, service), for what a user types: `example.com:80`, `localhost:http`,
/// `[::1]:80`, and all that `parse_endpoints` reads.
task<std::vector<endpoint>> resolve(std::string host_port, resolve_options options = {});

namespace detail {

/// A host and a service whose form has been checked. The host has no brackets.
struct name_to_resolve {
    std::string host;
    std::string service;
};

/// Takes `host:service` apart. Throws argument_error, a line that starts with `verb`.
name_to_resolve parse_name(std::string_view host_port, std::string_view verb);
task<std::vector<endpoint>> resolve_name(name_to_resolve name, resolve_options options);

}  // namespace detail

}  // namespace rondo::inline v0
