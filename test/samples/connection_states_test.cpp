// The sample that takes connections through all states, as a user runs it.
#include <support/program.hpp>
#include <support/sample.hpp>
#include <support/ss.hpp>

#include <catch2/catch_test_macros.hpp>

#include <signal.h>

#include <sstream>
#include <string>
#include <vector>

using rondo::test::outcome;
using rondo::test::program;
using rondo::test::run_program;
using rondo::test::sample;

TEST_CASE("connection_states walks through all states in their order", "[samples]") {
    const outcome walked = run_program({sample("connection_states")});
    CHECK(walked.err.empty());
    CHECK(walked.exit_code == 0);
    const std::vector<std::string> expected = {
        "server CLOSED",     "server LISTEN",     "client SYN-SENT",    "server SYN-RECEIVED",
        "client ESTABLISHED", "server ESTABLISHED", "client FIN-WAIT-1", "client FIN-WAIT-2",
        "server CLOSE-WAIT", "server LAST-ACK",   "client TIME-WAIT",   "server CLOSED",
        "client CLOSING",    "client TIME-WAIT",  "client CLOSED"};
    std::vector<std::string> seen;
    std::istringstream lines(walked.out);
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("server ") && !line.starts_with("client ")) continue;
        std::istringstream words(line);
        std::string end;
        std::string state;
        words >> end >> state;
        seen.push_back(end + " " + state);
    }
    CHECK(seen == expected);
}

TEST_CASE("connection_states pauses for a look with ss", "[samples]") {
    if (!rondo::test::ss_there()) SKIP("no ss here to look with");
    program walking({sample("connection_states"), "--pause", "60"});
    const std::string first = walking.read_line();
    const std::string start = "the server's port is ";
    REQUIRE(first.starts_with(start));
    std::string line = first;
    while (line.find(" LISTEN ") == std::string::npos) line = walking.read_line();
    const auto port = static_cast<std::uint16_t>(std::stoi(first.substr(start.size())));
    CHECK(rondo::test::ss_states(port, 0) == std::vector<std::string>{"LISTEN"});
    walking.signal(SIGINT);
    CHECK(walking.finish().exit_code == 0);
}

TEST_CASE("connection_states tells what it takes", "[samples]") {
    const outcome helped = run_program({sample("connection_states"), "--help"});
    CHECK(helped.exit_code == 0);
    CHECK(helped.out.find("--pause") != std::string::npos);
    const outcome refused = run_program({sample("connection_states"), "--pause", "-1"});
    CHECK(refused.exit_code != 0);
    CHECK_FALSE(refused.err.empty());
}
