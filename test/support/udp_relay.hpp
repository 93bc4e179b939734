// A bad network between UDP clients and a server: drops, doubles, delays, reorders, by a seed.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/endpoint.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace rondo::test {

/// Chances in a thousand, for each datagram and each direction.
struct relay_plan {
    unsigned drop = 0;
    unsigned twice = 0;
    unsigned delay = 0;
    std::chrono::milliseconds longest_delay{20};
    std::uint64_t seed = 1;
};

struct relay_counts {
    unsigned passed = 0;
    unsigned dropped = 0;
    unsigned doubled = 0;
    unsigned delayed = 0;
};

/// Runs on a thread of its own, from construction to stop(). Each client gets a socket of its own
/// towards the server, so the server tells clients apart as it would without the relay.
class udp_relay {
public:
    udp_relay(const endpoint& server, const relay_plan& plan);
    ~udp_relay();

    /// Where clients find it.
    endpoint where() const { return where_; }
    /// Ends the thread; what was delayed is lost.
    relay_counts stop();

private:
    using clock = std::chrono::steady_clock;

    struct parcel {
        clock::time_point due;
        int socket;
        std::string bytes;
        endpoint to;
    };

    void run();
    void receive(int socket);
    void forward(int socket, const std::string& bytes, const endpoint& to);
    int upstream_of(const endpoint& client);
    void send_due();
    bool happens(unsigned per_mille) { return random_() % 1000 < per_mille; }

    // Set once.
    endpoint server_;
    relay_plan plan_;
    detail::unique_fd front_;
    detail::unique_fd stop_event_;
    endpoint where_;
    // The thread's, until it has ended.
    std::mt19937_64 random_;
    std::map<endpoint, detail::unique_fd> upstream_;
    std::map<int, endpoint> clients_;  // by their socket towards the server
    std::vector<parcel> waiting_;
    relay_counts counts_;
    std::thread thread_;
};

}  // namespace rondo::test
