// What the load generator is asked to do.
#pragma once

#include <cstddef>
#include <string>

namespace load {

enum class profile { ping_pong, stream, idle, short_lived, room };

struct options {
    std::string target;
    std::string profile_name = "ping-pong";
    profile what = profile::ping_pong;
    bool udp = false;
    unsigned connections = 1;
    std::size_t size = 64;  // bytes of a message
    double rate = 0;        // messages a second over all connections; 0: closed loop
    double seconds = 5;
    double warm_up = 1;
    double silence = 10;  // seconds that a server may take to say something
    int pid = 0;  // of the server; 0: not known
    bool json = false;
};

inline constexpr std::size_t most_bytes = 1 << 20;  // of a message

// Ends the program after --help, and where an argument is wrong.
options parse_options(int argc, char** argv);

}  // namespace load
