// A first TCP server: create a socket, bind, listen, accept, receive and send, close.
//
//     ./samples/run blocking/tcp_server          serves localhost:8000 until Ctrl-C
//     ./samples/run blocking/tcp_client          says hello to it
//     echo hello | nc -N localhost 8000          so does this
//
// It prints each step, and answers whatever it receives. One client at a time.
#include "interruption.hpp"

#include <array>
#include <thread>

namespace {

constexpr std::string_view answer = "Hello from server!";
constexpr int backlog = 128;  // so many may be connected and wait for their turn

net::descriptor listen_at(const net::address& where) {
    // 1. A socket, of IPv4 or IPv6. Non-blocking for accept() alone: it must not wait for a client
    //    that has left since it was announced.
    const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    net::descriptor listener(::socket(where.data()->sa_family, type, 0));
    if (listener.get() < 0) net::fail("socket");
    // Or a restart would have to wait until the connections of the last run have left TIME_WAIT.
    net::set_option(listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (where.data()->sa_family == AF_INET6) {
        net::set_option(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    // 2. Its address.
    if (::bind(listener.get(), where.data(), where.size) != 0) {
        net::fail("bind " + net::to_string(where));
    }
    // 3. From here on clients can connect.
    if (::listen(listener.get(), backlog) != 0) net::fail("listen " + net::to_string(where));
    return listener;
}

bool send_all(int socket, std::string_view bytes) {
    while (!bytes.empty()) {
        const auto sent = net::send_some(socket, bytes);
        if (sent < 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));  // send() may take a part only
    }
    return true;
}

// 5. Receive and send, until the client has ended its stream or is gone.
void talk(int client) {
    std::array<char, 4096> buffer;
    for (;;) {
        const ssize_t n = ::recv(client, buffer.data(), buffer.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) std::fprintf(stderr, "recv: %s\n", std::strerror(errno));
        if (n <= 0) return;
        const std::string_view received(buffer.data(), static_cast<std::size_t>(n));
        net::print_line("Received: ", net::printable(received));
        if (!send_all(client, answer)) {
            std::fprintf(stderr, "send: %s\n", std::strerror(errno));
            return;
        }
    }
}

// 4. The first of those who wait to be accepted.
void accept_one(int listener, net::accept_pause& pause) {
    net::address from;
    net::descriptor client(::accept4(listener, from.data(), &from.size, SOCK_CLOEXEC));
    if (client.get() >= 0) {
        net::print_line("Connection from ", net::to_pair(from));
        {
            const net::served served(client.get());
            talk(client.get());
        }
        client = {};  // 6. Close.
        net::print_line("Connection closed");
    } else if (pause.begins_with(errno)) {
        std::this_thread::sleep_until(pause.end());
    } else if (!net::is_of_connection(errno)) {
        net::fail("accept");
    }
}

void run(const std::string& where) {
    net::hold_signals();
    const auto listeners = net::bind_all(where, SOCK_STREAM, listen_at);
    net::print_line("Server is listening on ", net::with_real_port(where, listeners.front().get()));
    net::accept_pause pause;
    for (;;) {
        net::print_line("Waiting for a connection...");
        const int ready = net::wait_readable(listeners);  // localhost has two addresses
        if (ready < 0) return;
        accept_one(ready, pause);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Answers what it receives, and prints each step, until Ctrl-C."};
    return net::run(argc, argv, about, [](const std::string& where, const auto&) { run(where); });
}
