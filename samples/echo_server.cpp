// An echo server: what a client sends comes back. One task per connection, two lines each.
//
//     ./samples/run echo_server                  serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
//     ./samples/run echo_server unix:/tmp/echo   the same on a Unix socket; nc -U /tmp/echo
//     ./samples/run echo_server --threads 4      connections spread over four threads
//     kill -USR1 $(pidof echo_server)            shows what its tasks wait for, and in which line
#include <rondo/rondo.hpp>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

rondo::task<> echo(rondo::stream_socket peer) {
    while (auto data = co_await peer.recv())
        co_await peer.send(data);
}

template <typename Address>
void say_where(const Address& local) {
    fmt::print("listening on {}\n", local);
    std::fflush(stdout);
}

int serve_tcp(const std::string& where, unsigned threads) {
    rondo::serve_options options;
    options.end_on_reset = true;  // to an echo, a client that hangs up rudely has hung up
    options.on_listening = [](std::span<const rondo::endpoint> locals) {
        for (const auto& local : locals) say_where(local);
    };
    // Called on each thread; they share the port, and a connection stays on its thread.
    const auto serve = [&] { return rondo::tcp_serve(where, echo, options); };
    return rondo::run_main({.threads = threads}, serve);
}

int serve_unix(const std::string& path) {
    rondo::unix_serve_options options;
    options.end_on_reset = true;
    options.on_listening = [](const rondo::unix_address& local) { say_where(local); };
    return rondo::run_main(rondo::unix_serve(path, echo, options));
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    unsigned threads = 1;
    CLI::App app("Sends back what it receives, until Ctrl-C.");
    app.add_option("HOST:PORT", where, "where to listen; or unix:PATH")->capture_default_str();
    app.add_option("--threads", threads, "threads to serve on (TCP only); 0: all processors")
        ->capture_default_str();
    CLI11_PARSE(app, argc, argv);

    const std::string scheme = "unix:";
    if (where.starts_with(scheme)) return serve_unix(where.substr(scheme.size()));
    return serve_tcp(where, threads);
}
