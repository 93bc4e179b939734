#include <rondo/io/scheduler.hpp>
#include <rondo/log.hpp>
#include <rondo/net/serve.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>

namespace rondo::inline v0::detail {

using namespace std::chrono_literals;

/// Waits until a connection of the server has ended.
class slot_operation final : public waiter, public intrusive_hook {
public:
    explicit slot_operation(tcp_server& server) noexcept : server_(&server) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        context& where = awaiting.promise().task_context();
        cancelled_ = where.cancelled();
        where.wait_for(*this, awaiting);
        if (cancelled_) {
            where.loop().make_ready(*this);
        } else {
            server_->waiting_.push_back(*this);
        }
    }
    void await_resume() const {
        if (cancelled_) throw_canceled();
    }

private:
    void cancel() noexcept override {
        cancelled_ = true;
        unlink();
        where().loop().make_ready(*this);
    }

    tcp_server* server_;
    bool cancelled_ = false;
};

namespace {

constexpr auto first_pause = 5ms;
constexpr auto longest_pause = 1000ms;

constexpr int most_port_tries = 16;

tcp_listener listen_on(const endpoint& local, int backlog) {
    tcp_listener made(local.address().is_v4() ? ip_version::v4 : ip_version::v6);
    made.set(reuse_address{});
    made.bind(local);
    made.listen(backlog);
    return made;
}

bool out_of_resources(const std::error_code& error) {
    switch (error.value()) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            return true;
        default:
            return false;
    }
}

void log_failure(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& error) {
        log(std::string("a connection failed: ") + error.what());
    } catch (...) {
        log("a connection failed with an exception that is no std::exception");
    }
}

}  // namespace

tcp_server::tcp_server(context& here, serve_options options)
    : options_(std::move(options)),
      context_(here),
      stats_(options_.stats != nullptr ? options_.stats : &own_stats_) {}

tcp_server::~tcp_server() = default;

// --- listening -------------------------------------------------------------------------------

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
    for (tcp_listener& l : listeners_) l.set(no_delay{options_.no_delay});
    if (!options_.on_listening) return;
    std::vector<endpoint> locals;
    for (const tcp_listener& l : listeners_) locals.push_back(l.local_endpoint());
    options_.on_listening(locals);
}

// --- accepting -------------------------------------------------------------------------------

// The next connection to serve; a closed socket when the server stops.
task<tcp_socket> tcp_server::next(tcp_listener& listener) {
    std::chrono::milliseconds pause = first_pause;
    for (;;) {
        listener.state().set_room(room());
        auto accepted = co_await as_result(listener.accept());
        if (accepted) {
            // Another listener may have taken the last place in the same turn.
            while (room() == 0) co_await slot_operation(*this);
            co_return std::move(*accepted);
        }
        if (!out_of_resources(accepted.error())) {
            if (stopping_) co_return tcp_socket();
            if (accepted.error() == std::errc::operation_canceled) throw_canceled();
            const endpoint local = listener.local_endpoint();
            throw_socket_error("accept", accepted.error().value(), &local);
        }
        // The connection stays in the backlog; it is the descriptors that have to come back.
        ++stats().backed_off;
        if (pause == first_pause) {
            log("accepting pauses: " + accepted.error().message() + " (see ulimit -n)");
        }
        co_await sleep_for(pause);
        pause = std::min<std::chrono::milliseconds>(pause * 2, longest_pause);
    }
}

void tcp_server::begin(tcp_socket& accepted) {
    served_.push_back(accepted.state());
    accepted.end_on_reset(options_.end_on_reset);
    if (!options_.end_on_reset) accepted.remember_peer();
    // Accepted just before the stop began: served like the others.
    if (stopping_) ::shutdown(accepted.descriptor(), SHUT_RD);
    ++serving_;
    serve_stats& s = stats();
    ++s.accepted;
    s.most_serving = std::max(s.most_serving, ++s.serving);
    announce_room();
}

// Listeners near the limit change from accepting many to one by one, and at the limit to none.
void tcp_server::announce_room() {
    if (options_.max_connections == std::numeric_limits<std::size_t>::max()) return;
    for (tcp_listener& l : listeners_) l.state().set_room(room());
}

// --- the end ---------------------------------------------------------------------------------

void tcp_server::begin_stop() noexcept {
    stopping_ = true;
    accepting_.cancel();
    for (receive_state& state : served_) ::shutdown(state.descriptor(), SHUT_RD);
}

task<> tcp_server::join() {
    // First, so that who comes while the others are drained is refused instead of left waiting.
    listeners_.clear();
    // Children are joined whatever is cancelled around: they are, too.
    while (serving_ != 0) co_await shield(slot_operation(*this));
}

void tcp_server::child_failed(std::exception_ptr failure) noexcept {
    if (is_canceled(failure)) return;
    ++stats().failed;
    try {
        if (options_.on_failure) {
            options_.on_failure(std::move(failure));
        } else if (!is_connection_lost(failure)) {
            log_failure(failure);
        }
    } catch (...) {
        log("the hook for failed connections has thrown");
    }
}

void tcp_server::child_ended() noexcept {
    --serving_;
    --stats().serving;
    announce_room();
    while (slot_operation* w = waiting_.pop_front()) context_.loop().make_ready(*w);
}

}  // namespace rondo::inline v0::detail
