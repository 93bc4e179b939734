// An echo server: what a client sends comes back. One task per connection, two lines each.
//
//     ./samples/run echo_server                  serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
//     ./samples/run echo_server unix:/tmp/echo   the same on a Unix socket; nc -U /tmp/echo
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

int serve_tcp(const std::string& where) {
    rondo::serve_options options;
    options.end_on_reset = true;  // to an echo, a client that hangs up rudely has hung up
    options.on_listening = [](std::span<const rondo::endpoint> locals) {
        for (const auto& local : locals) say_where(local);
    };
    return rondo::run_main(rondo::tcp_serve(where, echo, options));
}

int serve_unix(const std::string& path) {
    rondo::unix_serve_options options;
    options.end_on_reset = true;
    options.on_listening = [](const rondo::unix_address& local) { say_where(local); };
    return rondo::run_main(rondo::unix_serve(path, echo, options));
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    CLI::App app("Sends back what it receives, until Ctrl-C.");
    app.add_option("HOST:PORT", where, "where to listen; or unix:PATH")->capture_default_str();
    CLI11_PARSE(app, argc, argv);

    const std::string scheme = "unix:";
    return where.starts_with(scheme) ? serve_unix(where.substr(scheme.size())) : serve_tcp(where);
}
