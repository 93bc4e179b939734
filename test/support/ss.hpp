// The states of connections as the real ss(8) prints them.
#pragma once

#include <support/program.hpp>

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

namespace rondo::test {

inline bool ss_there() {
    return run_program({"sh", "-c", "command -v ss >/dev/null && ss -Htan >/dev/null"})
               .exit_code == 0;
}

/// The first column of each TCP socket between these ports; remote port 0 is any.
inline std::vector<std::string> ss_states(std::uint16_t local_port, std::uint16_t remote_port) {
    std::vector<std::string> command = {"ss", "-Htan", "sport", "=",
                                        ":" + std::to_string(local_port)};
    if (remote_port != 0) {
        command.insert(command.end(), {"and", "dport", "=", ":" + std::to_string(remote_port)});
    }
    std::istringstream lines(run_program(command).out);
    std::vector<std::string> states;
    for (std::string line; std::getline(lines, line);) {
        states.push_back(line.substr(0, line.find(' ')));
    }
    return states;
}

}  // namespace rondo::test
