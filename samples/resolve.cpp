// Names to addresses, in the order in which a connection would be tried.
//
//     ./samples/run resolve localhost example.com:https    an address or, with a port, an endpoint
//     ./samples/run resolve --version 6 example.com        those of IPv6 alone
//
// Looking up a name blocks, so it runs on a helper thread: all names are looked up at one time.
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <chrono>
#include <string>
#include <vector>

struct lookup {
    std::string name;
    std::vector<rondo::endpoint> found;
    std::string failure;
    double milliseconds = 0;

    bool has_port() const {
        return name.find(':') != name.npos && !rondo::ip_address::parse(name);
    }
};

rondo::task<> look_up(lookup& one, rondo::resolve_options options) {
    const auto begun = std::chrono::steady_clock::now();
    try {
        if (one.has_port()) {
            one.found = co_await rondo::resolve(one.name, options);
        } else {
            one.found = co_await rondo::resolve(one.name, 0, options);
        }
        one.failure.clear();
    } catch (const std::system_error& failed) {
        if (failed.code() == std::errc::operation_canceled) throw;
        one.failure = failed.what();
    }
    const std::chrono::duration<double, std::milli> taken =
        std::chrono::steady_clock::now() - begun;
    one.milliseconds = taken.count();
}

rondo::task<> look_up_all(std::vector<lookup>& all, rondo::resolve_options options) {
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        for (lookup& one : all) group.spawn(look_up, std::ref(one), options);
        co_return;
    });
}

// Returns whether the name has an address.
bool print(const lookup& one) {
    if (!one.failure.empty()) {
        std::fflush(stdout);
        fmt::print(stderr, "{}\n", one.failure);
        return false;
    }
    fmt::print("{} in {:.1f} ms\n", one.name, one.milliseconds);
    for (const rondo::endpoint& each : rondo::connect_order(one.found)) {
        const std::string text = one.has_port() ? each.to_string() : each.address().to_string();
        fmt::print("    {:<24} IPv{}\n", text, each.address().is_v4() ? 4 : 6);
    }
    return true;
}

int main(int argc, char** argv) {
    std::vector<std::string> names;
    int version = 0;
    command_line line("Prints the addresses of names in the order in which a connection is tried.");
    line.add("HOST[:SERVICE]", names, "a name or an address, and a port or its name")
        .required();
    line.add("--version", version, "4 or 6: addresses of this version alone")
        .one_of({4, 6})
        .hide_default();
    line.parse(argc, argv);

    rondo::resolve_options options;
    if (version == 4) options.version = rondo::ip_version::v4;
    if (version == 6) options.version = rondo::ip_version::v6;
    std::vector<lookup> all;
    for (const std::string& name : names) {
        all.emplace_back().name = name;
        all.back().failure = fmt::format("resolve \"{}\": interrupted", name);
    }
    // After Ctrl-C what has been found until then is still told.
    const int failed = rondo::run_main(look_up_all(all, options));
    if (failed != 0) return failed;
    bool complete = true;
    for (const lookup& one : all) complete = print(one) && complete;
    return complete ? 0 : 1;
}
