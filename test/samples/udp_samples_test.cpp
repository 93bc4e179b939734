#include <support/child_process.hpp>
#include <support/private_network.hpp>
#include <support/program.hpp>
#include <support/raw_peer.hpp>
#include <support/raw_udp.hpp>
#include <support/sample.hpp>
#include <support/udp_relay.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

const std::string heard = "UDP Server is listening on ";

// A udp_server, with rondo or by hand, that has told where it is.
struct udp_server {
    program process;
    std::string where;

    explicit udp_server(const std::string& name) : process({sample(name), "127.0.0.1:0"}) {
        const std::string line = process.read_line();
        REQUIRE(line.starts_with(heard));
        where = line.substr(heard.size());
        CHECK(process.read_line() == "Waiting for data...");
    }
    endpoint address() const { return *endpoint::parse(where); }
};

// What `talk` writes in a network without IPv6, where server.example is this host.
std::string without_v6(const std::function<outcome()>& talk) {
    if (!may_have_private_network()) SKIP(no_private_network);
    const std::string unable = "IPv6 cannot be turned off here\n";
    const std::string said = in_private_network([&] {
        const std::string file = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
        const std::string command = "test ! -e " + file + " || echo 1 > " + file;
        if (std::system(command.c_str()) != 0) {
            say(unable.substr(0, unable.size() - 1));
            return 0;
        }
        replace_file("/etc/nsswitch.conf", "hosts: files\n");
        replace_file("/etc/hosts", "::1 server.example\n127.0.0.1 server.example\n");
        const outcome talked = talk();
        say(talked.out + talked.err);
        return talked.exit_code;
    });
    if (said == unable) SKIP(said);
    return said;
}

// Waits for one datagram.
raw_message next(raw_udp& peer) {
    for (;;) {
        if (auto got = peer.receive()) return *got;
        pollfd readable{peer.descriptor(), POLLIN, 0};
        REQUIRE(::poll(&readable, 1, 30'000) == 1);
    }
}

std::string sent_and_received(const std::vector<std::string>& messages) {
    std::string text;
    for (const std::string& each : messages) {
        text += "Sending: " + each + "\nReceived: " + each + "\n";
    }
    return text;
}

}  // namespace

// --- the first programs ----------------------------------------------------------------------

TEST_CASE("the first UDP server prints its steps and answers", "[samples]") {
    const std::string name = GENERATE("udp_server", "blocking/udp_server");
    udp_server server(name);
    raw_udp peer;
    for (const std::string text : {"Hello from UDP client!", "with a line end\n"}) {
        peer.send_to(text, server.address());
        const raw_message answer = next(peer);
        CHECK(answer.text == "Hello from UDP server!");
        CHECK(answer.from == server.address());
        CHECK(server.process.read_line() ==
              fmt::format("Received {} bytes from ('127.0.0.1', {})", text.size(),
                          peer.local_endpoint().port()));
        CHECK(server.process.read_line() == "Data: " + text.substr(0, text.find('\n')));
        CHECK(server.process.read_line() == "Waiting for data...");
    }
    server.process.signal(SIGINT);
    const outcome ended = server.process.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
}

TEST_CASE("the UDP samples take the longest datagram whole", "[samples]") {
    // What IPv4 has room for: 65535 bytes less two headers.
    const std::string longest = pattern(65507);
    raw_udp peer;
    const std::string twin = GENERATE("", "blocking/");
    udp_server server(twin + "udp_server");
    peer.send_to(longest, server.address());
    CHECK(next(peer).text == "Hello from UDP server!");
    CHECK(server.process.read_line().starts_with("Received 65507 bytes from ('127.0.0.1', "));

    sample_server echo("udp_echo_server");
    peer.send_to(longest, *endpoint::parse(echo.where));
    CHECK((next(peer).text == longest));

    const std::string message(65507, 'm');
    const outcome talked = run_program({sample(twin + "udp_client"), echo.where, message});
    CHECK((talked.out == sent_and_received({message})));
    CHECK(talked.err.empty());
    CHECK(talked.exit_code == 0);
    CHECK(echo.stop(SIGINT).err.empty());
}

TEST_CASE("the UDP samples show control bytes as text, which would act on the terminal",
          "[samples]") {
    const std::string twin = GENERATE("", "blocking/");
    const std::string sent = "a\x1b[2J\tb\x7f";
    const std::string shown = "a\\x1b[2J\tb\\x7f";
    udp_server server(twin + "udp_server");
    raw_udp peer;
    peer.send_to(sent, server.address());
    CHECK(server.process.read_line().starts_with("Received 8 bytes from ('127.0.0.1', "));
    CHECK(server.process.read_line() == "Data: " + shown);
    sample_server echo("udp_echo_server");
    const outcome talked = run_program({sample(twin + "udp_client"), echo.where, sent});
    CHECK(talked.out.ends_with("\nReceived: " + shown + "\n"));
}

TEST_CASE("the first UDP programs answer their twins by hand", "[samples]") {
    const std::string client = GENERATE("udp_client", "blocking/udp_client");
    udp_server server(client == "udp_client" ? "blocking/udp_server" : "udp_server");
    const outcome talked = run_program({sample(client), server.where});
    CHECK(talked.out == "Sending: Hello from UDP client!\nReceived: Hello from UDP server!\n");
    CHECK(talked.err.empty());
    CHECK(talked.exit_code == 0);
}

TEST_CASE("udp_client finds a server on either address of localhost", "[samples]") {
    const udp_server server("udp_server");  // on 127.0.0.1 alone
    const std::string port = server.where.substr(server.where.find(':') + 1);
    const outcome talked =
        run_program({sample("udp_client"), "localhost:" + port, "one", "two words"});
    CHECK(talked.out == "Sending: one\nReceived: Hello from UDP server!\n"
                        "Sending: two words\nReceived: Hello from UDP server!\n");
    CHECK(talked.exit_code == 0);
}

TEST_CASE("udp_client finds a server by its name where IPv6 is off", "[samples]") {
    const std::string client = GENERATE("udp_client", "blocking/udp_client");
    const std::string host = GENERATE("localhost", "server.example");
    const std::string said = without_v6([&] {
        const udp_server server("udp_server");  // on 127.0.0.1
        return run_program({sample(client), host + server.where.substr(server.where.find(':'))});
    });
    CHECK(said.starts_with("Sending: Hello from UDP client!\n"
                           "Received: Hello from UDP server!\n"));
}

TEST_CASE("udp_client without a way to the server says so", "[samples]") {
    const std::string said = without_v6([] {
        outcome talked = run_program({sample("udp_client"), "[::1]:9"});
        talked.exit_code = talked.exit_code == 1 ? 0 : 1;
        return talked;
    });
    CHECK(said.starts_with("Sending: Hello from UDP client!\n"
                           "udp_client: connect [::1]:9: Cannot assign requested address ("));
}

TEST_CASE("udp_client tells that nobody is there", "[samples]") {
    const std::string where = nobody().to_string();
    const outcome talked = run_program({sample("udp_client"), where});
    CHECK(talked.err == "udp_client: " + where + ": nobody is there (Connection refused)\n");
    CHECK(talked.exit_code == 1);
}

TEST_CASE("udp_client tells that all was lost", "[samples]") {
    const raw_udp silent;
    const std::string where = silent.local_endpoint().to_string();
    const outcome talked = run_program({sample("udp_client"), where, "hello", "--tries", "2"});
    CHECK(talked.out == "Sending: hello\n");
    CHECK(talked.err.starts_with("no answer, trying again\nudp_client: " + where +
                                 ": no answer to 2 tries in 0."));
    CHECK(talked.err.ends_with("they were lost\n"));
    CHECK(talked.exit_code == 1);
}

TEST_CASE("udp_client does not take a late answer for that to its next message",
          "[samples]") {
    raw_udp server;
    program client({sample("udp_client"), server.local_endpoint().to_string(), "one", "two"});
    CHECK(client.read_line() == "Sending: one");
    const raw_message first = next(server);
    const raw_message again = next(server);  // the first one is taken for lost
    CHECK(first.from == again.from);
    server.send_to("answer to one", again.from);
    CHECK(client.read_line() == "Received: answer to one");
    CHECK(client.read_line() == "Sending: two");
    const raw_message second = next(server);
    CHECK(second.text == "two");
    CHECK(second.from != first.from);
    server.send_to("answer to one", first.from);
    server.send_to("answer to two", second.from);
    CHECK(client.read_line() == "Received: answer to two");
    CHECK(client.finish().exit_code == 0);
}

TEST_CASE("udp_client gets every answer over a network that loses and reorders",
          "[samples]") {
    const std::string client = GENERATE("udp_client", "blocking/udp_client");
    sample_server echo("udp_echo_server");
    relay_plan plan;
    plan.drop = 80;
    plan.twice = 300;
    plan.delay = 300;
    plan.seed = 7;  // drops the first datagram
    udp_relay relay(*endpoint::parse(echo.where), plan);
    const std::vector<std::string> messages = {"one", "two",   "three", "four", "five",
                                               "six", "seven", "eight", "nine", "ten"};
    // Eight tries of one message fail once in three million.
    std::vector<std::string> command = {sample(client), "--tries", "8",
                                        relay.where().to_string()};
    command.insert(command.end(), messages.begin(), messages.end());
    const outcome talked = run_program(command);
    CHECK(talked.out == sent_and_received(messages));
    CHECK(talked.exit_code == 0);
    const relay_counts counts = relay.stop();
    CHECK(counts.dropped != 0);
    CHECK(counts.doubled != 0);
    CHECK(counts.delayed != 0);
    CHECK(echo.stop(SIGINT).exit_code == 0);
}

TEST_CASE("udp_client tells late and doubled answers from that to its next message", "[samples]") {
    const std::string client = GENERATE("udp_client", "blocking/udp_client");
    sample_server echo("udp_echo_server");
    relay_plan plan;
    plan.twice = 500;
    plan.delay = 1000;
    plan.longest_delay = std::chrono::milliseconds(150);  // each way; a client waits for 75 to 125
    plan.seed = 1;
    udp_relay relay(*endpoint::parse(echo.where), plan);
    const std::vector<std::string> messages = {"one", "two", "three", "four", "five"};
    std::vector<std::string> command = {sample(client), "--tries", "8",
                                        relay.where().to_string()};
    command.insert(command.end(), messages.begin(), messages.end());
    const outcome talked = run_program(command);
    CHECK(talked.out == sent_and_received(messages));
    CHECK(talked.exit_code == 0);
    // What was sent again was answered twice or more.
    CHECK(talked.err.starts_with("no answer, trying again\n"));
    CHECK(relay.stop().doubled != 0);
}

// --- udp_echo_server -------------------------------------------------------------------------

TEST_CASE("udp_echo_server sends back each datagram, on both addresses of localhost",
          "[samples]") {
    sample_server echo("udp_echo_server", {"localhost:0"}, 2);
    for (const std::string& where : echo.addresses) {
        const endpoint server = *endpoint::parse(where);
        raw_udp peer(server.address());
        for (int i = 0; i < 100; ++i) {
            peer.send_to(std::string(static_cast<std::size_t>(i), 'x'), server);
            CHECK(next(peer).text.size() == static_cast<std::size_t>(i));
        }
    }
    const outcome ended = echo.stop(SIGTERM);
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
}

TEST_CASE("socat gets its datagram back from udp_echo_server", "[samples]") {
    if (!installed("socat")) SKIP("there is no socat");
    sample_server echo("udp_echo_server");
    const outcome talked = run_program({"socat", "-t0.2", "-", "UDP:" + echo.where}, "hello\n");
    CHECK(talked.out == "hello\n");
}

TEST_CASE("after Ctrl-C udp_echo_server answers what had arrived", "[samples]") {
    sample_server echo("udp_echo_server");
    const endpoint server = *endpoint::parse(echo.where);
    raw_udp peer;
    peer.send_to("served", server);
    CHECK(next(peer).text == "served");
    // Stopped, so that the signal is there before any of these datagrams has been looked at.
    echo.process.stop();
    for (int i = 0; i < 100; ++i) peer.send_to(std::to_string(i), server);
    echo.process.signal(SIGINT);
    echo.process.signal(SIGCONT);
    const outcome ended = echo.process.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
    CHECK(peer.receive_all().size() == 100);
}

// --- udp_game --------------------------------------------------------------------------------

// Waits for the next state of this game: one of a suite that runs beside this may still send to a
// player who had this port before.
std::string next_state(raw_udp& player, const endpoint& game) {
    for (;;) {
        const raw_message got = next(player);
        if (got.from == game) return got.text;
    }
}

TEST_CASE("a player of udp_game walks every step once, over a good network", "[samples]") {
    sample_server game("udp_game");
    const outcome played =
        run_program({sample("udp_game"), "--join", game.where, "--steps", "5"});
    CHECK(played.out.starts_with("5 steps confirmed, at 3,2; "));
    CHECK(played.out.find(" 0 lost (0.0 %), 0 late, 0 doubled; jitter ") != std::string::npos);
    CHECK(played.exit_code == 0);
    CHECK(game.process.read_line().starts_with("player 1 joined from 127.0.0.1:"));
    CHECK(game.stop(SIGINT).exit_code == 0);
}

TEST_CASE("a player of udp_game walks every step once, over a bad network", "[samples]") {
    sample_server game("udp_game");
    relay_plan plan;
    plan.drop = 200;
    plan.twice = 200;
    plan.delay = 500;
    plan.longest_delay = std::chrono::milliseconds(80);  // more than two ticks: reordered
    plan.seed = 3;
    udp_relay relay(*endpoint::parse(game.where), plan);
    const outcome played = run_program(
        {sample("udp_game"), "--join", relay.where().to_string(), "--steps", "20"});
    INFO(played.out << played.err);
    CHECK(played.out.starts_with("20 steps confirmed, at 10,10; "));
    CHECK(played.err.empty());
    CHECK(played.exit_code == 0);
    const relay_counts counts = relay.stop();
    CHECK(counts.dropped != 0);
    CHECK(counts.doubled != 0);
    CHECK(counts.delayed != 0);
}

TEST_CASE("several players of udp_game walk at once, each every step once, over a bad network",
          "[samples]") {
    sample_server game("udp_game");
    relay_plan plan;
    plan.drop = 200;
    plan.twice = 200;
    plan.delay = 500;
    plan.longest_delay = std::chrono::milliseconds(80);
    plan.seed = 5;
    udp_relay relay(*endpoint::parse(game.where), plan);
    const auto player = [&](const char* steps) {
        return std::make_unique<program>(std::vector<std::string>{
            sample("udp_game"), "--join", relay.where().to_string(), "--steps", steps});
    };
    const auto first = player("20");
    const auto second = player("14");
    const auto third = player("7");
    const std::vector<std::pair<program*, std::string>> expected = {
        {first.get(), "20 steps confirmed, at 10,10; "},
        {second.get(), "14 steps confirmed, at 7,7; "},
        {third.get(), "7 steps confirmed, at 4,3; "}};
    for (const auto& [each, said] : expected) {
        const outcome played = each->finish();
        INFO(played.out << played.err);
        CHECK(played.out.starts_with(said));
        CHECK(played.err.empty());
        CHECK(played.exit_code == 0);
    }
    for (int id = 1; id <= 3; ++id) {
        CHECK(game.process.read_line().starts_with(fmt::format("player {} joined from ", id)));
    }
    CHECK(relay.stop().dropped != 0);
    CHECK(game.stop(SIGINT).exit_code == 0);
}

TEST_CASE("a state of udp_game is of one moment, whoever steps while it is sent", "[samples]") {
    sample_server game("udp_game");
    const endpoint server = *endpoint::parse(game.where);
    struct walker {
        raw_udp socket;
        int taken = 0;
        int confirmed = 0;
    };
    std::vector<walker> walkers(32);
    const auto take_a_step = [&](walker& each) {
        ++each.taken;
        // Some that were sent before, too: should these be lost as well, all that may be missing.
        const bool is_stuck = each.taken - each.confirmed > 300;
        std::string input = "input";
        for (int n = is_stuck ? each.confirmed + 1 : std::max(1, each.taken - 8); n <= each.taken;
             ++n) {
            input += fmt::format("\n{} 1 0", n);
        }
        each.socket.send_to(input, server);
    };
    // At no moment is nobody walking, so that steps arrive while the states of a tick are sent.
    for (int states = 0; states < 500;) {
        for (int id = 1; id <= 32; ++id) {
            walker& each = walkers[static_cast<std::size_t>(id - 1)];
            take_a_step(each);
            const auto state = each.socket.receive();
            if (!state || state->from != server) continue;  // see next_state()
            ++states;
            std::istringstream words(state->text);
            std::string word;
            unsigned tick = 0;
            REQUIRE(words >> word >> tick >> each.confirmed);
            const std::string here = fmt::format("\n{} {} 0", id, each.confirmed);
            INFO(state->text);
            CHECK(state->text.find(here) != std::string::npos);
        }
    }
    for (const walker& each : walkers) CHECK(each.confirmed > 1);
}

TEST_CASE("udp_game lets nobody walk faster than a player can, or out of the world",
          "[samples]") {
    sample_server game("udp_game");
    raw_udp cheat;
    // Sends the steps until the server has confirmed the last of them; returns where it sees us.
    const auto walk = [&](const std::string& steps, unsigned last) {
        for (;;) {
            cheat.send_to("input" + steps, *endpoint::parse(game.where));
            const std::string state = next_state(cheat, *endpoint::parse(game.where));
            std::istringstream words(state);
            std::string word;
            unsigned tick = 0;
            unsigned confirmed = 0;
            REQUIRE(words >> word >> tick >> confirmed);
            const std::size_t line = state.find('\n');
            REQUIRE(line != std::string::npos);
            if (confirmed == last) return state.substr(line + 1);
        }
    };
    CHECK(walk("\n1 2147483647 0\n2 2147483647 0\n3 0 -2147483648\n4 0 -2147483648", 4) ==
          "1 0 0");
    CHECK(walk("\n5 2 0\n6 0 -2\n7 1 -1", 7) == "1 1 -1");
    // What is no number ends the datagram.
    CHECK(walk("\n8 1 0\n9 2147483648 0\n10 1 0", 8) == "1 2 -1");
    unsigned sequence = 8;
    std::string place;
    while (sequence < 12'000) {
        std::string steps;
        for (int i = 0; i != 1000; ++i) steps += fmt::format("\n{} 1 -1", ++sequence);
        place = walk(steps, sequence);
    }
    CHECK(place == "1 10000 -10000");
    const outcome ended = game.stop(SIGINT);
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
}

TEST_CASE("a player of udp_game finds a server by its name where IPv6 is off", "[samples]") {
    const std::string host = GENERATE("localhost", "server.example");
    const std::string said = without_v6([&] {
        sample_server game("udp_game");
        return run_program(
            {sample("udp_game"), "--join", host + ":" + game.port, "--steps", "2"});
    });
    CHECK(said.starts_with("2 steps confirmed, at 1,1; "));
}

TEST_CASE("a player of udp_game without a server says so", "[samples]") {
    const endpoint gone = nobody();
    const outcome played = run_program({sample("udp_game"), "--join", gone.to_string()});
    CHECK(played.err.find("Connection refused") != std::string::npos);
    CHECK(played.exit_code == 1);
}

TEST_CASE("udp_client and its twin refuse to try less than once", "[samples]") {
    for (const std::string name : {"udp_client", "blocking/udp_client"}) {
        CAPTURE(name);
        const outcome refused = run_program({sample(name), "--tries", "0", "127.0.0.1:1"});
        CHECK(refused.exit_code != 0);
        CHECK(refused.out.empty());
        CHECK(refused.err.find("--tries") != std::string::npos);
    }
}
