// A first TCP client: create a socket, connect, send and receive, close.
//
//     ./samples/run blocking/tcp_client                              says hello to localhost:8000
//     ./samples/run blocking/tcp_client localhost:8000 one two       sends two messages
//
// TCP carries a stream of bytes and knows no messages. So the next one is sent after the answer to
// the last has come: what came in one piece is taken for an answer.
#include "net.hpp"

#include <array>

namespace {

// A name may have several addresses, and nobody may listen on the first.
net::descriptor connect_to(const std::string& where) {
    std::string failure;
    for (const net::address& each : net::resolve(where, SOCK_STREAM)) {
        // 1. A socket, of IPv4 or IPv6.
        net::descriptor made(::socket(each.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
        // 2. Connect. The kernel chooses our own address and port.
        if (made.get() >= 0 && ::connect(made.get(), each.data(), each.size) == 0) return made;
        failure = "connect " + net::to_string(each) + ": " + std::strerror(errno);
    }
    throw std::runtime_error(failure);
}

void send_all(int socket, std::string_view bytes) {
    while (!bytes.empty()) {
        const auto sent = net::send_some(socket, bytes);
        if (sent < 0) net::fail("send");
        bytes.remove_prefix(static_cast<std::size_t>(sent));  // send() may take a part only
    }
}

std::string receive(int socket) {
    std::array<char, 4096> buffer;
    const ssize_t n = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (n < 0) net::fail("recv");
    if (n == 0) throw std::runtime_error("the server closed the connection before it answered");
    return {buffer.data(), static_cast<std::size_t>(n)};
}

void run(const std::string& where, std::vector<std::string> messages) {
    if (messages.empty()) messages.emplace_back("Hello from client!");
    net::print_line("Connecting to ", where);
    net::descriptor server = connect_to(where);
    for (const std::string& each : messages) {
        if (each.empty()) continue;    // no bytes, no answer
        send_all(server.get(), each);  // 3. Send and receive.
        net::print_line("Received: ", net::printable(receive(server.get())));
    }
    server = {};  // 4. Close.
    net::print_line("Connection closed");
}

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Sends each MESSAGE, or hello, and prints the answers.",
                           "localhost:8000", "[MESSAGE...]"};
    return net::run(argc, argv, about, run);
}
