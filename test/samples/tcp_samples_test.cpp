// tcp_server and tcp_client as a user meets them, with each other, netcat and their blocking twins;
// echo_server on a Unix socket.
#include <rondo/net/endpoint.hpp>

#include <support/program.hpp>
#include <support/raw_peer.hpp>
#include <support/temporary_folder.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <signal.h>

#include <filesystem>
#include <string>
#include <vector>

using rondo::test::outcome;
using rondo::test::program;
using rondo::test::raw_peer;
using rondo::test::run_program;
using rondo::test::temporary_folder;

namespace {

std::string sample(const char* name) { return std::string(RONDO_SAMPLES_DIR "/") + name; }

bool installed(const std::string& tool) {
    return run_program({"sh", "-c", "command -v " + tool}).exit_code == 0;
}

struct running_tcp_server {
    program process{{sample("tcp_server"), "localhost:0"}};
    std::string port;

    running_tcp_server() {
        const std::string line = process.read_line();
        const std::string start = "Server is listening on localhost:";
        REQUIRE(line.substr(0, start.size()) == start);
        port = line.substr(start.size());
        waits();
    }
    std::string where() const { return "localhost:" + port; }
    void waits() { CHECK(process.read_line() == "Waiting for a connection..."); }
    // One client's steps; `received` are its messages.
    void serves(const std::vector<std::string>& received) {
        const std::string from = process.read_line();
        CHECK(from.starts_with("Connection from ('127.0.0.1', "));
        CHECK(from.ends_with(")"));
        for (const std::string& each : received) {
            CHECK(process.read_line() == "Received: " + each);
        }
        CHECK(process.read_line() == "Connection closed");
        waits();
    }
    void stops() {
        process.signal(SIGINT);
        const outcome ended = process.finish();
        CHECK(ended.exit_code == 0);
        CHECK(ended.err.empty());
    }
};

}  // namespace

TEST_CASE("tcp_client and tcp_server print the steps of a first connection", "[samples]") {
    running_tcp_server server;
    const outcome talked = run_program({sample("tcp_client"), server.where()});
    CHECK(talked.out == "Connecting to " + server.where() +
                            "\nReceived: Hello from server!\nConnection closed\n");
    CHECK(talked.err.empty());
    CHECK(talked.exit_code == 0);
    server.serves({"Hello from client!"});
    server.stops();
}

TEST_CASE("tcp_client sends several messages over one connection", "[samples]") {
    running_tcp_server server;
    const outcome talked =
        run_program({sample("tcp_client"), server.where(), "one", "two words", "", "three"});
    CHECK(talked.out == "Connecting to " + server.where() +
                            "\nReceived: Hello from server!\nReceived: Hello from server!"
                            "\nReceived: Hello from server!\nConnection closed\n");
    CHECK(talked.exit_code == 0);
    server.serves({"one", "two words", "three"});
    server.stops();
}

TEST_CASE("tcp_server answers netcat, and one client after the other", "[samples]") {
    if (!installed("nc")) SKIP("there is no nc");
    running_tcp_server server;
    for (int i = 0; i < 2; ++i) {
        const outcome answered = run_program({"nc", "-N", "127.0.0.1", server.port}, "hello\n");
        CHECK(answered.out == "Hello from server!");
        server.serves({"hello"});
    }
    server.stops();
}

TEST_CASE("tcp_server says that a client was gone before it was accepted", "[samples]") {
    running_tcp_server server;
    const rondo::endpoint where = *rondo::endpoint::parse("127.0.0.1:" + server.port);
    // Stopped, so that the reset is there before the connection is accepted.
    server.process.stop();
    raw_peer::connect_to(where).reset();
    server.process.signal(SIGCONT);
    CHECK(server.process.read_line() == "Connection from a client that is gone already");
    CHECK(server.process.read_line() == "Connection closed");
    server.waits();
    server.process.signal(SIGINT);
    const outcome ended = server.process.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.starts_with("tcp_server: recv"));
    CHECK(ended.err.find("Connection reset by peer") != std::string::npos);
}

TEST_CASE("tcp_server closes the connection on Ctrl-C and says so", "[samples]") {
    running_tcp_server server;
    const raw_peer client =
        raw_peer::connect_to(*rondo::endpoint::parse("127.0.0.1:" + server.port));
    CHECK(server.process.read_line().starts_with("Connection from ('127.0.0.1', "));
    server.process.signal(SIGINT);
    CHECK(server.process.read_line() == "Connection closed");
    const outcome ended = server.process.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
}

TEST_CASE("the TCP samples and their blocking twins answer each other", "[samples]") {
    running_tcp_server server;
    const outcome twin = run_program({sample("blocking/tcp_client"), server.where(), "hi"});
    CHECK(twin.out == "Connecting to " + server.where() +
                          "\nReceived: Hello from server!\nConnection closed\n");
    server.serves({"hi"});
    server.stops();
    program other({sample("blocking/tcp_server"), "localhost:0"});
    const std::string line = other.read_line();
    const std::string where = line.substr(line.rfind(' ') + 1);
    const outcome talked = run_program({sample("tcp_client"), where, "hi"});
    CHECK(talked.out ==
          "Connecting to " + where + "\nReceived: Hello from server!\nConnection closed\n");
    other.signal(SIGINT);
    CHECK(other.finish().exit_code == 0);
}

TEST_CASE("the TCP samples show control bytes as text, which would act on the terminal",
          "[samples]") {
    const std::string twin = GENERATE("", "blocking/");
    const std::string sent = "a\x1b[2J\r\tb\x7f";
    const std::string shown = "Received: a\\x1b[2J\\x0d\tb\\x7f";
    program server({sample((twin + "tcp_server").c_str()), "127.0.0.1:0"});
    const std::string line = server.read_line();
    const std::string where = line.substr(line.rfind(' ') + 1);
    CHECK(run_program({sample("tcp_client"), where, sent}).exit_code == 0);
    CHECK(server.read_line() == "Waiting for a connection...");
    CHECK(server.read_line().starts_with("Connection from ("));
    CHECK(server.read_line() == shown);
    server.signal(SIGINT);
    CHECK(server.finish().exit_code == 0);

    program echo({sample("echo_server"), "127.0.0.1:0"});
    const std::string listening = echo.read_line();
    const std::string at = listening.substr(listening.rfind(' ') + 1);
    const outcome talked = run_program({sample((twin + "tcp_client").c_str()), at, sent});
    CHECK(talked.out == "Connecting to " + at + "\n" + shown + "\nConnection closed\n");
    CHECK(talked.exit_code == 0);
}

TEST_CASE("tcp_client says what to check when nobody listens", "[samples]") {
    running_tcp_server server;
    const std::string where = "127.0.0.1:" + server.port;
    server.stops();
    const outcome refused = run_program({sample("tcp_client"), where});
    CHECK(refused.out == "Connecting to " + where + "\n");
    CHECK(refused.err == "tcp_client: connect " + where +
                             ": Connection refused (nothing listens there; see ss -ltn)\n");
    CHECK(refused.exit_code == 1);
}

TEST_CASE("netcat and echo_client get back what they send to a Unix echo_server",
          "[samples][unix]") {
    if (!installed("nc")) SKIP("there is no nc");
    const temporary_folder folder;
    const std::string path = folder.file("echo.sock");
    program server({sample("echo_server"), "unix:" + path});
    CHECK(server.read_line() == "listening on " + path);
    const std::string text = "hello\nagain\n" + std::string(20000, 'x');
    const outcome answered = run_program({"nc", "-N", "-U", path}, text);
    CHECK((answered.out == text));
    const outcome talked = run_program({sample("echo_client"), "unix:" + path, "one", "two"});
    CHECK(talked.out == "one\ntwo\n");
    const outcome second = run_program({sample("echo_server"), "unix:" + path});
    CHECK(second.err == "echo_server: bind " + path +
                            ": Address already in use (another socket has this address; see "
                            "ss -xlp)\n");
    CHECK(second.exit_code == 1);
    server.signal(SIGINT);
    const outcome ended = server.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
    CHECK_FALSE(std::filesystem::exists(path));
}
