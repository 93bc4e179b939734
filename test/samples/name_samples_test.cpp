// resolve and port_check as a user meets them.
#include <support/child_process.hpp>
#include <support/deaf_port.hpp>
#include <support/full_listener.hpp>
#include <support/private_network.hpp>
#include <support/program.hpp>
#include <support/resetting_port.hpp>
#include <support/sample.hpp>

#include <catch2/catch_test_macros.hpp>

#include <regex>
#include <string>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

// Times differ from run to run.
std::string without_times(const std::string& text) {
    return std::regex_replace(text, std::regex("[0-9]+\\.[0-9] ms"), "T ms");
}

outcome resolve_sample(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), sample("resolve"));
    return run_program(arguments);
}

outcome port_check(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), sample("port_check"));
    return run_program(arguments);
}

}  // namespace

TEST_CASE("resolve prints addresses in the order they are tried, and endpoints where a port is "
          "given",
          "[samples]") {
    const outcome ended = resolve_sample({"localhost", "localhost:80", "192.0.2.1", "[::1]:80"});
    CHECK(without_times(ended.out) == "localhost in T ms\n"
                                      "    ::1                      IPv6\n"
                                      "    127.0.0.1                IPv4\n"
                                      "localhost:80 in T ms\n"
                                      "    [::1]:80                 IPv6\n"
                                      "    127.0.0.1:80             IPv4\n"
                                      "192.0.2.1 in T ms\n"
                                      "    192.0.2.1                IPv4\n"
                                      "[::1]:80 in T ms\n"
                                      "    [::1]:80                 IPv6\n");
    CHECK(ended.err.empty());
    CHECK(ended.exit_code == 0);
}

TEST_CASE("resolve --version prints the addresses of one version", "[samples]") {
    const outcome ended = resolve_sample({"--version", "4", "localhost:80"});
    CHECK(without_times(ended.out) == "localhost:80 in T ms\n"
                                      "    127.0.0.1:80             IPv4\n");
    CHECK(resolve_sample({"--version", "5", "localhost"}).exit_code != 0);
}

TEST_CASE("resolve prints a failure as one line and goes on", "[samples]") {
    const outcome ended = resolve_sample({"a..b", "127.0.0.1", "localhost:65536"});
    CHECK(ended.err == "resolve \"a..b\": Name or service not known (check the spelling; see "
                       "getent ahosts \"a..b\")\n"
                       "resolve \"localhost:65536\": port 65536 is not between 0 and 65535\n");
    CHECK(without_times(ended.out) == "127.0.0.1 in T ms\n    127.0.0.1                IPv4\n");
    CHECK(ended.exit_code == 1);
}

TEST_CASE("port_check tells that a port is open", "[samples]") {
    const tcp_listener listener = tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0));
    const std::string where = listener.local_endpoint().to_string();
    const outcome ended = port_check({where});
    CHECK(without_times(ended.out) == where + ": open (" + where + " in T ms)\n");
    CHECK(ended.exit_code == 0);
}

TEST_CASE("a port is open for port_check where its peer resets at once", "[samples]") {
    // Whether it resets before port_check has asked for its name depends on the moment.
    const resetting_port resetting;
    const std::string opening = resetting.where() + ": open";
    const outcome ended = port_check(std::vector<std::string>(40, resetting.where()));
    std::size_t open = 0;
    for (std::size_t at = 0; (at = ended.out.find(opening, at)) != std::string::npos; ++at) ++open;
    CAPTURE(ended.out);
    CHECK(open == 40);
    CHECK(ended.out.find("failed") == std::string::npos);
    CHECK(ended.exit_code == 0);
}

TEST_CASE("port_check refuses a time-out that is no number", "[samples]") {
    const outcome refused = port_check({"--timeout", "nan", "127.0.0.1:1"});
    CHECK(refused.exit_code >= 100);
    CHECK(refused.err.starts_with("--timeout: Value nan is no finite number"));
}

TEST_CASE("port_check tells refused, silent and unknown apart, in the order they were named",
          "[samples]") {
    const deaf_port refusing;
    full_listener silent;
    const std::string refused = refusing.where().to_string();
    const std::string timed_out = silent.where().to_string();
    const outcome ended =
        port_check({"--timeout", "0.1", timed_out, refused, "a..b:80", "localhost"});
    CHECK(ended.out ==
          timed_out + ": timed out: no answer in 0.1 s (the host is down, or a firewall drops the "
                      "packets; see ping and traceroute)\n" +
              refused + ": refused: connect " + refused +
              ": Connection refused (nothing listens there; see ss -ltn)\n"
              "a..b:80: name not resolved: resolve \"a..b\": Name or service not known (check the "
              "spelling; see getent ahosts \"a..b\")\n"
              "localhost: not understood: connect \"localhost\": the port is missing, as in "
              "localhost:80\n");
    CHECK(ended.err.empty());
    CHECK(ended.exit_code == 1);
}

TEST_CASE("port_check tells unreachable and forbidden apart", "[samples]") {
    if (!may_have_private_network()) SKIP(no_private_network);
    if (!may_change_routes()) SKIP("needs ip(8)");
    const std::string said = in_private_network([] {
        shell("ip route add prohibit 192.0.2.1/32");
        shell("ip route add unreachable 192.0.2.2/32");
        const outcome ended = port_check({"192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"});
        say(ended.out + std::to_string(ended.exit_code));
        return 0;
    });
    CHECK(said.starts_with("192.0.2.1:80: forbidden: connect 192.0.2.1:80: Permission denied (a "
                           "firewall or a security policy forbids it"));
    CHECK(said.find("\n192.0.2.2:80: unreachable: connect 192.0.2.2:80: No route to host (") !=
          std::string::npos);
    CHECK(said.find("\n192.0.2.3:80: unreachable: connect 192.0.2.3:80: Network is unreachable "
                    "(no route to it; see ip route get 192.0.2.3)\n1\n") != std::string::npos);
}
