// The chat client at a terminal's and at a pipe's end.
#include <rondo/detail/unique_fd.hpp>

#include <support/plain_client.hpp>
#include <support/program.hpp>
#include <support/resetting_port.hpp>
#include <support/sample.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers.hpp>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <string>

using rondo::detail::unique_fd;
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
    const std::string name = GENERATE("chat_server", "blocking/chat_select", "blocking/chat_epoll");
    CAPTURE(name);
    sample_server server(name);
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
    CHECK(alice.finish().exit_code == 0);
}

TEST_CASE("a chat client takes its input from a file and prints what is owed to it",
          "[samples][chat]") {
    const std::string name = GENERATE("chat_server", "blocking/chat_select", "blocking/chat_epoll");
    CAPTURE(name);
    sample_server server(name);
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

TEST_CASE("a chat client without input, and one without standard input, leave in peace",
          "[samples][chat]") {
    const std::string input = GENERATE("</dev/null", "<&-");
    const std::string name = GENERATE("chat_server", "blocking/chat_select", "blocking/chat_epoll");
    const std::string engine = GENERATE("auto", "epoll");
    CAPTURE(input, name, engine);
    sample_server server(name);
    const outcome silent = run_program({"env", "RONDO_ENGINE=" + engine, "sh", "-c",
                                        "exec \"$0\" \"$1\" " + input, client, server.where});
    CHECK(silent.out == "* welcome, guest1; try /help\n");
    CHECK(silent.err.empty());
    CHECK(silent.exit_code == 0);
}

TEST_CASE("a chat client shows what others say while its input is stuck", "[samples][chat]") {
    // A terminal that promises bytes, and then waits 25 s for a second one: termios(3), MIN > 0 and
    // TIME > 0.
    const unique_fd keyboard(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(keyboard);
    REQUIRE(::grantpt(keyboard.get()) == 0);
    REQUIRE(::unlockpt(keyboard.get()) == 0);
    const std::string terminal = ::ptsname(keyboard.get());
    const unique_fd far_end(::open(terminal.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    termios settings{};
    REQUIRE(::tcgetattr(far_end.get(), &settings) == 0);
    ::cfmakeraw(&settings);
    settings.c_cc[VMIN] = 2;
    settings.c_cc[VTIME] = 250;
    REQUIRE(::tcsetattr(far_end.get(), TCSANOW, &settings) == 0);

    sample_server server("chat_server");
    program stuck({"sh", "-c", "exec \"$0\" \"$1\" < \"$2\"", client, server.where, terminal});
    CHECK(stuck.read_line() == "* welcome, guest1; try /help");
    REQUIRE(::write(keyboard.get(), "x", 1) == 1);
    const auto stuck_since = std::chrono::steady_clock::now();
    for (int i = 2; i < 12; ++i) {
        const std::string who = "* guest" + std::to_string(i);
        plain_client other(server.where);
        CHECK(stuck.read_line() == who + " joined");
        other.finish();
        CHECK(stuck.read_line() == who + " left");
    }
    CHECK(std::chrono::steady_clock::now() - stuck_since < std::chrono::seconds(20));
    stuck.signal(SIGINT);
    CHECK(stuck.finish().exit_code == 0);
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

TEST_CASE("a chat client shows the last words of a server that resets", "[samples][chat]") {
    // Its input ends, and it says so to the server, which may have gone by then.
    const rondo::test::resetting_port server("last words\n");
    for (int i = 0; i < 20; ++i) {
        const outcome ended = run_program({client, server.where()}, "x");
        CHECK(ended.out == "last words\n");
        CHECK(ended.err.starts_with("chat_client: recv " + server.where() +
                                    ": Connection reset by peer"));
        CHECK(ended.exit_code == 1);
    }
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
