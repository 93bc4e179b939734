// An echo server with select(): the oldest way to wait for many sockets in one thread.
//
//     ./samples/run blocking/echo_select         serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
//
// An fd_set is 1024 bits, one for each descriptor from 0 to 1023. FD_SET of a greater number writes
// behind it, into whatever is there, and nothing warns. So this server closes such a connection and
// says why. With room for more it would still copy and walk all the bits up to the greatest number
// for each wait, in the kernel and here.
#include "net.hpp"

#include <sys/select.h>

#include <array>
#include <optional>

namespace {

struct connection {
    net::descriptor socket;
    std::string unsent;  // what the client has not taken yet; until it has, nothing more is read
};

class echo_server {
public:
    explicit echo_server(const std::string& where) : listeners_(net::listen_on(where)) {
        FD_ZERO(&reading_);
        FD_ZERO(&writing_);
        watch(signals_.get());
        for (const auto& each : listeners_) watch(each.get());
    }

    void run() {
        while (!stopping_ || open_ != 0) {
            fd_set readable = reading_;  // select() overwrites what it is asked for
            fd_set writable = writing_;
            timeval patience{};
            const int count =
                ::select(highest_ + 1, &readable, &writable, nullptr, timeout(patience));
            if (count < 0 && errno != EINTR) net::fail("select");
            if (stopping_ && net::steady::now() >= drained_by_) return;
            if (count >= 0) dispatch(readable, writable);
            if (paused_ && !pause_.is_on()) resume_listeners();
        }
    }

private:
    timeval* timeout(timeval& out) const {
        if (!stopping_ && !paused_) return nullptr;
        const int left = net::milliseconds_until(stopping_ ? drained_by_ : pause_.end());
        out = {left / 1000, left % 1000 * 1000};
        return &out;
    }

    void watch(int descriptor) {
        if (descriptor >= FD_SETSIZE) {
            throw std::runtime_error("no descriptor below FD_SETSIZE is free for the listener");
        }
        FD_SET(descriptor, &reading_);
        highest_ = std::max(highest_, descriptor);
    }

    void dispatch(const fd_set& readable, const fd_set& writable) {
        for (int i = 0; i <= highest_; ++i) {
            auto& peer = connections_[static_cast<std::size_t>(i)];
            if (peer && (FD_ISSET(i, &readable) || FD_ISSET(i, &writable))) serve(peer);
        }
        // Now, so that nobody is taken for the owner of a descriptor that was asked about before.
        for (const auto& each : listeners_) {
            if (FD_ISSET(each.get(), &readable)) accept_all(each.get());
        }
        if (FD_ISSET(signals_.get(), &readable)) stop();
    }

    void accept_all(int listener) {
        while (!paused_) {
            net::address from;
            net::descriptor socket(
                ::accept4(listener, from.data(), &from.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (socket.get() >= 0) {
                add(std::move(socket), from);
            } else if (errno == EAGAIN) {
                return;
            } else if (pause_.begins_with(errno)) {
                pause_listeners();
            } else if (!net::is_of_connection(errno)) {
                net::fail("accept");
            }
        }
    }

    void add(net::descriptor socket, const net::address& from) {
        const int number = socket.get();
        if (number >= FD_SETSIZE) {
            std::fprintf(stderr,
                         "refused %s: its descriptor would be %d, and select() knows only those "
                         "below FD_SETSIZE, %d\n",
                         net::to_string(from).c_str(), number, FD_SETSIZE);
            return;
        }
        watch(number);
        connections_[static_cast<std::size_t>(number)] = {std::move(socket), {}};
        ++open_;
    }

    void pause_listeners() {
        paused_ = true;
        for (const auto& each : listeners_) FD_CLR(each.get(), &reading_);
    }

    void resume_listeners() {
        paused_ = false;
        for (const auto& each : listeners_) FD_SET(each.get(), &reading_);
    }

    void serve(std::optional<connection>& peer) {
        const int number = peer->socket.get();
        FD_CLR(number, &reading_);
        FD_CLR(number, &writing_);
        if (transfer(*peer)) {
            FD_SET(number, peer->unsent.empty() ? &reading_ : &writing_);
            return;
        }
        peer.reset();
        --open_;
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
        drained_by_ = net::steady::now() + net::drain_time;
        FD_CLR(signals_.get(), &reading_);
        pause_listeners();
        paused_ = false;
        listeners_.clear();
        for (const auto& each : connections_) {
            if (each) ::shutdown(each->socket.get(), SHUT_RD);
        }
    }

    net::stop_signals signals_;
    std::vector<net::descriptor> listeners_;
    std::array<std::optional<connection>, FD_SETSIZE> connections_;  // by descriptor
    std::size_t open_ = 0;
    fd_set reading_;
    fd_set writing_;
    int highest_ = 0;  // ever; it need not shrink, since FD_SETSIZE bounds it
    net::accept_pause pause_;
    bool paused_ = false;
    bool stopping_ = false;
    net::steady::time_point drained_by_;
    std::array<char, 65536> buffer_{};
};

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Echoes with select(), to as many as it knows, until Ctrl-C."};
    return net::run(argc, argv, about,
                    [](const std::string& where, const auto&) { echo_server(where).run(); });
}
