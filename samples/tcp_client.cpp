// A first TCP client: connect, send and receive, close.
//
//     ./samples/run tcp_client                            says hello to localhost:8000
//     ./samples/run tcp_client localhost:8000 one two     sends two messages
//
// TCP carries a stream of bytes and knows no messages. So the next one is sent after the answer to
// the last has come, and what came in one piece is taken for an answer; echo_client does without
// that.
#include "command_line.hpp"
#include "printable.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <stdexcept>

rondo::task<> talk(std::string where, std::vector<std::string> messages) {
    fmt::print("Connecting to {}\n", where);
    std::fflush(stdout);
    // 1. A socket, and the connection: localhost has two addresses, which are tried in turn.
    rondo::tcp_socket server = co_await rondo::tcp_connect(where);
    for (const std::string& message : messages) {
        if (message.empty()) continue;  // no bytes, no answer
        // 2. Send and receive.
        co_await server.send(message);
        auto answer = co_await server.recv();
        if (!answer) throw std::runtime_error("the server closed the connection too early");
        fmt::print("Received: {}\n", printable(answer.text()));
        std::fflush(stdout);
    }
    // 3. Close.
    co_await server.close();
    fmt::print("Connection closed\n");
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    std::vector<std::string> messages = {"Hello from client!"};
    command_line line("Sends each MESSAGE, or hello, and prints the answers.");
    line.add("HOST:PORT", where, "the server");
    line.add("MESSAGE", messages, "what to send");
    line.parse(argc, argv);

    return rondo::run_main(talk(where, messages));
}
