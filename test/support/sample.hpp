// The samples as built programs, and what a user can see of a running one.
#pragma once

#include <support/program.hpp>

#include <chrono>
#include <string>
#include <vector>

namespace rondo::test {

/// The path of a built sample, as in sample("echo_server") or sample("blocking/echo_poll").
std::string sample(const std::string& name);

/// Whether a tool is there to be run.
bool installed(const std::string& tool);

/// How many descriptors a process has open.
std::size_t open_descriptors(pid_t process);
/// Looks until that many are open; false if it takes more than 30 s.
bool comes_to_descriptors(pid_t process, std::size_t count);

/// How much processor time a process has used.
std::chrono::nanoseconds processor_time(pid_t process);

/// Looks until the process has taken `signal` off what is pending for it (proc(5), ShdPnd); false
/// if it takes more than 30 s. A second one sent before would be lost in the first.
bool comes_to_take(pid_t process, int signal);

/// A server that has printed `listening on HOST:PORT` for each of its addresses.
class sample_server {
public:
    /// `arguments` follow the name; the last of them has port 0, on `addresses` addresses.
    explicit sample_server(const std::string& name,
                           const std::vector<std::string>& arguments = {"127.0.0.1:0"},
                           std::size_t addresses = 1);
    /// `command` runs it.
    explicit sample_server(const std::vector<std::string>& command, std::size_t addresses);

    program process;
    std::vector<std::string> addresses;
    std::string where;  ///< the first of them
    std::string port;

    outcome stop(int signal);

private:
    void read_addresses(std::size_t count);
};

}  // namespace rondo::test
