// A first TCP server: create a socket, bind, listen, accept, receive and send, close.
//
//     ./samples/run tcp_server                   serves localhost:8000 until Ctrl-C
//     ./samples/run tcp_client                   says hello to it
//     echo hello | nc -N localhost 8000          so does this
//
// It prints each step, and answers whatever it receives. One client at a time: the next one waits
// in the backlog. echo_server serves all at once.
#include "command_line.hpp"
#include "printable.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

template <typename... Values>
void print_line(fmt::format_string<Values...> format, Values&&... values) {
    fmt::print("{}\n", fmt::format(format, std::forward<Values>(values)...));
    std::fflush(stdout);  // at once, into a pipe as well
}

void print_origin(const rondo::tcp_socket& client) {
    try {
        const rondo::endpoint from = client.remote_endpoint();
        print_line("Connection from ('{}', {})", from.address(), from.port());
    } catch (const rondo::socket_error&) {
        // It was reset while it waited: the kernel has forgotten who it was.
        print_line("Connection from a client that is gone already");
    }
}

rondo::task<> talk(rondo::tcp_socket& client) {
    print_origin(client);
    // 5. Receive and send, until the client has ended its stream.
    while (auto data = co_await client.recv()) {
        print_line("Received: {}", printable(data.text()));
        co_await client.send("Hello from server!");
    }
}

rondo::task<> serve(std::string where) {
    // localhost is ::1 and 127.0.0.1; one listener takes one of them.
    const rondo::endpoint local = rondo::parse_endpoints(where, "listen").back();
    const bool is_v4 = local.address().is_v4();

    // 1. A socket, of IPv4 or IPv6.
    rondo::tcp_listener listener(is_v4 ? rondo::ip_version::v4 : rondo::ip_version::v6);
    // Or a restart would have to wait until the connections of the last run have left TIME_WAIT.
    listener.set(rondo::reuse_address{});
    // 2. Its address.
    listener.bind(local);
    // 3. From here on clients can connect.
    listener.listen();
    const std::string host = where.substr(0, where.rfind(':'));
    print_line("Server is listening on {}:{}", host, listener.local_endpoint().port());

    for (;;) {
        print_line("Waiting for a connection...");
        // 4. The first of those who wait.
        rondo::tcp_socket client = co_await listener.accept();
        try {
            co_await talk(client);
        } catch (const std::system_error& end) {
            // Ctrl-C is no failure; the next accept() ends the program.
            if (end.code() != std::errc::operation_canceled) {
                fmt::print(stderr, "tcp_server: {}\n", end.what());
            }
        }
        // 6. Close, after Ctrl-C as well.
        co_await rondo::shield(client.close());
        print_line("Connection closed");
    }
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    command_line line("Answers what it receives, and prints each step, until Ctrl-C.");
    line.add("HOST:PORT", where, "where to listen");
    line.parse(argc, argv);

    return rondo::run_main(serve(where));
}
