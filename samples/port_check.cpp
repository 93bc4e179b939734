// Is a port open, and if not: which of the classic errors is it, and what to do about it?
//
//     ./samples/run port_check localhost:8000 example.com:https
//     ./samples/run port_check --timeout 0.5 192.0.2.1:80          waits half a second at most
//
// All are tried at the same time. The exit code is 0 when all of them are open.
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <chrono>
#include <string>
#include <system_error>
#include <vector>

using seconds = std::chrono::duration<double>;

struct port {
    std::string name;
    bool open = false;
    std::string verdict = "not known: interrupted";
};

// The classic errors of connect(2), and those that come before it.
const char* kind_of(const std::error_code& error) {
    if (error.category() == rondo::resolver_category()) return "name not resolved";
    if (error == std::errc::connection_refused) return "refused";
    if (error == std::errc::timed_out) return "timed out";
    if (error == std::errc::network_unreachable) return "unreachable";
    if (error == std::errc::host_unreachable) return "unreachable";
    if (error == std::errc::permission_denied) return "forbidden";
    if (error == std::errc::operation_not_permitted) return "forbidden";
    if (error == std::errc::invalid_argument) return "not understood";
    return "failed";
}

// A peer may have reset the connection already. Its port is open all the same.
std::string name_of_peer(const rondo::tcp_socket& connected) {
    try {
        return connected.remote_endpoint().to_string();
    } catch (const rondo::socket_error& failed) {
        if (failed.code() != std::errc::not_connected) throw;
        return "reset by the peer";
    }
}

rondo::task<> check(port& one, seconds patience) {
    const auto begun = std::chrono::steady_clock::now();
    try {
        const auto connected =
            co_await rondo::with_timeout(patience, rondo::tcp_connect(one.name));
        const std::chrono::duration<double, std::milli> taken =
            std::chrono::steady_clock::now() - begun;
        one.open = true;
        one.verdict = fmt::format("open ({} in {:.1f} ms)", name_of_peer(connected), taken.count());
    } catch (const rondo::socket_error& failed) {
        // Who refuses resets the handshake, ECONNREFUSED. This one comes after it.
        one.open = failed.code() == std::errc::connection_reset;
        // Says by itself what to check.
        one.verdict = fmt::format("{}: {}", one.open ? "open" : kind_of(failed.code()),
                                  failed.what());
    } catch (const rondo::resolve_error& failed) {
        one.verdict = fmt::format("{}: {}", kind_of(failed.code()), failed.what());
    } catch (const rondo::argument_error& failed) {
        one.verdict = fmt::format("{}: {}", kind_of(failed.code()), failed.what());
    } catch (const std::system_error& failed) {
        if (failed.code() != std::errc::timed_out) throw;
        one.verdict = fmt::format("timed out: no answer in {} s (the host is down, or a firewall "
                                  "drops the packets; see ping and traceroute)",
                                  patience.count());
    }
}

rondo::task<> check_all(std::vector<port>& ports, seconds patience) {
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        for (port& one : ports) group.spawn(check, std::ref(one), patience);
        co_return;
    });
}

int main(int argc, char** argv) {
    std::vector<std::string> names;
    double patience = 3;
    command_line line("Tells whether ports are open, and what is wrong where they are not.");
    line.add("HOST:PORT", names, "what to connect to").required();
    line.add("--timeout", patience, "seconds to wait for each").between(0.001, 3600.0);
    line.parse(argc, argv);

    std::vector<port> ports;
    for (const std::string& name : names) ports.emplace_back().name = name;
    // After Ctrl-C what has been found out until then is still told.
    const int failed = rondo::run_main(check_all(ports, seconds(patience)));
    if (failed != 0) return failed;
    bool all_open = true;
    for (const port& one : ports) {
        fmt::print("{}: {}\n", one.name, one.verdict);
        all_open = all_open && one.open;
    }
    return all_open ? 0 : 1;
}
