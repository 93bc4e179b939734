// The first TCP and UDP programs by hand: what they print, and what becomes of lost datagrams.
#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/endpoint.hpp>

#include <support/plain_client.hpp>
#include <support/program.hpp>
#include <support/sample.hpp>

#include <catch2/catch_test_macros.hpp>

#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <string>
#include <vector>

using rondo::endpoint;
using rondo::socket_address;
using rondo::detail::unique_fd;
using rondo::test::comes_to_descriptors;
using rondo::test::installed;
using rondo::test::open_descriptors;
using rondo::test::outcome;
using rondo::test::plain_client;
using rondo::test::program;
using rondo::test::run_program;
using rondo::test::sample;
using rondo::test::sample_server;

namespace {

// A server that has printed `... is listening on HOST:PORT` and what it waits for.
struct first_server {
    program process;
    std::string port;

    first_server(const std::string& name, const std::string& where, const std::string& greeting)
        : process({sample(name), where}) {
        const std::string start = greeting + where.substr(0, where.rfind(':') + 1);
        const std::string line = process.read_line();
        REQUIRE(line.starts_with(start));
        port = line.substr(start.size());
        REQUIRE(std::stoi(port) > 0);
        REQUIRE(process.read_line().starts_with("Waiting for "));
    }
    void check_end(int signal) {
        process.signal(signal);
        const outcome ended = process.finish();
        CHECK(ended.exit_code == 0);
        CHECK(ended.err.empty());
    }
};

struct tcp_server : first_server {
    explicit tcp_server(const std::string& where = "127.0.0.1:0",
                        const std::string& name = "blocking/tcp_server")
        : first_server(name, where, "Server is listening on ") {}
};

struct udp_server : first_server {
    explicit udp_server(const std::string& where = "127.0.0.1:0",
                        const std::string& name = "blocking/udp_server")
        : first_server(name, where, "UDP Server is listening on ") {}
};

// `('127.0.0.1', 52436)`
std::string as_pair(const std::string& where) {
    const std::size_t colon = where.rfind(':');
    return "('" + where.substr(0, colon) + "', " + where.substr(colon + 1) + ")";
}

// A socket for datagrams on 127.0.0.1, which gives up after 30 s.
struct datagrams {
    unique_fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    socket_address from;  // of the last that was received

    datagrams() {
        const timeval patience{30, 0};
        ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        const socket_address any(*endpoint::parse("127.0.0.1:0"));
        REQUIRE(::bind(socket.get(), any.data(), any.size()) == 0);
    }
    std::string name() const {
        socket_address local;
        REQUIRE(::getsockname(socket.get(), local.data(), local.size_pointer()) == 0);
        return local.to_endpoint()->to_string();
    }
    std::string receive() {
        from = socket_address();
        std::array<char, 1000> buffer;
        const ssize_t n = ::recvfrom(socket.get(), buffer.data(), buffer.size(), 0, from.data(),
                                     from.size_pointer());
        REQUIRE(n >= 0);
        return {buffer.data(), static_cast<std::size_t>(n)};
    }
    void send(const std::string& text, const socket_address& to) const {
        REQUIRE(::sendto(socket.get(), text.data(), text.size(), 0, to.data(), to.size()) ==
                std::ssize(text));
    }
};

}  // namespace

TEST_CASE("tcp_server by hand prints its steps and answers each message", "[samples][blocking]") {
    tcp_server server;
    plain_client client("127.0.0.1:" + server.port);
    CHECK(server.process.read_line() == "Connection from " + as_pair(client.local_name()));
    client.send("Hello from client!");
    CHECK(server.process.read_line() == "Received: Hello from client!");
    CHECK(client.receive(18) == "Hello from server!");
    client.send("with a line end\r\n");
    CHECK(server.process.read_line() == "Received: with a line end");
    CHECK(client.receive(18) == "Hello from server!");
    client.finish();
    CHECK(client.at_end());
    CHECK(server.process.read_line() == "Connection closed");
    CHECK(server.process.read_line() == "Waiting for a connection...");
    server.check_end(SIGTERM);
}

TEST_CASE("tcp_server by hand serves the next client after one that was rude",
          "[samples][blocking]") {
    tcp_server server;
    const std::size_t before = open_descriptors(server.process.id());
    plain_client rude("127.0.0.1:" + server.port);
    CHECK(server.process.read_line().starts_with("Connection from "));
    rude.reset();
    CHECK(server.process.read_line() == "Connection closed");
    plain_client next("127.0.0.1:" + server.port);
    next.send("hello");
    CHECK(next.receive(18) == "Hello from server!");
    next.finish();
    CHECK(next.at_end());
    CHECK(comes_to_descriptors(server.process.id(), before));
    server.process.signal(SIGINT);
    const outcome ended = server.process.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err == "recv: Connection reset by peer\n");
}

TEST_CASE("tcp_server by hand stops while a client is connected", "[samples][blocking]") {
    tcp_server server;
    plain_client client("127.0.0.1:" + server.port);
    CHECK(server.process.read_line().starts_with("Connection from "));
    server.check_end(SIGINT);
    CHECK(client.at_end());
}

TEST_CASE("tcp_client by hand prints its steps, by way of localhost's second address, too",
          "[samples][blocking]") {
    for (const std::string where : {"localhost:0", "127.0.0.1:0"}) {
        tcp_server server(where);
        const std::string there = "localhost:" + server.port;
        const outcome hello = run_program({sample("blocking/tcp_client"), there});
        CHECK(hello.out ==
              "Connecting to " + there + "\nReceived: Hello from server!\nConnection closed\n");
        CHECK(hello.exit_code == 0);
        CHECK(server.process.read_line().starts_with("Connection from "));
        CHECK(server.process.read_line() == "Received: Hello from client!");
        const outcome three =
            run_program({sample("blocking/tcp_client"), there, "one", "two words", "three"});
        CHECK(three.out == "Connecting to " + there +
                               "\nReceived: Hello from server!\nReceived: Hello from server!"
                               "\nReceived: Hello from server!\nConnection closed\n");
        for (const std::string line : {"Connection closed", "Waiting for a connection..."}) {
            CHECK(server.process.read_line() == line);
        }
        CHECK(server.process.read_line().starts_with("Connection from "));
        for (const std::string line : {"Received: one", "Received: two words", "Received: three"}) {
            CHECK(server.process.read_line() == line);
        }
        server.check_end(SIGTERM);
    }
}

TEST_CASE("tcp_client by hand gets its words back from rondo's echo_server",
          "[samples][blocking]") {
    sample_server echo("echo_server");
    const outcome talked = run_program({sample("blocking/tcp_client"), echo.where, "hello", "you"});
    CHECK(talked.out ==
          "Connecting to " + echo.where + "\nReceived: hello\nReceived: you\nConnection closed\n");
    CHECK(talked.exit_code == 0);
    CHECK(echo.stop(SIGTERM).exit_code == 0);
}

TEST_CASE("tcp_client by hand says so where nobody listens, and where the server just leaves",
          "[samples][blocking]") {
    std::string where;
    {
        tcp_server server;
        where = "127.0.0.1:" + server.port;
        server.check_end(SIGTERM);
    }
    const outcome refused = run_program({sample("blocking/tcp_client"), where});
    CHECK(refused.err == "tcp_client: connect " + where + ": Connection refused\n");
    CHECK(refused.exit_code == 1);

    unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    socket_address name(*endpoint::parse("127.0.0.1:0"));
    REQUIRE(::bind(listener.get(), name.data(), name.size()) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    REQUIRE(::getsockname(listener.get(), name.data(), name.size_pointer()) == 0);
    program client({sample("blocking/tcp_client"), name.to_endpoint()->to_string()});
    const unique_fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::array<char, 18> hello;
    REQUIRE(::recv(peer.get(), hello.data(), hello.size(), MSG_WAITALL) == 18);
    REQUIRE(::shutdown(peer.get(), SHUT_WR) == 0);
    const outcome left = client.finish();
    CHECK(left.err == "tcp_client: the server closed the connection before it answered\n");
    CHECK(left.exit_code == 1);
}

TEST_CASE("nc says hello to tcp_server by hand", "[samples][blocking]") {
    if (!installed("nc")) SKIP("there is no nc");
    tcp_server server;
    const outcome talked = run_program({"nc", "-N", "127.0.0.1", server.port}, "hello\n");
    CHECK(talked.out == "Hello from server!");
    CHECK(server.process.read_line().starts_with("Connection from "));
    CHECK(server.process.read_line() == "Received: hello");
    CHECK(server.process.read_line() == "Connection closed");
    server.check_end(SIGTERM);
}

TEST_CASE("udp_server by hand prints each datagram and answers it", "[samples][blocking]") {
    udp_server server;
    const socket_address there(*endpoint::parse("127.0.0.1:" + server.port));
    datagrams client;
    for (const std::string text : {"Hello from UDP client!", "", "with a line end\n"}) {
        client.send(text, there);
        CHECK(client.receive() == "Hello from UDP server!");
        CHECK(client.from.to_endpoint() == there.to_endpoint());
        CHECK(server.process.read_line() ==
              "Received " + std::to_string(text.size()) + " bytes from " + as_pair(client.name()));
        const std::string shown = text.ends_with('\n') ? text.substr(0, text.size() - 1) : text;
        CHECK(server.process.read_line() == "Data: " + shown);
        CHECK(server.process.read_line() == "Waiting for data...");
    }
    server.check_end(SIGTERM);
}

TEST_CASE("udp_client by hand prints its steps, by way of localhost's second address, too",
          "[samples][blocking]") {
    for (const std::string where : {"localhost:0", "127.0.0.1:0"}) {
        udp_server server(where);
        const std::string there = "localhost:" + server.port;
        const outcome hello = run_program({sample("blocking/udp_client"), there});
        CHECK(hello.out == "Sending: Hello from UDP client!\nReceived: Hello from UDP server!\n");
        CHECK(hello.err.empty());
        CHECK(hello.exit_code == 0);
        const outcome two = run_program({sample("blocking/udp_client"), there, "one", "two"});
        CHECK(two.out ==
              "Sending: one\nReceived: Hello from UDP server!\n"
              "Sending: two\nReceived: Hello from UDP server!\n");
        server.check_end(SIGINT);
    }
}

TEST_CASE("udp_client by hand sends again what was lost, and takes no late answer for another",
          "[samples][blocking]") {
    datagrams server;
    program client({sample("blocking/udp_client"), server.name(), "first", "second"});
    CHECK(server.receive() == "first");  // lost
    CHECK(server.receive() == "first");  // the answer is late, and comes twice
    const socket_address asked_first = server.from;
    server.send("answer to first", asked_first);
    CHECK(client.read_line() == "Sending: first");
    CHECK(client.read_line() == "Received: answer to first");
    std::string text = server.receive();
    while (text == "first") text = server.receive();  // under load a third try may have been sent
    CHECK(text == "second");
    CHECK(server.from.to_endpoint() != asked_first.to_endpoint());
    server.send("late answer to first", asked_first);
    server.send("answer to second", server.from);
    CHECK(client.read_line() == "Sending: second");
    CHECK(client.read_line() == "Received: answer to second");
    const outcome ended = client.finish();
    CHECK(ended.err.starts_with("no answer, trying again\n"));
    CHECK(ended.exit_code == 0);
}

TEST_CASE("udp_client by hand tells what is lost from a server that is not there",
          "[samples][blocking]") {
    datagrams deaf;
    program client({sample("blocking/udp_client"), "--tries", "3", deaf.name()});
    std::string nobody;
    {
        const datagrams closed;
        nobody = closed.name();
    }
    const outcome refused = run_program({sample("blocking/udp_client"), nobody});
    CHECK(refused.err == "udp_client: " + nobody + ": nobody is there (Connection refused)\n");
    CHECK(refused.exit_code == 1);

    const outcome lost = client.finish();
    CHECK(lost.out == "Sending: Hello from UDP client!\n");
    CHECK(lost.err.find("udp_client: " + deaf.name() + ": no answer to 3 tries in ") !=
          std::string::npos);
    CHECK(lost.err.ends_with(" s; they were lost\n"));
    CHECK(lost.exit_code == 1);
}

// These run on each engine: rondo is on one side.

TEST_CASE("tcp_server and tcp_client talk with their twins by hand", "[samples]") {
    const std::vector<std::string> names = {"tcp", "blocking/tcp"};
    for (const std::string& side : names) {
        const std::string other = side == names[0] ? names[1] : names[0];
        CAPTURE(side);
        tcp_server server("localhost:0", side + "_server");
        const std::string where = "localhost:" + server.port;
        const outcome talked = run_program({sample(other + "_client"), where, "one", "two"});
        CHECK(talked.out == "Connecting to " + where +
                                "\nReceived: Hello from server!\nReceived: Hello from server!"
                                "\nConnection closed\n");
        CHECK(talked.err.empty());
        CHECK(server.process.read_line().starts_with("Connection from "));
        CHECK(server.process.read_line() == "Received: one");
        CHECK(server.process.read_line() == "Received: two");
        CHECK(server.process.read_line() == "Connection closed");
        server.check_end(SIGTERM);
    }
}

TEST_CASE("udp_server and udp_client talk with their twins by hand", "[samples]") {
    const std::vector<std::string> names = {"udp", "blocking/udp"};
    for (const std::string& side : names) {
        const std::string other = side == names[0] ? names[1] : names[0];
        CAPTURE(side);
        udp_server server("localhost:0", side + "_server");
        const std::string where = "localhost:" + server.port;
        const outcome talked = run_program({sample(other + "_client"), where, "one", "two"});
        CHECK(talked.out ==
              "Sending: one\nReceived: Hello from UDP server!\n"
              "Sending: two\nReceived: Hello from UDP server!\n");
        CHECK(talked.err.empty());
        server.check_end(SIGTERM);
    }
}
