// A TCP server: accept loops, one isolated task per connection, and an orderly end.
#pragma once

#include <rondo/net/stream_listener.hpp>
#include <rondo/net/stream_socket.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/child.hpp>
#include <rondo/task/graceful_stop.hpp>
#include <rondo/task/task_group.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

/// What has happened at one tcp_serve() call.
struct serve_stats {
    std::uint64_t accepted = 0;  ///< connections taken
    std::uint64_t failed = 0;    ///< of these, ended by an exception (cancellations left out)
    std::uint64_t backed_off = 0;  ///< pauses because the process ran out of descriptors or memory
    std::size_t serving = 0;     ///< connections now
    std::size_t most_serving = 0;
};

struct serve_options {
    /// Connections served at a time. At the limit accepting stops and newcomers wait in the
    /// backlog (one for each listener may have been accepted in the turn that reached it; it waits
    /// for its place unserved).
    std::size_t max_connections = std::numeric_limits<std::size_t>::max();
    int backlog = tcp_listener::default_backlog;
    /// Connections get no_delay{true}: what a handler sends at once is not held back until the
    /// peer has acknowledged what went before.
    bool no_delay = true;
    /// Connections get tcp_socket::end_on_reset(). A server of short connections whose clients
    /// hang up by a reset saves an exception each, about a tenth of what such a connection costs.
    bool end_on_reset = false;
    /// Called when the server listens, with the endpoints (ports chosen by the kernel filled in).
    std::function<void(std::span<const endpoint>)> on_listening = {};
    /// Called with the exception that ended a connection's handler, cancellation left out. Where
    /// none is given, rondo::log gets a line, but for peers that reset or vanished: they are
    /// everyday.
    std::function<void(std::exception_ptr)> on_failure = {};
    /// Kept up to date while the server runs; must outlive it. Servers may share one.
    serve_stats* stats = nullptr;
};

namespace detail {

class slot_operation;

/// One tcp_serve() call: owner of the connections' tasks.
class tcp_server final : public stop_hook {
public:
    tcp_server(context& here, serve_options options);
    ~tcp_server();

    void open(std::string_view host_port);
    void open(const endpoint& local);
    void open(tcp_listener listener);
    std::vector<tcp_listener>& listeners() noexcept { return listeners_; }

    /// Accepts until the server is stopped or cancelled; hands each connection to `start`.
    template <typename Start>
    task<> accept_from(tcp_listener& listener, Start start) {
        for (;;) {
            tcp_socket accepted = co_await next(listener);
            if (!accepted.is_open()) co_return;
            begin(accepted);
            start(std::move(accepted));
        }
    }

    /// Waits for the connections' tasks to end.
    task<> join();
    /// Ends every connection's task: an accept loop failed.
    void cancel() noexcept { context_.cancel(); }
    bool stopping() const noexcept { return stopping_; }
    cancel_scope& accepting() noexcept { return accepting_; }

    // stop_hook
    void begin_stop() noexcept override;

    // For child<tcp_server>.
    context& scope() noexcept { return context_; }
    void child_failed(std::exception_ptr failure) noexcept;
    void child_ended() noexcept;

private:
    friend class slot_operation;

    bool open_all(std::span<const endpoint> wanted, bool may_retry);
    task<tcp_socket> next(tcp_listener& listener);
    void begin(tcp_socket& accepted);
    void announce_room();
    std::size_t room() const noexcept { return options_.max_connections - serving_; }
    serve_stats& stats() const noexcept { return *stats_; }
    void listening();

    serve_options options_;
    context context_;
    cancel_scope accepting_;
    bool stopping_ = false;
    std::size_t serving_ = 0;
    std::vector<tcp_listener> listeners_;
    intrusive_list<receive_state, served_hook> served_;
    intrusive_list<slot_operation> waiting_;  // for a slot, or for the end
    mutable serve_stats own_stats_;
    serve_stats* stats_;
};

template <typename Handler>
child<tcp_server> serve_one(tcp_server& server, Handler& handler, tcp_socket peer) {
    context& here = co_await this_context();
    auto work = std::invoke(handler, std::move(peer));
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) server.child_failed(std::move(failure));
}

/// The body of tcp_serve(), once the listeners are open.
template <typename Handler>
task<> serve_all(tcp_server& server, Handler& handler) {
    const auto start = [&](tcp_socket peer) {
        serve_one<Handler>(server, handler, std::move(peer)).start();
    };
    auto loops = with_task_group([&](task_group& group) -> task<> {
        for (tcp_listener& listener : server.listeners()) {
            group.spawn([&server, &listener, start]() -> task<> {
                co_await server.accept_from(listener, start);
            });
        }
        co_return;
    });
    context& here = co_await this_context();
    auto accepting = server.accepting().run(std::move(loops));
    std::exception_ptr failure = co_await accepting.settle(here);
    // Stopped, the connections end by themselves; else they are cancelled with the server.
    if (failure && !server.stopping()) server.cancel();
    co_await server.join();
    if (failure && !(server.stopping() && is_canceled(failure))) {
        std::rethrow_exception(std::move(failure));
    }
}

}  // namespace detail

/// Listens on `where` ("localhost:8000" is ::1 and 127.0.0.1; or an endpoint, or an open
/// tcp_listener) and runs `handler(tcp_socket)` for every connection, each in a task of its own. A
/// handler's exception ends its connection alone. Completes when a graceful stop was asked for and
/// all connections have ended: then accepting ends, and every served connection gets
/// shutdown(SHUT_RD), so that it still reads what was received, then the end of the stream, and
/// can still send. Throws operation_canceled when cancelled, after all handlers have ended, and
/// socket_error when it cannot listen or accept. Out of descriptors it backs off and goes on.
template <typename Where, typename Handler>
    requires std::invocable<Handler&, tcp_socket>
task<> tcp_serve(Where where, Handler handler, serve_options options = {}) {
    context& here = co_await this_context();
    detail::tcp_server server(here, std::move(options));
    server.open(std::move(where));
    if (here.stop() != nullptr) here.stop()->add(server);
    co_await detail::serve_all(server, handler);
}

}  // namespace rondo::inline v0
