// What servers of stream sockets share: accept loops, isolated connections, an orderly end.
#pragma once

#include <rondo/net/stream_listener.hpp>
#include <rondo/net/stream_socket.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/child.hpp>
#include <rondo/task/graceful_stop.hpp>
#include <rondo/task/task_group.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

/// What has happened at one server.
struct serve_stats {
    std::uint64_t accepted = 0;  ///< connections taken
    std::uint64_t failed = 0;    ///< of these, ended by an exception (cancellations left out)
    std::uint64_t backed_off = 0;  ///< pauses because the process ran out of descriptors or memory
    std::uint64_t reached_limit = 0;  ///< times that the last of max_connections was taken
    std::size_t serving = 0;     ///< connections now
    std::size_t most_serving = 0;
};

namespace detail {

class slot_operation;

/// What a server is asked for, wherever it listens.
struct server_settings {
    std::size_t max_connections;
    bool end_on_reset;
    bool remember_peers;  ///< for their names in errors, where the kernel forgets them
    std::function<void(std::exception_ptr)> on_failure;
    serve_stats* stats;
};

/// One server: owner of the connections' tasks. Who derives from it owns the listeners.
class stream_server : public stop_hook {
public:
    stream_server(context& here, server_settings settings);
    stream_server(const stream_server&) = delete;
    stream_server& operator=(const stream_server&) = delete;

    std::span<stream_listener* const> listeners() const noexcept { return listeners_; }

    /// Accepts until the server is stopped or cancelled, and at a stop those who have connected by
    /// then; hands each connection to `start`.
    template <typename Start>
    task<> accept_from(stream_listener& listener, Start start) {
        context& here = co_await this_context();
        here.set_name("accept loop");
        for (;;) {
            stream_socket accepted = co_await next(listener);
            if (!accepted.is_open()) break;
            begin(accepted);
            start(std::move(accepted));
        }
        std::vector<stream_socket> last = co_await all_waiting(listener);
        for (stream_socket& accepted : last) {
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

    // For child<stream_server>.
    context& scope() noexcept { return context_; }
    void child_failed(std::exception_ptr failure) noexcept;
    void child_ended() noexcept;

protected:
    ~stream_server();

    void accept_through(stream_listener& listener) { listeners_.push_back(&listener); }
    /// To be called before the listeners are closed.
    void forget_listeners() noexcept { listeners_.clear(); }

private:
    friend class slot_operation;

    task<stream_socket> next(stream_listener& listener);
    task<std::vector<stream_socket>> all_waiting(stream_listener& listener);
    void begin(stream_socket& accepted);
    void announce_room();
    std::size_t room() const noexcept { return settings_.max_connections - serving_; }
    serve_stats& stats() const noexcept { return *stats_; }

    server_settings settings_;
    context context_;
    cancel_scope accepting_;
    bool stopping_ = false;
    std::size_t serving_ = 0;
    std::vector<stream_listener*> listeners_;
    intrusive_list<receive_state, served_hook> served_;
    intrusive_list<slot_operation> waiting_;  // for a slot, or for the end
    mutable serve_stats own_stats_;
    serve_stats* stats_;
};

template <typename Socket, typename Handler>
child<stream_server> serve_one(stream_server& server, Handler& handler, stream_socket peer) {
    context& here = co_await this_context();
    here.set_name("connection");
    auto work = std::invoke(handler, Socket(std::move(peer)));
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) server.child_failed(std::move(failure));
}

/// The body of a serving call, once the listeners are open.
template <typename Server, typename Handler>
task<> serve_all(Server& server, Handler& handler) {
    const auto start = [&](stream_socket peer) {
        serve_one<typename Server::socket_type, Handler>(server, handler, std::move(peer)).start();
    };
    auto loops = with_task_group([&](task_group& group) -> task<> {
        for (stream_listener* listener : server.listeners()) {
            group.spawn([&server, listener, start]() -> task<> {
                co_await server.accept_from(*listener, start);
            });
        }
        co_return;
    });
    context& here = co_await this_context();
    if (here.stop() != nullptr) here.stop()->add(server);
    auto accepting = server.accepting().run(std::move(loops));
    std::exception_ptr failure = co_await accepting.settle(here);
    // Stopped, the connections end by themselves; else they are cancelled with the server.
    if (failure && !server.stopping()) server.cancel();
    // First, so that who comes while the others are drained is refused instead of left waiting.
    server.close_listeners();
    co_await server.join();
    if (failure && !(server.stopping() && is_canceled(failure))) {
        std::rethrow_exception(std::move(failure));
    }
}

}  // namespace detail

}  // namespace rondo::inline v0
