// An echo server with epoll: the kernel keeps the list of sockets and names those that are ready.
//
//     ./samples/run blocking/echo_epoll          serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
//
// A wait costs what is ready, not what is open, so idle connections cost memory alone. The state of
// each connection is still kept by hand: a wait stands in one place, and what it is for in another.
#include "net.hpp"

#include <sys/epoll.h>

#include <array>
#include <span>

namespace {

struct connection {
    net::descriptor socket;
    std::string unsent;  // what the client has not taken yet; until it has, nothing more is read
    std::uint32_t watched_for = 0;
};

class echo_server {
public:
    explicit echo_server(const std::string& where)
        : poller_(net::check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
          listeners_(net::listen_on(where)) {
        watch(EPOLL_CTL_ADD, signals_.get(), EPOLLIN);
        for (const auto& each : listeners_) watch(EPOLL_CTL_ADD, each.get(), EPOLLIN);
    }

    void run() {
        std::array<epoll_event, 256> events;
        while (!stopping_ || open_ != 0) {
            const int count = ::epoll_wait(poller_.get(), events.data(), events.size(), timeout());
            if (count < 0 && errno != EINTR) net::fail("epoll_wait");
            if (stopping_ && net::steady::now() >= drained_by_) return;
            for (const epoll_event& event :
                 std::span(events).first(static_cast<std::size_t>(std::max(count, 0)))) {
                dispatch(event.data.fd);
            }
            if (told_to_stop_ && !stopping_) stop();
            if (paused_ && !pause_.is_on()) resume_listeners();
        }
    }

private:
    int timeout() const {
        if (stopping_) return net::milliseconds_until(drained_by_);
        return paused_ ? net::milliseconds_until(pause_.end()) : -1;
    }

    void dispatch(int descriptor) {
        if (descriptor == signals_.get()) {
            told_to_stop_ = true;  // later: this turn's other events may name what stop() closes
        } else if (is_listener(descriptor)) {
            accept_all(descriptor);
        } else {
            serve(connections_[static_cast<std::size_t>(descriptor)]);
        }
    }

    bool is_listener(int descriptor) const {
        const auto same = [&](const auto& each) { return each.get() == descriptor; };
        return std::any_of(listeners_.begin(), listeners_.end(), same);
    }

    // Level-triggered: what is not taken care of in this turn is named again in the next.
    void watch(int operation, int descriptor, std::uint32_t events) {
        epoll_event event{};
        event.events = events;
        event.data.fd = descriptor;
        net::check(::epoll_ctl(poller_.get(), operation, descriptor, &event), "epoll_ctl");
    }

    void accept_all(int listener) {
        for (;;) {
            const int made = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (made >= 0) {
                add(net::descriptor(made));
                continue;
            }
            if (errno == EAGAIN) return;
            if (pause_.begins_with(errno)) return pause_listeners();
            if (!net::is_of_connection(errno)) net::fail("accept");
        }
    }

    void add(net::descriptor socket) {
        const auto index = static_cast<std::size_t>(socket.get());
        if (index >= connections_.size()) connections_.resize(2 * index);
        watch(EPOLL_CTL_ADD, socket.get(), EPOLLIN);
        connections_[index] = {std::move(socket), {}, EPOLLIN};
        ++open_;
    }

    void pause_listeners() {
        paused_ = true;
        for (const auto& each : listeners_) watch(EPOLL_CTL_MOD, each.get(), 0);
    }

    void resume_listeners() {
        paused_ = false;
        for (const auto& each : listeners_) watch(EPOLL_CTL_MOD, each.get(), EPOLLIN);
    }

    void serve(connection& peer) {
        if (!transfer(peer)) {
            peer = {};  // closing a descriptor takes it off the kernel's list
            --open_;
            return;
        }
        const std::uint32_t wanted = peer.unsent.empty() ? EPOLLIN : EPOLLOUT;
        if (wanted == peer.watched_for) return;
        watch(EPOLL_CTL_MOD, peer.socket.get(), wanted);
        peer.watched_for = wanted;
    }

    // False once the connection is over. Hang-ups and errors are found by the call that fails.
    bool transfer(connection& peer) {
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
        paused_ = false;
        drained_by_ = net::steady::now() + net::drain_time;
        watch(EPOLL_CTL_DEL, signals_.get(), 0);
        listeners_.clear();
        for (const auto& each : connections_) {
            if (each.socket.get() >= 0) ::shutdown(each.socket.get(), SHUT_RD);
        }
    }

    net::stop_signals signals_;
    net::descriptor poller_;
    std::vector<net::descriptor> listeners_;
    std::vector<connection> connections_;  // by descriptor: the kernel keeps these numbers small
    std::size_t open_ = 0;
    net::accept_pause pause_;
    bool paused_ = false;
    bool told_to_stop_ = false;
    bool stopping_ = false;
    net::steady::time_point drained_by_;
    std::array<char, 65536> buffer_{};
};

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Echoes with epoll, until Ctrl-C."};
    return net::run(argc, argv, about,
                    [](const std::string& where, const auto&) { echo_server(where).run(); });
}
