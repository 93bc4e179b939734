// A first UDP server: create a socket, bind, receive a datagram, answer its sender.
//
//     ./samples/run udp_server                   serves localhost:8000 until Ctrl-C
//     ./samples/run udp_client                   says hello to it
//     echo hello | nc -u -q 1 localhost 8000     so does this
//
// There are no connections: no listen, no accept, and one socket talks with everybody. Each
// datagram arrives whole or not at all, and nobody is told which. But what does not fit into the
// receiver's buffer is cut off, so the buffer here is as long as any datagram can be.
#include "command_line.hpp"
#include "printable.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

constexpr std::size_t longest_datagram = 65535;

template <typename... Values>
void print_line(fmt::format_string<Values...> format, Values&&... values) {
    fmt::print("{}\n", fmt::format(format, std::forward<Values>(values)...));
    std::fflush(stdout);  // at once, into a pipe as well
}

rondo::task<> answer_all(rondo::udp_socket& socket) {
    std::string buffer(longest_datagram, '\0');
    for (;;) {
        // 3. Receive.
        const auto data = co_await socket.recv_from(std::as_writable_bytes(std::span(buffer)));
        const rondo::endpoint from = data.from;
        print_line("Received {} bytes from ('{}', {})", data.size, from.address(), from.port());
        print_line("Data: {}", printable(std::string_view(buffer).substr(0, data.size)));
        try {
            // 4. Send. A failure concerns this client alone.
            co_await socket.send_to("Hello from UDP server!", from);
        } catch (const rondo::socket_error& failure) {
            fmt::print(stderr, "udp_server: {}\n", failure.what());
        }
        print_line("Waiting for data...");
    }
}

rondo::task<> serve(std::string where) {
    // 1. and 2. A socket with an address; localhost is ::1 and 127.0.0.1, and one for each.
    std::vector<rondo::udp_socket> sockets = rondo::udp_socket::bind_all(where);
    const std::string host = where.substr(0, where.rfind(':'));
    print_line("UDP Server is listening on {}:{}", host, sockets[0].local_endpoint().port());
    print_line("Waiting for data...");
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        for (rondo::udp_socket& each : sockets) group.spawn(answer_all, std::ref(each));
        co_return;
    });
    // 5. Both are closed here, when Ctrl-C has cancelled the tasks.
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    command_line line("Answers each datagram, and prints what came, until Ctrl-C.");
    line.add("HOST:PORT", where, "where to receive");
    line.parse(argc, argv);
    return rondo::run_main(serve(where));
}
