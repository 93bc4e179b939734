// A TCP proxy: each client gets a connection to the target. Two copies run at the same time, and
// each direction ends by itself, so that a client that has nothing more to say still hears the
// rest of the answer. A connection that fails is no end of anything: the other side gets a reset,
// as it would without a proxy, and does not take half an answer for the whole. So does a client
// whose target does not answer at all.
//
//     ./samples/run echo_server localhost:8000             the target
//     ./samples/run proxy localhost:8080 localhost:8000    in between
//     echo hello | nc -N localhost 8080                    through both
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

// The end of the stream travels on like its bytes.
rondo::task<> forward(rondo::tcp_socket& from, rondo::tcp_socket& to) {
    co_await rondo::copy(from, to);
    to.shutdown(rondo::shutdown_mode::send);
}

// Where one direction fails, when_all() cancels the other. Then both connections are reset.
rondo::task<> proxy(rondo::tcp_socket client, std::string target) {
    auto connected = co_await rondo::as_result(rondo::tcp_connect(target));
    if (!connected) co_await client.abort();
    rondo::tcp_socket server = std::move(connected.value());  // throws
    server.set(rondo::no_delay{true});
    auto done = co_await rondo::as_result(
        rondo::when_all(forward(client, server), forward(server, client)));
    if (done) co_return;
    co_await client.abort();
    co_await server.abort();
    done.value();  // throws
}

// tcp_serve() by itself says nothing where a peer resets, but who runs a proxy wants to know.
void report(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& error) {
        fmt::print(stderr, "proxy: {}\n", error.what());
    }
}

int main(int argc, char** argv) {
    std::string where = "localhost:8080";
    std::string target = "localhost:8000";
    command_line line("Passes each connection on to TARGET, until Ctrl-C.");
    line.add("LISTEN", where, "where to listen");
    line.add("TARGET", target, "where to connect to");
    line.parse(argc, argv);

    rondo::serve_options options;
    options.on_listening = [](std::span<const rondo::endpoint> locals) {
        for (const auto& local : locals) fmt::print("listening on {}\n", local);
        std::fflush(stdout);
    };
    options.on_failure = report;
    const auto handler = [&](rondo::tcp_socket client) {
        return proxy(std::move(client), target);
    };
    return rondo::run_main(rondo::tcp_serve(where, handler, options));
}
