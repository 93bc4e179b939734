// The chat client at a terminal's and at a pipe's end.
#include <support/plain_client.hpp>
#include <support/program.hpp>
#include <support/sample.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>

#include <signal.h>

#include <string>

using rondo::test::installed;
using rondo::test::outcome;
using rondo::test::plain_client;
using rondo::test::program;
using rondo::test::run_program;
using rondo::test::sample;
using rondo::test::sample_server;

namespace {
const std::string client = sample("chat_client");
}

TEST_CASE("two chat clients talk until one says goodbye", "[samples][chat]") {
    sample_server server("chat_server");
    program alice({client, server.where});
    CHECK(alice.read_line() == "* welcome, guest1; try /help");
    program bob({client, server.where});
    CHECK(bob.read_line() == "* welcome, guest2; try /help");
    CHECK(alice.read_line() == "* guest2 joined");
    alice.write("/nick alice\nhello, all\n");
    CHECK(alice.read_line() == "* guest1 is now alice");
    CHECK(bob.read_line() == "* guest1 is now alice");
    CHECK(bob.read_line() == "alice: hello, all");
    bob.write("hello yourself\n/quit\n");
    CHECK(bob.read_line() == "* goodbye");
    // It ends by itself, its input still open. What it sent now could be answered by a reset.
    CHECK_THROWS_WITH(bob.read_line(), "the output has ended; errors: ");
    const outcome ended = bob.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
    CHECK(alice.read_line() == "guest2: hello yourself");
    CHECK(alice.read_line() == "* guest2 left");
    alice.signal(SIGINT);
    CHECK(alice.finish().signal == SIGINT);
}

TEST_CASE("a chat client takes its input from a file and prints what is owed to it",
          "[samples][chat]") {
    sample_server server("chat_server");
    plain_client other(server.where);
    CHECK(other.read_line() == "* welcome, guest1; try /help");
    const std::string file = "/proc/version";  // a line that everybody can read
    const outcome talked = run_program(
        {"sh", "-c", "exec \"$0\" \"$1\" < " + file, client, server.where});
    CHECK(talked.out == "* welcome, guest2; try /help\n");
    CHECK(talked.exit_code == 0);
    CHECK(other.read_line() == "* guest2 joined");
    CHECK(other.read_line().starts_with("guest2: Linux version"));
    CHECK(other.read_line() == "* guest2 left");
    const outcome asked = run_program({client, server.where}, "/who");
    CHECK(asked.out == "* welcome, guest3; try /help\n* here: guest1, guest3\n");
}

TEST_CASE("a chat client works at a terminal", "[samples][chat]") {
    if (!installed("script")) SKIP("there is no script(1) to make a terminal");
    sample_server server("chat_server");
    program typed({"script", "-qec", client + " " + server.where, "/dev/null"});
    CHECK(typed.read_line().starts_with("* welcome, guest1; try /help"));
    typed.write("/who\n");
    std::string line = typed.read_line();
    if (line.starts_with("/who")) line = typed.read_line();  // the terminal's echo
    CHECK(line.starts_with("* here: guest1"));
    typed.write("/quit\n");
    line = typed.read_line();
    if (line.starts_with("/quit")) line = typed.read_line();
    CHECK(line.starts_with("* goodbye"));
    CHECK(typed.finish().exit_code == 0);
}

TEST_CASE("a chat client ends with the server, and says what to check when there is none",
          "[samples][chat]") {
    sample_server server("chat_server");
    program talking({client, server.where});
    CHECK(talking.read_line() == "* welcome, guest1; try /help");
    CHECK(server.stop(SIGTERM).exit_code == 0);
    CHECK(talking.read_line() == "* goodbye");
    CHECK(talking.finish().exit_code == 0);
    const outcome refused = run_program({client, server.where});
    CHECK(refused.exit_code == 1);
    CHECK(refused.err == "chat_client: connect " + server.where +
                             ": Connection refused (nothing listens there; see ss -ltn)\n");
}
