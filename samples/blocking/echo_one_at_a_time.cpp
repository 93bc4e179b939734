// An echo server as the first chapter has it: socket, bind, listen, accept, recv, send, close.
//
//     ./samples/run blocking/echo_one_at_a_time  serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
//     nc localhost 8000                          a second client: nothing, until the first has left
//
// The calls for a client block, so there is one client at a time. The others are connected all the
// same: the kernel has accepted them, and they wait in the listener's backlog.
#include "net.hpp"

#include <poll.h>

#include <array>
#include <csignal>
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

// ---- Ctrl-C. A signal comes in one of two places only: in ppoll(), and while a client is served.

volatile std::sig_atomic_t stopping = 0;
volatile std::sig_atomic_t served_now = -1;
sigset_t usual_signals;

// shutdown() and alarm() are among the few calls a handler may make. A recv() that blocks returns
// what had arrived, then the end of the stream.
void on_stop(int) {
    stopping = 1;
    if (served_now >= 0) ::shutdown(served_now, SHUT_RD);
    ::alarm(net::drain_time.count());
}

// For a client that does not take what is sent.
void on_alarm(int) {
    if (served_now >= 0) ::shutdown(served_now, SHUT_RDWR);
}

void handle(int signal, void (*handler)(int), unsigned flags) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = static_cast<int>(flags);
    ::sigaction(signal, &action, nullptr);
}

void hold_signals() {
    sigset_t stops;
    ::sigemptyset(&stops);
    ::sigaddset(&stops, SIGINT);
    ::sigaddset(&stops, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &stops, &usual_signals);
    // SA_RESETHAND: a second one ends the process.
    handle(SIGINT, on_stop, SA_RESETHAND);
    handle(SIGTERM, on_stop, SA_RESETHAND);
    handle(SIGALRM, on_alarm, 0);
}

void serve(net::descriptor client) {
    served_now = client.get();
    sigset_t held;
    ::sigprocmask(SIG_SETMASK, &usual_signals, &held);
    echo(client.get());
    ::sigprocmask(SIG_SETMASK, &held, nullptr);
    served_now = -1;
}

// ---- accept() on one listener would not see those who come to the other

void accept_one(int listener, net::accept_pause& pause) {
    net::descriptor client(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (client.get() >= 0) {
        serve(std::move(client));
    } else if (pause.begins_with(errno)) {
        std::this_thread::sleep_until(pause.end());
    } else if (!net::is_of_connection(errno)) {
        net::fail("accept");
    }
}

void run(const std::string& where) {
    hold_signals();
    const auto listeners = net::bind_all(where, SOCK_STREAM, listen_at);
    net::print_addresses(listeners);
    std::vector<pollfd> watched;
    for (const auto& each : listeners) watched.push_back({each.get(), POLLIN, 0});
    net::accept_pause pause;
    while (!stopping) {
        const int count = ::ppoll(watched.data(), watched.size(), nullptr, &usual_signals);
        if (count < 0 && errno != EINTR) net::fail("ppoll");
        for (const auto& each : watched) {
            if (count > 0 && each.revents != 0 && !stopping) accept_one(each.fd, pause);
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Echoes to one client at a time, until Ctrl-C."};
    return net::run(argc, argv, about, [](const std::string& where, const auto&) { run(where); });
}
