// The proxy as a user meets it: a built program between a client and a target.
#include <rondo/net/tcp.hpp>
#include <rondo/stream/read_exactly.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/program.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/sample.hpp>
#include <support/stream_pairs.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fmt/core.h>

#include <signal.h>

#include <fstream>
#include <string>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

// A proxy with a listener of the test's own as its target.
struct proxied {
    tcp_listener target = listen_on_loopback();
    sample_server proxy{"proxy", {"127.0.0.1:0", target.local_endpoint().to_string()}, 1};
};

struct connection {
    connection(tcp_socket near, tcp_socket far) noexcept
        : client(std::move(near)), server(std::move(far)) {}

    tcp_socket client;
    tcp_socket server;
};

task<connection> connect_through(proxied& between) {
    tcp_socket client = co_await tcp_connect(*endpoint::parse(between.proxy.where));
    tcp_socket server = co_await accept_one(between.target);
    connection made(std::move(client), std::move(server));
    co_return made;
}

// Whether a connection to this port of 127.0.0.1 has its keep-alive timer running: proc(5), where
// the far end is followed by the state, the queues, and the timer.
bool is_kept_alive(std::uint16_t far_port) {
    const std::string far_end = fmt::format(" 0100007F:{:04X} 01 00000000:00000000 02:", far_port);
    std::ifstream table("/proc/net/tcp");
    for (std::string line; std::getline(table, line);) {
        if (line.find(far_end) != std::string::npos) return true;
    }
    return false;
}

task<> send_and_end(tcp_socket& to, std::string_view text) {
    co_await to.send(text);
    to.shutdown(shutdown_mode::send);
}

}  // namespace

TEST_CASE("what goes through the proxy comes out unchanged, both ways at once", "[samples]") {
    const std::string question = pattern(3'000'000, 1);
    const std::string answer = pattern(2'000'000, 2);
    proxied between;
    test::run([&]() -> task<> {
        connection through = co_await connect_through(between);
        const auto [asked, answered, at_server, at_client] = co_await when_all(
            send_and_end(through.client, question), send_and_end(through.server, answer),
            read_to_end(through.server), read_to_end(through.client));
        CHECK((at_server == question));
        CHECK((at_client == answer));
    });
    const outcome ended = between.proxy.stop(SIGINT);
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
}

TEST_CASE("the proxy passes on the end of one direction while the other goes on", "[samples]") {
    proxied between;
    test::run([&]() -> task<> {
        connection through = co_await connect_through(between);
        co_await send_and_end(through.client, "question");
        const std::string question = co_await read_to_end(through.server);
        CHECK(question == "question");
        co_await send_and_end(through.server, "answer");
        const std::string answer = co_await read_to_end(through.client);
        CHECK(answer == "answer");
        // And the other way round.
        connection second = co_await connect_through(between);
        co_await send_and_end(second.server, "greeting");
        const std::string greeting = co_await read_to_end(second.client);
        CHECK(greeting == "greeting");
        co_await send_and_end(second.client, "thanks");
        const std::string thanks = co_await read_to_end(second.server);
        CHECK(thanks == "thanks");
    });
    CHECK(between.proxy.stop(SIGTERM).exit_code == 0);
}

TEST_CASE("where one side of the proxy resets in mid-answer, the other side sees a reset, no end",
          "[samples]") {
    proxied between;
    std::vector<std::string> failed;
    test::run([&]() -> task<> {
        for (const bool client_fails : {true, false}) {
            connection through = co_await connect_through(between);
            co_await through.client.send("x");
            co_await through.server.send("y");
            std::string byte(1, '\0');
            co_await rondo::read_exactly(through.client, writable(byte));
            co_await rondo::read_exactly(through.server, writable(byte));
            tcp_socket& failing = client_fails ? through.client : through.server;
            tcp_socket& other = client_fails ? through.server : through.client;
            failed.push_back((client_fails ? failing.local_endpoint()
                                           : between.target.local_endpoint()).to_string());
            co_await failing.abort();
            auto end = co_await as_result(other.recv());
            CHECK_FALSE(end);
            CHECK(end.error() == std::errc::connection_reset);
        }
    });
    const outcome ended = between.proxy.stop(SIGINT);
    CHECK(ended.exit_code == 0);
    for (const std::string& peer : failed) {
        CHECK(ended.err.find("proxy: recv " + peer + ": Connection reset by peer") !=
              std::string::npos);
    }
}

// Connects, too: on a busy machine the end is there before connect(2) has returned.
task<> receive_from(endpoint where) {
    tcp_socket server = co_await tcp_connect(where);
    co_await server.recv();
}

TEST_CASE("the last words of a target that resets come through the proxy", "[samples]") {
    const std::string last_words = pattern(40'000);
    proxied between;
    test::run([&]() -> task<> {
        connection through = co_await connect_through(between);
        co_await through.client.send("question");
        const std::string question = co_await test::read_exactly(through.server, 8);
        CHECK(question == "question");
        // By the time the proxy hears of the client's end it cannot tell the target.
        between.proxy.process.stop();
        co_await through.server.send(last_words);
        co_await through.server.abort();
        through.client.shutdown(shutdown_mode::send);
        between.proxy.process.signal(SIGCONT);
        const std::string answer = co_await test::read_exactly(through.client, 40'000);
        CHECK((answer == last_words));
        auto end = co_await as_result(through.client.recv());
        CHECK(end.error() == std::errc::connection_reset);
    });
    CHECK(between.proxy.stop(SIGINT).exit_code == 0);
}

TEST_CASE("the proxy goes on where its target refuses", "[samples]") {
    proxied between;
    const std::string nobody = between.target.local_endpoint().to_string();
    test::run([&]() -> task<> {
        co_await between.target.close();
        for (int i = 0; i < 2; ++i) {
            const auto end =
                co_await as_result(receive_from(*endpoint::parse(between.proxy.where)));
            CHECK(end.error() == std::errc::connection_reset);
        }
    });
    const outcome ended = between.proxy.stop(SIGINT);
    CHECK(ended.exit_code == 0);
    const std::string reason =
        "connect " + nobody + ": Connection refused (nothing listens there; see ss -ltn)";
    const std::size_t first = ended.err.find(reason);
    REQUIRE(first != std::string::npos);
    CHECK(ended.err.find(reason, first + 1) != std::string::npos);
}

TEST_CASE("a stopped proxy passes on what had come and the answer, and resets the target",
          "[samples]") {
    proxied between;
    test::run([&]() -> task<> {
        connection through = co_await connect_through(between);
        between.proxy.process.stop();
        co_await through.client.send("question");
        between.proxy.process.signal(SIGINT);
        between.proxy.process.signal(SIGCONT);
        const std::string question = co_await test::read_exactly(through.server, 8);
        CHECK(question == "question");
        co_await send_and_end(through.server, "answer");
        const std::string answer = co_await read_to_end(through.client);
        CHECK(answer == "answer");
        // The client might have gone on: its side was cut short.
        auto end = co_await as_result(through.server.recv());
        CHECK(end.error() == std::errc::connection_reset);
    });
    const outcome ended = between.proxy.process.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
}

TEST_CASE("a stopped proxy passes on an end that had come", "[samples]") {
    proxied between;
    test::run([&]() -> task<> {
        connection through = co_await connect_through(between);
        between.proxy.process.stop();
        co_await send_and_end(through.client, "question");
        between.proxy.process.signal(SIGINT);
        between.proxy.process.signal(SIGCONT);
        const std::string question = co_await read_to_end(through.server);
        CHECK(question == "question");
        co_await send_and_end(through.server, "answer");
        const std::string answer = co_await read_to_end(through.client);
        CHECK(answer == "answer");
    });
    const outcome ended = between.proxy.process.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
}

TEST_CASE("the proxy looks after those that say nothing, on both sides", "[samples]") {
    proxied between;
    test::run([&]() -> task<> {
        const connection through = co_await connect_through(between);
        const std::uint16_t client = through.client.local_endpoint().port();
        const std::uint16_t target = between.target.local_endpoint().port();
        const bool both = co_await eventually(
            [&] { return is_kept_alive(client) && is_kept_alive(target); });
        CHECK(both);
    });
    CHECK(between.proxy.stop(SIGINT).exit_code == 0);
}

TEST_CASE("netcat talks to the echo server through the proxy", "[samples]") {
    if (!installed("nc")) SKIP("there is no nc");
    sample_server echo("echo_server");
    sample_server proxy("proxy", {"127.0.0.1:0", echo.where}, 1);
    const outcome talked = run_program({"nc", "-N", "127.0.0.1", proxy.port}, "hello\nagain\n");
    CHECK(talked.out == "hello\nagain\n");
    CHECK(proxy.stop(SIGINT).exit_code == 0);
    CHECK(echo.stop(SIGINT).exit_code == 0);
}

TEST_CASE("the proxy tells how it is used, and what is wrong in one line", "[samples]") {
    const outcome help = run_program({sample("proxy"), "--help"});
    CHECK(help.exit_code == 0);
    CHECK(help.out.find("TARGET") != std::string::npos);
    const outcome wrong = run_program({sample("proxy"), "nonsense", "127.0.0.1:1"});
    CHECK(wrong.exit_code == 1);
    CHECK(wrong.err == "proxy: listen \"nonsense\": the port is missing, as in localhost:80\n");
}

task<> connect_until_refused(endpoint where) {
    for (std::error_code outcome; outcome != std::errc::connection_refused;) {
        const auto connected = co_await as_result(tcp_connect(where));
        outcome = connected.error();
    }
}

// Its target has not ended, so the drain takes its time.
TEST_CASE("a second Ctrl-C ends a server that has not drained yet", "[samples]") {
    proxied between;
    const endpoint where = *endpoint::parse(between.proxy.where);
    test::run([&]() -> task<> {
        const connection through = co_await connect_through(between);
        between.proxy.process.signal(SIGINT);
        // The first signal has been seen when nobody new is let in.
        co_await with_timeout(std::chrono::seconds(8), connect_until_refused(where));
        between.proxy.process.signal(SIGINT);
        const outcome ended = between.proxy.process.finish();
        CHECK(ended.exit_code == -1);
        CHECK(ended.signal == SIGINT);
    });
}
