// An echo server: what a client sends comes back. One task per connection, two lines each.
//
//     ./samples/run echo_server                  serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
//     ./samples/run echo_server unix:/tmp/echo   the same on a Unix socket; nc -U /tmp/echo
//     ./samples/run echo_server --threads 4      connections spread over four threads
//     ./samples/run echo_server --limit 1000 --idle 60 --stats    for a world that is not kind
//     kill -USR1 $(pidof echo_server)            shows what its tasks wait for, and in which line
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <chrono>
#include <limits>

rondo::task<> echo(rondo::stream_socket peer) {
    while (auto data = co_await peer.recv())
        co_await peer.send(data);
}

constexpr unsigned most_threads = 1024;

struct settings {
    unsigned threads = 1;
    std::size_t limit = std::numeric_limits<std::size_t>::max();  // connections
    std::chrono::duration<double> idle{0};                        // 0: for ever
    bool stats = false;
};

// The same, but who says nothing, or takes nothing, for so long has had its time.
rondo::task<> echo_until_idle(rondo::stream_socket peer, std::chrono::duration<double> idle,
                              std::size_t& timed_out) {
    try {
        while (auto data = co_await rondo::with_timeout(idle, peer.recv()))
            co_await rondo::with_timeout(idle, peer.send(data));
    } catch (const rondo::operation_timed_out&) {
        ++timed_out;
    }
}

void print_stats(const rondo::serve_stats& server, std::size_t timed_out,
                 const rondo::scheduler& loop) {
    fmt::print("accepted {} connections, at most {} at a time: {} timed out, {} failed; at the "
               "limit {} times, out of descriptors {} times\n",
               server.accepted, server.most_serving, timed_out, server.failed,
               server.reached_limit, server.backed_off);
    const rondo::scheduler_stats counters = loop.stats();
    fmt::print("{}", rondo::prometheus_text(std::span(&counters, 1)));
}

// Called on each thread; they share the port, and a connection stays on its thread.
rondo::task<> serve(std::string where, rondo::serve_options options, settings chosen) {
    rondo::serve_stats stats;
    std::size_t timed_out = 0;
    options.stats = &stats;
    const auto handler = [&](rondo::stream_socket peer) {
        return chosen.idle.count() == 0
                   ? echo(std::move(peer))
                   : echo_until_idle(std::move(peer), chosen.idle, timed_out);
    };
    co_await rondo::tcp_serve(where, handler, options);
    const rondo::scheduler& loop = co_await rondo::this_scheduler();
    if (chosen.stats) print_stats(stats, timed_out, loop);
}

template <typename Address>
void say_where(const Address& local) {
    fmt::print("listening on {}\n", local);
    std::fflush(stdout);
}

int serve_tcp(const std::string& where, const settings& chosen) {
    rondo::serve_options options;
    options.max_connections = chosen.limit;
    options.end_on_reset = true;  // to an echo, a client that hangs up rudely has hung up
    options.on_listening = [](std::span<const rondo::endpoint> locals) {
        for (const auto& local : locals) say_where(local);
    };
    return rondo::run_main({.threads = chosen.threads}, serve, where, options, chosen);
}

int serve_unix(const std::string& path) {
    rondo::unix_serve_options options;
    options.end_on_reset = true;
    options.on_listening = [](const rondo::unix_address& local) { say_where(local); };
    return rondo::run_main(rondo::unix_serve(path, echo, options));
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    settings chosen;
    double idle = 0;
    command_line line("Sends back what it receives, until Ctrl-C.", "All options are for TCP.");
    line.add("HOST:PORT", where, "where to listen; or unix:PATH");
    line.add("--threads", chosen.threads, "threads to serve on; 0: all processors")
        .between(0u, most_threads);
    line.add("--limit", chosen.limit, "most connections at a time, on each thread")
        .positive()
        .hide_default();
    line.add("--idle", idle, "seconds after which a silent or stuck client is gone")
        .not_negative()
        .hide_default();
    line.flag("--stats", chosen.stats, "print counters at the end");
    line.parse(argc, argv);
    chosen.idle = std::chrono::duration<double>(idle);

    const std::string scheme = "unix:";
    if (where.starts_with(scheme)) return serve_unix(where.substr(scheme.size()));
    return serve_tcp(where, chosen);
}
