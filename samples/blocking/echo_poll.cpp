// An echo server with poll(): one thread asks the kernel about all of its sockets at once.
//
//     ./samples/run blocking/echo_poll           serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
//
// Each wait hands the kernel the whole list, which looks at every socket in it: a message on one of
// ten thousand connections costs ten thousand looks. echo_epoll leaves the list with the kernel.
#include "net.hpp"

#include <poll.h>

#include <array>

namespace {

struct connection {
    net::descriptor socket;
    std::string unsent;  // what the client has not taken yet; until it has, nothing more is read
};

class echo_server {
public:
    explicit echo_server(const std::string& where) : listeners_(net::listen_on(where)) {}

    void run() {
        watched_.push_back({signals_.get(), POLLIN, 0});
        for (const auto& each : listeners_) watched_.push_back({each.get(), POLLIN, 0});
        while (!stopping_ || !connections_.empty()) {
            pause_listeners();
            const int count = ::poll(watched_.data(), watched_.size(), timeout());
            if (count < 0 && errno != EINTR) net::fail("poll");
            if (stopping_ && net::steady::now() >= drained_by_) return;
            if (count <= 0) continue;
            serve_connections();
            for (std::size_t i = 0; i < listeners_.size(); ++i) {
                if (watched_[1 + i].revents != 0) accept_all(listeners_[i].get());
            }
            if (watched_[0].revents != 0) stop();
        }
    }

private:
    // The signals and the listeners come first in the list that poll() is given.
    std::size_t first() const { return 1 + listeners_.size(); }

    int timeout() const {
        if (stopping_) return net::milliseconds_until(drained_by_);
        return pause_.is_on() ? net::milliseconds_until(pause_.end()) : -1;
    }

    // poll() passes over what is asked for nothing and over descriptors below 0.
    void pause_listeners() {
        const bool closed = stopping_ || pause_.is_on();
        for (std::size_t i = 0; i < listeners_.size(); ++i) {
            watched_[1 + i].fd = closed ? -1 : listeners_[i].get();
        }
    }

    void accept_all(int listener) {
        for (;;) {
            net::descriptor socket(
                ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (socket.get() < 0) {
                if (errno == EAGAIN || pause_.begins_with(errno)) return;
                if (!net::is_of_connection(errno)) net::fail("accept");
                continue;
            }
            watched_.push_back({socket.get(), POLLIN, 0});
            connections_.push_back({std::move(socket), {}});
        }
    }

    // Backwards: the last one, which takes the place of one that has ended, was looked at before.
    void serve_connections() {
        for (std::size_t i = connections_.size(); i-- > 0;) {
            pollfd& watched = watched_[first() + i];
            if (watched.revents == 0) continue;
            if (serve(connections_[i])) {
                watched.events = connections_[i].unsent.empty() ? POLLIN : POLLOUT;
                continue;
            }
            watched = watched_.back();
            watched_.pop_back();
            std::swap(connections_[i], connections_.back());
            connections_.pop_back();
        }
    }

    // False once the connection is over. Hang-ups and errors are found by the call that fails.
    bool serve(connection& peer) {
        if (!peer.unsent.empty()) return send_rest(peer);
        const ssize_t n = ::recv(peer.socket.get(), buffer_.data(), buffer_.size(), 0);
        if (n <= 0) return n < 0 && net::is_temporary(errno);
        const std::string_view received(buffer_.data(), static_cast<std::size_t>(n));
        const auto sent = net::send_some(peer.socket.get(), received);
        if (sent < 0) return false;
        peer.unsent = received.substr(static_cast<std::size_t>(sent));
        return true;
    }

    static bool send_rest(connection& peer) {
        const auto sent = net::send_some(peer.socket.get(), peer.unsent);
        if (sent < 0) return false;
        peer.unsent.erase(0, static_cast<std::size_t>(sent));
        if (peer.unsent.empty()) peer.unsent.shrink_to_fit();  // an idle client needs no buffer
        return true;
    }

    // What has been received is still echoed; behind it, each connection finds the end.
    void stop() {
        signals_.take();
        stopping_ = true;
        drained_by_ = net::steady::now() + net::drain_time;
        watched_.erase(watched_.begin() + 1, watched_.begin() + static_cast<long>(first()));
        listeners_.clear();
        for (const auto& each : connections_) ::shutdown(each.socket.get(), SHUT_RD);
    }

    net::stop_signals signals_;
    std::vector<net::descriptor> listeners_;
    std::vector<connection> connections_;
    std::vector<pollfd> watched_;  // the signals, the listeners, then as connections_
    net::accept_pause pause_;
    bool stopping_ = false;
    net::steady::time_point drained_by_;
    std::array<char, 65536> buffer_{};
};

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Echoes with poll(), until Ctrl-C."};
    return net::run(argc, argv, about,
                    [](const std::string& where, const auto&) { echo_server(where).run(); });
}
