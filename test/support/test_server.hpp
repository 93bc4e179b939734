// A tcp_serve() that a test stops by itself.
#pragma once

#include <rondo/net/serve.hpp>
#include <rondo/task/graceful_stop.hpp>

#include <support/eventually.hpp>

#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace rondo::test {

/// What a test sees of its server. It must outlive the server's task.
struct test_server {
    graceful_stop stop;
    serve_stats stats;
    std::vector<endpoint> endpoints;            ///< known once it listens
    std::vector<std::exception_ptr> failures;   ///< of connections
    bool ended = false;
};

/// Runs tcp_serve() until `server.stop` is requested. To be spawned: it has a context of its own.
template <typename Where, typename Handler>
task<> serve(test_server& server, Where where, Handler handler, serve_options options = {}) {
    context& here = co_await this_context();
    here.set_stop(server.stop);
    options.stats = &server.stats;
    options.on_listening = [&server, next = std::move(options.on_listening)](
                               std::span<const endpoint> where_it_listens) {
        server.endpoints.assign(where_it_listens.begin(), where_it_listens.end());
        if (next) next(where_it_listens);
    };
    if (!options.on_failure) {
        options.on_failure = [&server](std::exception_ptr failure) {
            server.failures.push_back(std::move(failure));
        };
    }
    co_await tcp_serve(std::move(where), std::move(handler), std::move(options));
    server.ended = true;
}

/// Waits until it listens; returns the first of its endpoints.
inline task<endpoint> listening(test_server& server) {
    co_await eventually([&] { return !server.endpoints.empty(); });
    co_return server.endpoints.at(0);
}

/// The handler of the first page of the guide.
inline task<> echo(tcp_socket peer) {
    while (const chunk data = co_await peer.recv()) co_await peer.send(data);
}

}  // namespace rondo::test
