// A first UDP server: create a socket, bind, receive a datagram, answer its sender.
//
//     ./samples/run blocking/udp_server          serves localhost:8000 until Ctrl-C
//     ./samples/run blocking/udp_client          says hello to it
//     echo hello | nc -u -q 1 localhost 8000     so does this
//
// There are no connections: no listen, no accept, and one socket talks with everybody. Each
// datagram arrives whole or not at all, and nobody is told which.
#include "interruption.hpp"

namespace {

constexpr std::string_view answer = "Hello from UDP server!";
constexpr std::size_t longest_datagram = 65535;

net::descriptor bind_at(const net::address& where) {
    // 1. A socket for datagrams.
    net::descriptor made(::socket(where.data()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (made.get() < 0) net::fail("socket");
    if (where.data()->sa_family == AF_INET6) {
        net::set_option(made.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    // 2. Its address.
    if (::bind(made.get(), where.data(), where.size) != 0) {
        net::fail("bind " + net::to_string(where));
    }
    return made;
}

void answer_one(int socket, std::string& buffer) {
    net::address from;
    // 3. Receive. What made the socket readable may turn out broken and be dropped: do not wait.
    const ssize_t n =
        ::recvfrom(socket, buffer.data(), buffer.size(), MSG_DONTWAIT, from.data(), &from.size);
    if (n < 0 && net::is_temporary(errno)) return;
    if (n < 0) net::fail("recvfrom");
    const std::string_view data(buffer.data(), static_cast<std::size_t>(n));
    net::print_line("Received " + std::to_string(n) + " bytes from ", net::to_pair(from));
    net::print_line("Data: ", net::printable(data));
    // 4. Send. A failure concerns this client alone.
    if (::sendto(socket, answer.data(), answer.size(), 0, from.data(), from.size) < 0) {
        std::fprintf(stderr, "sendto %s: %s\n", net::to_string(from).c_str(), std::strerror(errno));
    }
}

void run(const std::string& where) {
    net::hold_signals();
    const auto sockets = net::bind_all(where, SOCK_DGRAM, bind_at);
    net::print_line("UDP Server is listening on ",
                    net::with_real_port(where, sockets.front().get()));
    std::string buffer(longest_datagram, '\0');
    for (;;) {
        net::print_line("Waiting for data...");
        const int ready = net::wait_readable(sockets);  // localhost has two addresses
        if (ready < 0) return;
        answer_one(ready, buffer);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Answers each datagram, and prints what came, until Ctrl-C."};
    return net::run(argc, argv, about, [](const std::string& where, const auto&) { run(where); });
}
