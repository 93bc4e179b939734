// An echo server that asks each of its sockets again and again: why nobody does it like this.
//
//     ./samples/run blocking/echo_nonblocking    serves localhost:8000 until Ctrl-C
//     top                                        shows what it costs while nothing happens
//
// No socket blocks, so one thread serves them all without poll(). But it never waits either: it
// takes a whole processor when nobody says anything, and every connection makes each round longer
// for all others. It counts its calls and its processor time, and prints them every ten seconds
// and at the end.
#include "net.hpp"

#include <array>
#include <csignal>
#include <ctime>

namespace {

volatile std::sig_atomic_t stop_requested = 0;

struct connection {
    net::descriptor socket;
    std::string unsent;  // what the client has not taken yet; until it has, nothing more is read
};

// How much of the time since its start the process has spent on a processor.
class cost {
public:
    void count(bool useful) { ++(useful ? useful_ : vain_); }

    void print() {
        timespec used{};
        ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
        const double processor = static_cast<double>(used.tv_sec) + 1e-9 * double(used.tv_nsec);
        const std::chrono::duration<double> passed = net::steady::now() - begin_;
        std::printf("used %.2f s of processor time in %.2f s (%.0f %%); %llu calls, %llu in vain\n",
                    processor, passed.count(), 100 * processor / passed.count(), useful_ + vain_,
                    vain_);
        std::fflush(stdout);
        printed_ = net::steady::now();
    }
    bool is_due() const { return net::steady::now() - printed_ > std::chrono::seconds(10); }

private:
    net::steady::time_point begin_ = net::steady::now();
    net::steady::time_point printed_ = begin_;
    unsigned long long useful_ = 0;
    unsigned long long vain_ = 0;
};

class echo_server {
public:
    explicit echo_server(const std::string& where) : listeners_(net::listen_on(where)) {}

    void run() {
        while (!stopping_ || (!connections_.empty() && net::steady::now() < drained_by_)) {
            for (const auto& each : listeners_) accept_one(each.get());
            for (std::size_t i = connections_.size(); i-- > 0;) {
                if (serve(connections_[i])) continue;
                std::swap(connections_[i], connections_.back());
                connections_.pop_back();
            }
            if (stop_requested && !stopping_) stop();
            if (cost_.is_due()) cost_.print();
        }
        cost_.print();
    }

private:
    void accept_one(int listener) {
        if (pause_.is_on()) return;
        net::descriptor socket(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        cost_.count(socket.get() >= 0);
        if (socket.get() >= 0) {
            connections_.push_back({std::move(socket), {}});
        } else if (errno != EAGAIN && !pause_.begins_with(errno) && !net::is_of_connection(errno)) {
            net::fail("accept");
        }
    }

    // False once the connection is over.
    bool serve(connection& peer) {
        if (!peer.unsent.empty()) return send_rest(peer);
        const ssize_t n = ::recv(peer.socket.get(), buffer_.data(), buffer_.size(), 0);
        const bool in_vain = n < 0 && net::is_temporary(errno);
        cost_.count(!in_vain);
        if (n <= 0) return in_vain;
        peer.unsent.assign(buffer_.data(), static_cast<std::size_t>(n));
        return send_rest(peer);
    }

    bool send_rest(connection& peer) {
        const auto sent = net::send_some(peer.socket.get(), peer.unsent);
        cost_.count(sent != 0);
        if (sent < 0) return false;
        peer.unsent.erase(0, static_cast<std::size_t>(sent));
        return true;
    }

    // What has been received is still echoed; behind it, each connection finds the end.
    void stop() {
        stopping_ = true;
        drained_by_ = net::steady::now() + net::drain_time;
        listeners_.clear();
        for (const auto& each : connections_) ::shutdown(each.socket.get(), SHUT_RD);
    }

    std::vector<net::descriptor> listeners_;
    std::vector<connection> connections_;
    net::accept_pause pause_;
    cost cost_;
    bool stopping_ = false;
    net::steady::time_point drained_by_;
    std::array<char, 65536> buffer_{};
};

// A loop that never waits can look at a flag. SA_RESETHAND: a second signal ends the process.
void watch_signals() {
    struct sigaction action {};
    action.sa_handler = [](int) { stop_requested = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Echoes by asking every socket in turn, without end, until Ctrl-C."};
    return net::run(argc, argv, about, [](const std::string& where, const auto&) {
        watch_signals();
        echo_server(where).run();
    });
}
