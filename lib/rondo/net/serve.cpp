#include <rondo/net/serve.hpp>

#include <cerrno>

namespace rondo::inline v0::detail {

namespace {

constexpr int most_port_tries = 16;

tcp_listener listen_on(const endpoint& local, int backlog) {
    tcp_listener made(local.address().is_v4() ? ip_version::v4 : ip_version::v6);
    made.set(reuse_address{});
    made.bind(local);
    made.listen(backlog);
    return made;
}

}  // namespace

tcp_server::tcp_server(context& here, serve_options options)
    : stream_server(here, {.max_connections = options.max_connections,
                           .end_on_reset = options.end_on_reset,
                           .remember_peers = !options.end_on_reset,
                           .on_failure = std::move(options.on_failure),
                           .stats = options.stats}),
      options_(std::move(options)) {}

void tcp_server::open(std::string_view host_port) {
    const std::vector<endpoint> wanted = parse_endpoints(host_port, "listen");
    for (int tries_left = most_port_tries; !open_all(wanted, tries_left > 1); --tries_left) {
        listeners_.clear();
    }
    listening();
}

// False where the port that the kernel chose for the first address is taken on another one, and
// `may_retry` says that another choice is wanted then.
bool tcp_server::open_all(std::span<const endpoint> wanted, bool may_retry) {
    std::exception_ptr failure;
    for (endpoint local : wanted) {
        // One port for all: what the kernel chose for the first holds for the others.
        const bool follows = local.port() == 0 && !listeners_.empty();
        if (follows) {
            local = endpoint(local.address(), listeners_.front().local_endpoint().port());
        }
        try {
            listeners_.push_back(listen_on(local, options_.backlog));
        } catch (const socket_error& error) {
            const int code = error.code().value();
            if (code == EADDRINUSE && follows && may_retry) return false;
            // A host without IPv6 serves localhost on 127.0.0.1 alone.
            if (code != EADDRNOTAVAIL && code != EAFNOSUPPORT) throw;
            failure = std::current_exception();
        }
    }
    if (listeners_.empty()) std::rethrow_exception(failure);
    return true;
}

void tcp_server::open(const endpoint& local) { open(listen_on(local, options_.backlog)); }

void tcp_server::open(tcp_listener listener) {
    listeners_.push_back(std::move(listener));
    listening();
}

void tcp_server::listening() {
    // Accepted connections inherit it from the listener, tcp(7).
    for (tcp_listener& l : listeners_) {
        l.set(no_delay{options_.no_delay});
        accept_through(l);
    }
    if (!options_.on_listening) return;
    std::vector<endpoint> locals;
    for (const tcp_listener& l : listeners_) locals.push_back(l.local_endpoint());
    options_.on_listening(locals);
}

void tcp_server::close_listeners() noexcept {
    forget_listeners();
    listeners_.clear();
}

}  // namespace rondo::inline v0::detail
