// A TCP proxy: each client gets a connection to the target. Two copies run at the same time, and
// each direction ends by itself, so that a client that has nothing more to say still hears the
// rest of the answer.
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

// Where one direction fails, when_all() cancels the other, and both connections are closed.
rondo::task<> proxy(rondo::tcp_socket client, std::string target) {
    rondo::tcp_socket server = co_await rondo::tcp_connect(target);
    server.set(rondo::no_delay{true});
    co_await rondo::when_all(forward(client, server), forward(server, client));
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
    const auto handler = [&](rondo::tcp_socket client) {
        return proxy(std::move(client), target);
    };
    return rondo::run_main(rondo::tcp_serve(where, handler, options));
}
