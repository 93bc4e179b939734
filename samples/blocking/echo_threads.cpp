// An echo server with one thread for each connection: it reads like what happens to one client.
//
//     ./samples/run blocking/echo_threads        serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
//
// echo() is all there is to a connection. What it costs is around it: a stack and a place in the
// scheduler for each client, a switch of threads for each message, and a stop that must reach calls
// which block. Nothing but shutdown() wakes them.
#include "net.hpp"

#include <poll.h>

#include <array>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

namespace {

bool send_all(int socket, std::string_view bytes) {
    while (!bytes.empty()) {
        const auto sent = net::send_some(socket, bytes);
        if (sent < 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

void echo(int socket) {
    std::array<char, 16384> buffer;
    for (;;) {
        const ssize_t n = ::recv(socket, buffer.data(), buffer.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        if (!send_all(socket, {buffer.data(), static_cast<std::size_t>(n)})) return;
    }
}

// The threads and their sockets; ends them with itself. Each thread closes its own socket, under
// the lock: shut_down() could meet another's connection of the same number otherwise.
class connections {
public:
    ~connections() {
        shut_down(SHUT_RDWR);
        {
            std::unique_lock lock(mutex_);
            none_runs_.wait(lock, [this] { return running_.empty(); });
        }
        join_ended();
    }

    void serve(net::descriptor socket) {
        join_ended();
        const std::lock_guard lock(mutex_);
        running_.push_front({std::move(socket), {}});
        const auto self = running_.begin();
        try {
            self->thread = std::thread([this, self] {
                echo(self->socket.get());
                end(self);
            });
        } catch (const std::system_error& failure) {
            std::fprintf(stderr, "refused a connection: thread: %s\n", failure.what());
            running_.pop_front();
        }
    }

    // Wakes those that wait in recv(), with SHUT_RDWR those in send(), too.
    void shut_down(int how) {
        const std::lock_guard lock(mutex_);
        for (const auto& each : running_) ::shutdown(each.socket.get(), how);
    }

    // Until all have ended, or `when`.
    void wait_until(net::steady::time_point when) {
        std::unique_lock lock(mutex_);
        none_runs_.wait_until(lock, when, [this] { return running_.empty(); });
    }

private:
    struct connection {
        net::descriptor socket;
        std::thread thread;
    };

    void end(std::list<connection>::iterator self) {
        const std::lock_guard lock(mutex_);
        self->socket = {};
        ended_.splice(ended_.begin(), running_, self);
        if (running_.empty()) none_runs_.notify_one();
    }

    // Outside the lock: a thread takes it for the last time right before it ends.
    void join_ended() {
        std::list<connection> ended;
        {
            const std::lock_guard lock(mutex_);
            ended.swap(ended_);
        }
        for (auto& each : ended) each.thread.join();
    }

    std::mutex mutex_;
    std::condition_variable none_runs_;
    std::list<connection> running_;
    std::list<connection> ended_;
};

// The connection; or none, where there is none after all.
net::descriptor accept_from(int listener, net::accept_pause& pause) {
    net::descriptor socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    const bool harmless = socket.get() >= 0 || errno == EAGAIN || pause.begins_with(errno) ||
                          net::is_of_connection(errno);
    if (!harmless) net::fail("accept");
    return socket;
}

// Waits for listeners and signals at once; this is the one thread that gets signals.
void accept_until_stopped(const net::stop_signals& signals,
                          const std::vector<net::descriptor>& listeners, connections& served) {
    std::vector<pollfd> watched{{signals.get(), POLLIN, 0}};
    for (const auto& each : listeners) watched.push_back({each.get(), POLLIN, 0});
    net::accept_pause pause;
    for (;;) {
        const bool paused = pause.is_on();
        const int timeout = paused ? net::milliseconds_until(pause.end()) : -1;
        const int count = ::poll(watched.data(), paused ? 1 : watched.size(), timeout);
        if (count < 0 && errno != EINTR) net::fail("poll");
        if (count <= 0) continue;
        if (watched[0].revents != 0) return;
        for (const auto& each : watched) {
            if (paused || each.revents == 0) continue;
            net::descriptor socket = accept_from(each.fd, pause);
            if (socket.get() >= 0) served.serve(std::move(socket));
        }
    }
}

void serve(const std::string& where) {
    net::stop_signals signals;
    std::vector<net::descriptor> listeners = net::listen_on(where);
    connections served;
    accept_until_stopped(signals, listeners, served);
    signals.take();
    listeners.clear();
    // What has been received is still echoed; behind it, each thread finds the end.
    served.shut_down(SHUT_RD);
    served.wait_until(net::steady::now() + net::drain_time);
}

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Echoes with one thread for each connection, until Ctrl-C."};
    return net::run(argc, argv, about, [](const std::string& where, const auto&) { serve(where); });
}
