// An echo server: what a client sends comes back. One task per connection, two lines each.
//
//     ./samples/run echo_server                  serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
#include <rondo/rondo.hpp>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

rondo::task<> echo(rondo::tcp_socket peer) {
    while (auto data = co_await peer.recv())
        co_await peer.send(data);
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    CLI::App app("Sends back what it receives, until Ctrl-C.");
    app.add_option("HOST:PORT", where, "where to listen")->capture_default_str();
    CLI11_PARSE(app, argc, argv);

    rondo::serve_options options;
    options.end_on_reset = true;  // to an echo, a client that hangs up rudely has hung up
    options.on_listening = [](std::span<const rondo::endpoint> locals) {
        for (const auto& local : locals) fmt::print("listening on {}\n", local);
        std::fflush(stdout);
    };
    return rondo::run_main(rondo::tcp_serve(where, echo, options));
}
