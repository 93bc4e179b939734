// A UDP echo server: each datagram goes back to whom it came from.
//
//     ./samples/run udp_echo_server              serves localhost:8000 until Ctrl-C
//     nc -u localhost 8000                       type lines; they come back
//
// A datagram is received into one buffer of the scheduler's, and what does not fit is cut off
// (`data.truncated()` tells). Buffers hold 16 KiB, enough for most protocols; this server takes
// all that is sent, so its buffers are longer than any datagram.
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

// The longest datagram, and in front of it a few bytes that tell its sender.
constexpr std::size_t buffer_size = 65535 + 1024;

// One task for each datagram, 64 at a time. Whatever fails, fails for its datagram alone.
rondo::task<> echo(rondo::udp_socket& socket, rondo::datagram data) {
    co_await socket.send_to(data, data.from());
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    command_line line("Sends back each datagram it receives, until Ctrl-C.");
    line.add("HOST:PORT", where, "where to receive");
    line.parse(argc, argv);

    rondo::udp_serve_options options;
    options.on_listening = [](std::span<const rondo::endpoint> locals) {
        for (const auto& local : locals) fmt::print("listening on {}\n", local);
        std::fflush(stdout);
    };
    const auto serve = [](std::string at, rondo::udp_serve_options how) {
        return rondo::udp_serve(std::move(at), echo, std::move(how));
    };
    return rondo::run_main({.buffers = {.buffer_size = buffer_size}}, serve, where, options);
}
