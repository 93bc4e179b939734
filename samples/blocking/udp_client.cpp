// A first UDP client that survives loss: it sends a datagram again until an answer has come.
//
//     ./samples/run blocking/udp_client                              says hello to localhost:8000
//     ./samples/run blocking/udp_client localhost:8000 one two       sends two messages
//
// UDP promises nothing, so what TCP does stands here: a time-out, further tries with growing
// delays, a way to tell an answer from a late one. Each request has a socket, and so a port, of its
// own: an answer that comes late or twice finds nobody there. Connecting a UDP socket sends
// nothing; it lets the kernel pass on the answers of this server alone, and the news that nobody is
// there.
#include "net.hpp"

#include <poll.h>

#include <optional>
#include <random>

namespace {

constexpr std::chrono::milliseconds first_delay{100};  // doubled for each try

// 1. A socket for datagrams, 2. connected.
net::descriptor connect_to(const net::address& server) {
    net::descriptor made(::socket(server.data()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (made.get() < 0) net::fail("socket");
    if (::connect(made.get(), server.data(), server.size) != 0) {
        net::fail("connect " + net::to_string(server));
    }
    return made;
}

// There is no way to this address from here, as to an IPv6 one where IPv6 is off.
bool has_no_way(const std::error_code& error) {
    return error == std::errc::address_not_available ||
           error == std::errc::address_family_not_supported ||
           error == std::errc::network_unreachable;
}

class requester {
public:
    requester(const std::string& where, int most_tries)
        : where_(where), most_tries_(most_tries), addresses_(net::resolve(where, SOCK_DGRAM)) {}

    // Tries the next address of the name where nobody is at one, or where there is no way to it.
    // Whoever has answered is kept.
    std::string ask(const std::string& message) {
        for (;;) {
            try {
                const net::descriptor socket = connect_to(addresses_.front());
                return ask(socket.get(), message);
            } catch (const std::system_error& failure) {
                const bool refused = failure.code() == std::errc::connection_refused;
                if (!refused && !has_no_way(failure.code())) throw;
                if (addresses_.size() == 1) {
                    if (!refused) throw;
                    throw std::runtime_error(where_ + ": nobody is there (Connection refused)");
                }
                addresses_.erase(addresses_.begin());
            }
        }
    }

private:
    std::string ask(int socket, const std::string& message) {
        auto delay = std::chrono::duration<double>(first_delay);
        const auto begin = net::steady::now();
        for (int attempt = 1; attempt <= most_tries_; ++attempt, delay *= 2) {
            if (attempt > 1) std::fprintf(stderr, "no answer, trying again\n");
            // 3. Send. 4. Receive.
            if (::send(socket, message.data(), message.size(), 0) < 0) net::fail("send");
            // Clients that were cut off together shall not all come back together.
            const auto patience = delay * jitter_(random_);
            const auto until = net::steady::now() + patience;
            const auto answer =
                receive(socket, std::chrono::time_point_cast<net::steady::duration>(until));
            if (answer) return *answer;
        }
        const std::chrono::duration<double> passed = net::steady::now() - begin;
        char text[80];
        std::snprintf(text, sizeof text, ": no answer to %d tries in %.1f s; they were lost",
                      most_tries_, passed.count());
        throw std::runtime_error(where_ + text);
    }

    static std::optional<std::string> receive(int socket, net::steady::time_point until) {
        std::string buffer(65535, '\0');
        for (;;) {
            pollfd watched{socket, POLLIN, 0};
            const int count = ::poll(&watched, 1, net::milliseconds_until(until));
            if (count < 0 && errno != EINTR) net::fail("poll");
            if (count == 0) return std::nullopt;
            const ssize_t n = ::recv(socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
            if (n >= 0) return buffer.substr(0, static_cast<std::size_t>(n));
            if (!net::is_temporary(errno)) net::fail("recv");
        }
    }

    std::string where_;
    int most_tries_;
    std::vector<net::address> addresses_;
    std::minstd_rand random_{std::random_device()()};
    std::uniform_real_distribution<double> jitter_{0.75, 1.25};
};

void run(const std::string& where, int most_tries, std::vector<std::string> messages) {
    if (messages.empty()) messages.emplace_back("Hello from UDP client!");
    requester server(where, most_tries);
    for (const std::string& each : messages) {
        net::print_line("Sending: ", each);
        net::print_line("Received: ", net::printable(server.ask(each)));
    }
}

}  // namespace

int main(int argc, char** argv) {
    int most_tries = 5;
    const net::usage about{"Sends each MESSAGE, or hello, as a datagram until it is answered.",
                           "localhost:8000", "[MESSAGE...]", "--tries", &most_tries};
    return net::run(argc, argv, about, [&](const std::string& where, const auto& messages) {
        run(where, most_tries, messages);
    });
}
