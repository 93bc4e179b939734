// An echo client: sends each message as a line and prints what comes back.
//
//     ./samples/run echo_client                        lines of standard input to localhost:8000
//     ./samples/run echo_client localhost:8000 hello   one message
//     ./samples/run echo_client unix:/tmp/echo         to echo_server on a Unix socket
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <stdexcept>

// An answer comes in as many pieces as the network likes.
rondo::task<> print_echo(rondo::stream_socket& server, std::size_t missing) {
    while (missing != 0) {
        auto data = co_await server.recv();
        if (!data) throw std::runtime_error("the server closed the connection too early");
        std::fwrite(data.data(), 1, data.size(), stdout);
        missing -= std::min(missing, data.size());
    }
    std::fflush(stdout);
}

// At the same time: a message too long for the buffers on its way must be read while it is sent.
rondo::task<> round_trip(rondo::stream_socket& server, const std::string& line) {
    co_await rondo::when_all(server.send(line), print_echo(server, line.size()));
}

rondo::task<rondo::stream_socket> connect(std::string where) {
    const std::string scheme = "unix:";
    if (where.starts_with(scheme)) {
        const rondo::unix_address path(where.substr(scheme.size()));
        rondo::unix_socket server = co_await rondo::unix_connect(path);
        co_return server;
    }
    rondo::tcp_socket server = co_await rondo::tcp_connect(where);
    co_return server;
}

// With its end, which the last line may not have; empty when there is none any more.
std::string next_line() {
    std::string line;
    if (std::getline(std::cin, line) && !std::cin.eof()) line += '\n';
    return line;
}

rondo::task<> talk(std::string where, std::vector<std::string> messages) {
    rondo::stream_socket server = co_await connect(where);
    for (std::string& message : messages) {
        message += '\n';
        co_await round_trip(server, message);
    }
    while (messages.empty()) {
        // On a helper thread: while it waits for somebody to type, Ctrl-C is to be heard.
        const std::string line = co_await rondo::blocking(next_line);
        if (line.empty()) break;
        co_await round_trip(server, line);
    }
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    std::vector<std::string> messages;
    command_line line("Sends each MESSAGE as a line, or the lines of standard input where none is "
                      "given, and prints what comes back.");
    line.add("HOST:PORT", where, "the server; or unix:PATH");
    line.add("MESSAGE", messages, "what to send");
    line.parse(argc, argv);

    // Where standard input is closed, something else would come to be it.
    if (::fcntl(STDIN_FILENO, F_GETFD) < 0) ::open("/dev/null", O_RDONLY);
    // A helper thread that still waits in it does not keep stdio's lock when the program ends.
    std::ios::sync_with_stdio(false);
    return rondo::run_main(talk(where, messages));
}
