#include "options.hpp"

#include "../command_line.hpp"

#include <fmt/core.h>

#include <cstdlib>
#include <optional>

namespace load {

namespace {

constexpr unsigned most_connections = 100'000;
constexpr std::size_t longest_datagram = 65507;  // udp(7), over IPv4
constexpr std::size_t shortest_line = 32;        // holds a sender, a number and a time
constexpr std::size_t longest_line = 1000;       // by the chat's protocol
// Beyond them a schedule's times are finer than a clock, or further off than it can tell.
constexpr double slowest_rate = 0.001;
constexpr double fastest_rate = 1e8;
constexpr int wrong_arguments = 105;             // as for those that command_line refuses

std::optional<profile> profile_called(const std::string& name) {
    if (name == "ping-pong") return profile::ping_pong;
    if (name == "stream") return profile::stream;
    if (name == "idle") return profile::idle;
    if (name == "short") return profile::short_lived;
    if (name == "room") return profile::room;
    return std::nullopt;
}

[[noreturn]] void refuse(const std::string& why) {
    fmt::print(stderr, "{}\nRun with --help for more information.\n", why);
    std::exit(wrong_arguments);
}

void check_profile(options& chosen) {
    const auto known = profile_called(chosen.profile_name);
    if (!known)
        refuse("--profile: " + chosen.profile_name +
               " is none of ping-pong, stream, idle, short, room");
    chosen.what = *known;
    if (chosen.udp && chosen.what != profile::ping_pong)
        refuse("--udp: datagrams have the profile ping-pong alone");
    if (chosen.udp && chosen.target.starts_with("unix:"))
        refuse("--udp: a unix: target is a stream");
    if (chosen.udp && chosen.size > longest_datagram)
        refuse(fmt::format("--size: a datagram has at most {} bytes", longest_datagram));
    if (chosen.what == profile::idle && chosen.pid == 0)
        refuse("--profile idle: needs --pid, as it measures the server's memory");
    if (chosen.what != profile::room) return;
    if (chosen.size < shortest_line || chosen.size > longest_line)
        refuse(fmt::format("--size: a line of the room has {} to {} bytes", shortest_line,
                           longest_line));
    if (chosen.connections < 2) refuse("--connections: a room has two members at least");
}

}  // namespace

options parse_options(int argc, char** argv) {
    options chosen;
    command_line line(
        "Loads an echo server, checks every byte that comes back, and measures.",
        "Profiles:\n"
        "  ping-pong  each connection sends a message and waits for all of its echo\n"
        "  stream     each sends on, up to 16 messages ahead of what has come back\n"
        "  idle       N connections are opened and kept, and what memory each costs the server is\n"
        "             measured (--pid); then 8 of them do ping-pong\n"
        "  short      N at a time: connect, one echo, the end of both streams\n"
        "  room       N members of a chat_server, up to 8 of which say lines; a message is a line\n"
        "             that has reached a member\n"
        "\n"
        "With --rate messages are sent by a fixed schedule, and latency counts from the time they\n"
        "were to be sent at: what a server's pause holds up counts, too. Without, a connection\n"
        "sends its next message when the last one has come back, so a pause counts once.\n"
        "\n"
        "--json: messages, rate and bytes_per_second are of what came back in the measured time;\n"
        "with --rate, due is how many were due in it, which latency_us is of (left out at 0);\n"
        "behind, how many went out more than 1 ms late; unanswered, how many of those due were\n"
        "not back at its end. lost: datagrams, or lines that the room dropped. load_cpu: the\n"
        "load's share of a core. server (--pid): cpu_seconds, cpu (its share), switches,\n"
        "rss_bytes.");
    line.add("TARGET", chosen.target, "HOST:PORT, [V6]:PORT, unix:PATH or unix:@NAME")
        .required()
        .hide_default();
    line.add("--profile", chosen.profile_name, "ping-pong, stream, idle, short or room")
        .takes("NAME");
    line.flag("--udp", chosen.udp, "datagrams; those that are lost are sent again, and counted");
    line.add("--connections", chosen.connections, "how many").between(1u, most_connections);
    line.add("--size", chosen.size, "bytes of a message").between(std::size_t{1}, most_bytes);
    line.add("--rate", chosen.rate,
             "messages a second in all, 0.001 to 100000000; 0: as they come back");
    line.add("--seconds", chosen.seconds, "how long to measure").between(0.01, 86400.0);
    line.add("--warm-up", chosen.warm_up, "seconds before that").between(0.0, 3600.0);
    line.add("--silence", chosen.silence, "seconds without a byte after which a server is given up")
        .between(0.1, 3600.0);
    line.add("--pid", chosen.pid, "the server's process, whose own figures are reported then")
        .positive()
        .hide_default();
    line.flag("--json", chosen.json, "print one line of JSON");
    line.parse(argc, argv);
    // nan is in no range.
    if (!(chosen.rate >= slowest_rate && chosen.rate <= fastest_rate) && chosen.rate != 0)
        refuse(fmt::format("--rate: {} is neither 0 nor {} to {:.0f} messages a second",
                           chosen.rate, slowest_rate, fastest_rate));
    check_profile(chosen);
    return chosen;
}

}  // namespace load
