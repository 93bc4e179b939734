// An echo server as the first chapter has it: socket, bind, listen, accept, recv, send, close.
//
//     ./samples/run blocking/echo_one_at_a_time  serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
//     nc localhost 8000                          a second client: nothing, until the first has left
//
// The calls for a client block, so there is one client at a time. The others are connected all the
// same: the kernel has accepted them, and they wait in the listener's backlog.
#include "interruption.hpp"

#include <array>
#include <thread>

namespace {

constexpr int backlog = 128;

net::descriptor listen_at(const net::address& where) {
    // Non-blocking for the one call that must not wait: accept(), if a client has left meanwhile.
    const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    net::descriptor listener(::socket(where.data()->sa_family, type, 0));
    if (listener.get() < 0) net::fail("socket");
    // Or a restart would have to wait until the connections of the last run have left TIME_WAIT.
    net::set_option(listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (where.data()->sa_family == AF_INET6) {
        net::set_option(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    if (::bind(listener.get(), where.data(), where.size) != 0) {
        net::fail("bind " + net::to_string(where));
    }
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

void echo(int socket) {
    std::array<char, 16384> buffer;
    for (;;) {
        const ssize_t n = ::recv(socket, buffer.data(), buffer.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;  // the client has ended its stream, or is gone
        if (!send_all(socket, {buffer.data(), static_cast<std::size_t>(n)})) return;
    }
}

// accept() on one listener would not see those who come to the other: wait for both first.
void accept_one(int listener, net::accept_pause& pause) {
    net::descriptor client(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (client.get() >= 0) {
        const net::served served(client.get());
        echo(client.get());
    } else if (pause.begins_with(errno)) {
        std::this_thread::sleep_until(pause.end());
    } else if (!net::is_of_connection(errno)) {
        net::fail("accept");
    }
}

void run(const std::string& where) {
    net::hold_signals();
    const auto listeners = net::bind_all(where, SOCK_STREAM, listen_at);
    net::print_addresses(listeners);
    net::accept_pause pause;
    for (int ready = 0; (ready = net::wait_readable(listeners)) >= 0;) accept_one(ready, pause);
}

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Echoes to one client at a time, until Ctrl-C."};
    return net::run(argc, argv, about, [](const std::string& where, const auto&) { run(where); });
}
