// A TCP proxy: each client gets a connection to the target. Two copies run at the same time, and
// each direction ends by itself, so that a client that has nothing more to say still hears the
// rest of the answer. A connection that fails is no end of anything: the other side gets a reset,
// as it would without a proxy, and does not take half an answer for the whole. So does a client
// whose target does not answer at all.
//
// A stop cuts the clients short: what had come from them by then still goes to the target, and its
// answer back. But they have not ended, so the target is not told that they have: it would take
// half an upload for the whole. When its answer has ended, or the 10 seconds of the stop are over
// (or Ctrl-C comes again), it gets a reset.
//
// Who has vanished without a word, or takes nothing for a minute, is given up.
//
//     ./samples/run echo_server localhost:8000             the target
//     ./samples/run proxy localhost:8080 localhost:8000    in between
//     echo hello | nc -N localhost 8080                    through both
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <chrono>
#include <tuple>

constexpr std::chrono::seconds patience(60);

void set_options(rondo::tcp_socket& socket) {
    socket.set(rondo::no_delay{true});
    socket.set(rondo::user_timeout(patience));
    socket.set(rondo::keep_alive(patience, patience / 4, 4));
}

// Whether the peer has ended its stream. A socket that was shut down here, as tcp_serve() does at a
// stop, reads as ended, too; its state tells the two apart.
bool is_ended_by_peer(const rondo::tcp_socket& socket) {
    switch (socket.info().state) {
        case rondo::tcp_state::close_wait:
        case rondo::tcp_state::last_ack:
        case rondo::tcp_state::closing:
        case rondo::tcp_state::time_wait:
        case rondo::tcp_state::closed: return true;
        default: return false;
    }
}

void end_stream(rondo::tcp_socket& to) {
    try {
        to.shutdown(rondo::shutdown_mode::send);
    } catch (const rondo::socket_error& failed) {
        if (failed.code() != std::errc::not_connected) throw;  // else the other direction will tell
    }
}

// The end of the stream travels on like its bytes. False where it was no end, but a stop.
rondo::task<bool> forward(rondo::tcp_socket& from, rondo::tcp_socket& to) {
    co_await rondo::copy(from, to);
    if (!is_ended_by_peer(from)) co_return false;
    co_await rondo::copy(from, to);  // what came between a stop and the end
    end_stream(to);
    co_return true;
}

// Where one direction fails, when_all() cancels the other. Then both connections are reset.
rondo::task<> proxy(rondo::tcp_socket client, std::string target) {
    set_options(client);
    auto connected = co_await rondo::as_result(rondo::tcp_connect(target));
    if (!connected) co_await client.abort();
    rondo::tcp_socket server = std::move(connected.value());  // throws
    set_options(server);
    auto done = co_await rondo::as_result(
        rondo::when_all(forward(client, server), forward(server, client)));
    if (!done) co_await client.abort();
    const bool whole = done && std::get<0>(*done);
    if (!whole) co_await server.abort();
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
