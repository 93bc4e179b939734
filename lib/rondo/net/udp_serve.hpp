// A UDP server: some tasks for each socket, datagrams handled in isolation, and an orderly end.
#pragma once

#include <rondo/net/datagram.hpp>
#include <rondo/net/datagram_operation.hpp>
#include <rondo/net/udp.hpp>
#include <rondo/task/graceful_stop.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

/// How udp_serve() serves. Every field has a default.
struct udp_serve_options {
    /// Datagrams handled at a time, for each socket; more wait their turn.
    std::size_t handlers = 64;
    /// Called when the sockets are bound, with their endpoints.
    std::function<void(std::span<const endpoint>)> on_listening = {};
    /// Called with the exception that ended a datagram's handler, cancellation left out, and with
    /// what the network has told of an answer. Where none is given, rondo::log gets a line.
    std::function<void(std::exception_ptr)> on_failure = {};
};

namespace detail {

/// One udp_serve() call.
class udp_server final : public stop_hook {
public:
    explicit udp_server(udp_serve_options options) : options_(std::move(options)) {}

    void open(std::string_view host_port);
    void open(const endpoint& local);
    void open(udp_socket socket);
    std::vector<udp_socket>& sockets() noexcept { return sockets_; }
    std::size_t handlers() const noexcept { return options_.handlers; }

    /// After a receive that failed: false when the server has stopped. Throws when it cannot go on.
    task<bool> goes_on(udp_socket& socket, std::error_code error);
    void failed(const std::exception_ptr& failure) noexcept;

    // stop_hook
    void begin_stop() noexcept override;

private:
    void listening();

    udp_serve_options options_;
    std::vector<udp_socket> sockets_;
    bool stopping_ = false;
};

/// One of the tasks of a socket.
template <typename Handler>
task<> serve_datagrams(udp_server& server, udp_socket& socket, Handler& handler) {
    context& here = co_await this_context();
    for (;;) {
        auto received = co_await as_result(socket.recv_from());
        if (!received) {
            const bool again = co_await server.goes_on(socket, received.error());
            if (!again) co_return;
            continue;
        }
        std::exception_ptr failure;
        try {
            // A handler that is no coroutine throws here, before there is a task.
            auto work = std::invoke(handler, socket, std::move(*received));
            failure = co_await work.settle(here);
        } catch (...) {
            failure = std::current_exception();
        }
        if (failure) server.failed(failure);
    }
}

/// The body of udp_serve(), once the sockets are bound.
template <typename Handler>
task<> serve_all_datagrams(udp_server& server, Handler& handler) {
    co_await with_task_group([&](task_group& group) -> task<> {
        for (udp_socket& socket : server.sockets()) {
            for (std::size_t i = 0; i < server.handlers(); ++i) {
                group.spawn([&server, &socket, &handler]() -> task<> {
                    co_await serve_datagrams(server, socket, handler);
                });
            }
        }
        co_return;
    });
}

}  // namespace detail

/// Binds `where` ("localhost:8000" is ::1 and 127.0.0.1; or an endpoint, or a bound udp_socket)
/// and calls `handler(udp_socket&, datagram)`, which returns a task, for every datagram; up to
/// `handlers` of them run at a time for each socket. A handler's exception ends the handling of
/// its datagram alone. Completes when a graceful stop was asked for and what had arrived by then
/// has been handled. Throws operation_canceled when cancelled, after all handlers have ended, and
/// socket_error when it cannot bind or receive. On several threads (run_options::threads) the
/// second call for an address ends with EADDRINUSE: tcp_serve() alone shares its address.
template <typename Where, typename Handler>
    requires std::invocable<Handler&, udp_socket&, datagram>
task<> udp_serve(Where where, Handler handler, udp_serve_options options = {}) {
    context& here = co_await this_context();
    detail::udp_server server(std::move(options));
    server.open(std::move(where));
    if (here.stop() != nullptr) here.stop()->add(server);
    co_await detail::serve_all_datagrams(server, handler);
}

}  // namespace rondo::inline v0
