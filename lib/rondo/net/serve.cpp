#include <rondo/io/scheduler.hpp>
#include <rondo/io/thread_group.hpp>
#include <rondo/net/serve.hpp>

#include <cerrno>
#include <cstdint>
#include <memory>

namespace rondo::inline v0::detail {

namespace {

constexpr int most_port_tries = 16;

// On several threads an address is taken exclusively first, so that a clash with another program
// shows, and opened to the other threads before it listens.
enum class place : std::uint8_t { alone, first_of_many, one_of_many };

tcp_listener listen_on(const endpoint& local, int backlog, place among) {
    tcp_listener made(local.address().is_v4() ? ip_version::v4 : ip_version::v6);
    made.set(reuse_address{});
    if (among == place::one_of_many) made.set(reuse_port{});
    made.bind(local);
    if (among == place::first_of_many) made.set(reuse_port{});
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
      scheduler_(&scheduler::of(here)),
      options_(std::move(options)) {}

void tcp_server::open(std::string_view host_port) {
    const std::vector<endpoint> wanted = parse_endpoints(host_port, "listen");
    open("tcp " + std::string(host_port), wanted);
}

void tcp_server::open(const endpoint& local) {
    open("tcp endpoint " + local.to_string(), std::span(&local, 1));
}

void tcp_server::open(const std::string& name, std::span<const endpoint> wanted) {
    thread_group* const group = scheduler_->group();
    if (group == nullptr) return announce(open_first(wanted));
    bool first = false;
    const auto locals = group->share<std::vector<endpoint>>(*scheduler_, name, first, [&] {
        return std::make_shared<std::vector<endpoint>>(open_first(wanted));
    });
    if (first) return announce(*locals);
    for (const endpoint& local : *locals) {
        listeners_.push_back(listen_on(local, options_.backlog, place::one_of_many));
    }
    for (tcp_listener& listener : listeners_) take_up(listener);
}

std::vector<endpoint> tcp_server::open_first(std::span<const endpoint> wanted) {
    for (int tries_left = most_port_tries; !open_all(wanted, tries_left > 1); --tries_left) {
        listeners_.clear();
    }
    std::vector<endpoint> locals;
    for (tcp_listener& listener : listeners_) {
        take_up(listener);
        locals.push_back(listener.local_endpoint());
    }
    return locals;
}

// False where the port that the kernel chose for the first address is taken on another one, and
// `may_retry` says that another choice is wanted then.
bool tcp_server::open_all(std::span<const endpoint> wanted, bool may_retry) {
    const place among = scheduler_->group() == nullptr ? place::alone : place::first_of_many;
    std::exception_ptr failure;
    for (endpoint local : wanted) {
        // One port for all: what the kernel chose for the first holds for the others.
        const bool follows = local.port() == 0 && !listeners_.empty();
        if (follows) {
            local = endpoint(local.address(), listeners_.front().local_endpoint().port());
        }
        try {
            listeners_.push_back(listen_on(local, options_.backlog, among));
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

void tcp_server::open(tcp_listener listener) {
    listeners_.push_back(std::move(listener));
    take_up(listeners_.back());
    const endpoint local = listeners_.back().local_endpoint();
    announce(std::span(&local, 1));
}

void tcp_server::take_up(tcp_listener& listener) {
    // Accepted connections inherit it from the listener, tcp(7).
    listener.set(no_delay{options_.no_delay});
    accept_through(listener);
}

void tcp_server::announce(std::span<const endpoint> locals) {
    if (options_.on_listening) options_.on_listening(locals);
}

void tcp_server::close_listeners() noexcept {
    forget_listeners();
    listeners_.clear();
}

}  // namespace rondo::inline v0::detail
