// A load generator for echo servers: checks every byte, at a fixed rate or as fast as it goes.
//
//     ./samples/run echo_server                                       in another terminal
//     ./samples/run load localhost:8000 --connections 100             as fast as they come back
//     ./samples/run load localhost:8000 --connections 100 --rate 20000
//     ./samples/run load unix:/tmp/echo --profile stream --size 16384
//     ./samples/run load localhost:8000 --udp                         with udp_echo_server
//
// It ends by itself; Ctrl-C ends it earlier, with what was measured so far. test/bench/load.c is
// another, in C and without a schedule: what measures rondo's own rows must not change with it.
#include "options.hpp"
#include "profiles.hpp"
#include "report.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <functional>
#include <stdexcept>
#include <system_error>

namespace load {

namespace {

// Descriptors for the connections and a few more.
void raise_descriptor_limit(std::size_t connections) {
    const rlim_t needed = connections + 64;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) return;
    if (limit.rlim_max < needed)
        throw std::runtime_error(fmt::format(
            "{} connections need {} descriptors, and the hard limit is {}: raise it (ulimit -Hn as "
            "root, LimitNOFILE= in systemd, docker run --ulimit nofile={}) or take fewer",
            connections, needed, limit.rlim_max, needed));
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0)
        throw std::system_error(errno, std::generic_category(), "setrlimit RLIMIT_NOFILE");
}

rondo::task<> run_profile(session& all) {
    if (all.chosen.udp) return run_udp(all);
    switch (all.chosen.what) {
        case profile::ping_pong: return run_ping_pong(all);
        case profile::stream: return run_stream(all);
        case profile::idle: return run_idle(all);
        case profile::short_lived: return run_short(all);
        case profile::room: return run_room(all);
    }
    throw std::logic_error("a profile that is none");
}

rondo::task<std::string> load_server(const options& chosen) {
    const rondo::scheduler& here = co_await rondo::this_scheduler();
    const std::string engine = here.carrier().name() == "uring" ? "io_uring" : "epoll";
    target where = co_await target::find(chosen.target, chosen.udp);
    session all(chosen, std::move(where));
    co_await rondo::until_interrupted(run_profile(all));
    if (all.measured.messages == 0 || !all.measured.has_ended())
        throw std::runtime_error(all.measured.has_ended()
                                     ? "no message came back in the measured time"
                                     : "interrupted before anything was measured");
    co_return chosen.json ? json_report(chosen, all.measured, engine) + '\n'
                          : text_report(chosen, all.measured, engine);
}

}  // namespace

}  // namespace load

int main(int argc, char** argv) {
    const load::options chosen = load::parse_options(argc, argv);
    try {
        // The kernel wakes a sleeper up to 50 us late unless asked not to (prctl(2)).
        ::prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
        load::raise_descriptor_limit(chosen.connections);
        rondo::run_options options;
        if (chosen.udp)  // each datagram arrives in one buffer, beside some words about it
            options.buffers.buffer_size = std::max(options.buffers.buffer_size, chosen.size + 256);
        const std::string report = rondo::run(options, load::load_server, std::cref(chosen));
        if (std::fputs(report.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
            throw std::system_error(errno, std::generic_category(),
                                    "the report on standard output");
        return 0;
    } catch (const std::exception& failure) {
        fmt::print(stderr, "load: {}\n", failure.what());
        return 1;
    }
}
