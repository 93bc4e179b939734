// A first UDP client that survives loss: it sends a datagram again until an answer has come.
//
//     ./samples/run udp_client                              says hello to localhost:8000
//     ./samples/run udp_client localhost:8000 one two       sends two messages
//
// UDP promises nothing, so what TCP does stands here: a time-out, further tries with growing
// delays, a way to tell an answer from a late one. Each request has a socket, and so a port, of its
// own: that is its id, and any server sends it back, because it answers to where the request came
// from. An answer that comes late or twice comes to a port where nobody waits for it. A connected
// socket also tells "nobody is there" (ECONNREFUSED) from "lost".
//
// There is no room for an id in the datagrams themselves: they are text, and a plain server does
// not send them back. So this works as far as ports do. Address translation gives each of ours one
// of its own; but a relay that has a single socket towards the server mixes the answers up, and
// only one more byte in request and answer could tell them apart. Where the protocol is yours, put
// an id into both, as DNS does.
#include "command_line.hpp"
#include "printable.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <deque>
#include <random>
#include <stdexcept>

using namespace std::chrono_literals;

constexpr auto first_delay = 100ms;       // doubled for each try
constexpr std::size_t most_sockets = 64;  // kept
constexpr std::size_t longest_datagram = 65535;

// There is no way to this address from here, as to an IPv6 one where IPv6 is off.
bool has_no_way(const std::error_code& error) {
    return error == std::errc::address_not_available ||
           error == std::errc::address_family_not_supported ||
           error == std::errc::network_unreachable;
}

class requester {
public:
    requester(std::string where, std::vector<rondo::endpoint> servers, int tries)
        : where_(std::move(where)), tries_(tries), servers_(std::move(servers)) {}

    // Tries the next address of the name where nobody is at one, or where there is no way to it.
    // Whoever has answered is kept.
    rondo::task<std::string> ask(std::string message) {
        for (;;) {
            auto answer = co_await rondo::as_result(ask_at(servers_.front(), message));
            const std::error_code error = answer.error();
            const bool refused = error == std::errc::connection_refused;
            if (!refused && !has_no_way(error)) co_return answer.value();
            if (servers_.size() == 1) {
                if (!refused) answer.value();  // throws
                throw std::runtime_error(where_ + ": nobody is there (Connection refused)");
            }
            servers_.erase(servers_.begin());
        }
    }

private:
    rondo::task<std::string> ask_at(rondo::endpoint server, const std::string& message) {
        const bool is_v4 = server.address().is_v4();
        // 1. A socket for datagrams, 2. connected. That sends nothing. The last ones are kept for a
        // while, or a new one might get a port to which an answer is still on its way.
        if (sockets_.size() == most_sockets) sockets_.pop_front();
        rondo::udp_socket& socket =
            sockets_.emplace_back(is_v4 ? rondo::ip_version::v4 : rondo::ip_version::v6);
        socket.connect(server);
        std::string answer(longest_datagram, '\0');  // what does not fit would be cut off
        const auto room = std::as_writable_bytes(std::span(answer));
        const auto begin = std::chrono::steady_clock::now();
        std::chrono::duration<double> delay = first_delay;
        for (int attempt = 1; attempt <= tries_; ++attempt, delay *= 2) {
            if (attempt > 1) fmt::print(stderr, "no answer, trying again\n");
            // 3. Send. 4. Receive.
            co_await socket.send(message);
            // Clients that were cut off together shall not all come back together.
            const auto patience = delay * jitter_(random_);
            auto size =
                co_await rondo::as_result(rondo::with_timeout(patience, socket.recv(room)));
            if (size) co_return answer.substr(0, *size);
            if (size.error() != std::errc::timed_out) size.value();  // throws
        }
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
        throw std::runtime_error(
            fmt::format("{}: no answer to {} tries in {:.1f} s; they were lost", where_,
                        tries_, passed.count()));
    }

    std::string where_;
    int tries_;
    std::vector<rondo::endpoint> servers_;
    std::deque<rondo::udp_socket> sockets_;
    std::minstd_rand random_{std::random_device()()};
    std::uniform_real_distribution<double> jitter_{0.75, 1.25};
};

rondo::task<> talk(std::string where, int tries, std::vector<std::string> messages) {
    std::vector<rondo::endpoint> servers = co_await rondo::resolve(where);
    requester server(std::move(where), std::move(servers), tries);
    for (const std::string& each : messages) {
        fmt::print("Sending: {}\n", each);
        std::fflush(stdout);
        const std::string answer = co_await server.ask(each);
        fmt::print("Received: {}\n", printable(answer));
        std::fflush(stdout);
    }
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    int tries = 5;
    std::vector<std::string> messages = {"Hello from UDP client!"};
    command_line line("Sends each MESSAGE, or hello, as a datagram until it is answered.");
    line.add("HOST:PORT", where, "the server");
    line.add("MESSAGE", messages, "what to send");
    line.add("--tries", tries, "how often to send a message").between(1, 12);
    line.parse(argc, argv);
    return rondo::run_main(talk(where, tries, messages));
}
