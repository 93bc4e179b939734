// The chat servers, ours and those by hand: each line of samples/README.md, and slow clients.
#include <support/plain_client.hpp>
#include <support/program.hpp>
#include <support/sample.hpp>

#include <catch2/catch_test_macros.hpp>

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

using rondo::test::comes_to_descriptors;
using rondo::test::installed;
using rondo::test::open_descriptors;
using rondo::test::outcome;
using rondo::test::plain_client;
using rondo::test::run_program;
using rondo::test::sample_server;

namespace {

const std::string with_select = "blocking/chat_select";
const std::string with_epoll = "blocking/chat_epoll";
const std::vector<std::string> servers = {"chat_server", with_select, with_epoll};

// Welcomed, and named if a name is given.
plain_client guest(const sample_server& server, const std::string& name = {},
                   int receive_buffer = -1) {
    plain_client made(server.where, receive_buffer);
    const std::string welcome = made.read_line();
    CHECK(welcome.starts_with("* welcome, guest"));
    CHECK(welcome.ends_with("; try /help"));
    if (!name.empty()) {
        made.send("/nick " + name + "\n");
        CHECK(made.read_line().ends_with(" is now " + name));
    }
    return made;
}

// What others said before has arrived: answers stand behind it.
void skip_to_now(plain_client& client) {
    client.send("/help\n");
    while (client.read_line() != "* commands: /nick NAME, /who, /quit, /help") {
    }
}

void check_end(sample_server& server, int signal = SIGTERM) {
    const outcome ended = server.stop(signal);
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
}

}  // namespace

TEST_CASE("a chat announces who joins, is renamed and leaves", "[samples][chat]") {
    for (const std::string& name : servers) {
        CAPTURE(name);
        sample_server server(name, {"--lines", "localhost:0"}, 2);
        const std::size_t before = open_descriptors(server.process.id());
        plain_client alice(server.addresses[0]);
        CHECK(alice.read_line() == "* welcome, guest1; try /help");
        plain_client bob(server.addresses[1]);
        CHECK(bob.read_line() == "* welcome, guest2; try /help");
        CHECK(alice.read_line() == "* guest2 joined");
        alice.send("/nick alice\n");
        CHECK(alice.read_line() == "* guest1 is now alice");
        CHECK(bob.read_line() == "* guest1 is now alice");
        bob.send("/quit\n");
        CHECK(bob.read_line() == "* goodbye");
        CHECK(bob.at_end());
        bob.finish();  // the server waits for that
        CHECK(alice.read_line() == "* guest2 left");
        plain_client rude = guest(server);
        CHECK(alice.read_line() == "* guest3 joined");
        rude.reset();
        CHECK(alice.read_line() == "* guest3 left");
        CHECK(comes_to_descriptors(server.process.id(), before + 1));
        check_end(server);
    }
}

TEST_CASE("a chat passes a line to all but its sender", "[samples][chat]") {
    for (const std::string& name : servers) {
        CAPTURE(name);
        sample_server server(name);
        plain_client alice = guest(server, "alice");
        std::vector<plain_client> others;
        for (int i = 0; i < 60; ++i) others.push_back(guest(server));
        for (plain_client& each : others) skip_to_now(each);
        skip_to_now(alice);
        std::string lines;
        for (int i = 0; i < 200; ++i) lines += "line " + std::to_string(i) + "\n";
        alice.send(lines + "/who\n");
        for (plain_client& each : others) {
            for (int i = 0; i < 200; ++i) {
                const std::string line = each.read_line();
                if (line != "alice: line " + std::to_string(i)) FAIL(line);
            }
        }
        CHECK(alice.read_line().starts_with("* here: alice, guest"));
        check_end(server);
    }
}

TEST_CASE("a chat obeys its commands and refuses others", "[samples][chat]") {
    struct exchange {
        std::string said;
        std::string answer;
    };
    const std::vector<exchange> table = {
        {"/who", "* here: alice, guest1"},
        {"  /who", {}},  // no command: a line begins with it
        {"/who  ", "* here: alice, guest1"},
        {"/nick alice", "* the name alice is taken"},
        {"/nick guest1", "* the name guest1 is taken"},
        {"/nick", "* a name has 1 to 20 letters, digits, - or _"},
        {"/nick two words", "* a name has 1 to 20 letters, digits, - or _"},
        {"/nick f\xc3\xbcr", "* a name has 1 to 20 letters, digits, - or _"},
        {"/nick a2345678901234567890X", "* a name has 1 to 20 letters, digits, - or _"},
        {"/help", "* commands: /nick NAME, /who, /quit, /help"},
        {"/dance with me", "* there is no command /dance; try /help"},
        {"/", "* there is no command /; try /help"},
        {"/nick   Bob_2-x  ", "* guest1 is now Bob_2-x"},
        {"/who", "* here: Bob_2-x, alice"},
    };
    for (const std::string& name : servers) {
        CAPTURE(name);
        sample_server server(name);
        plain_client bob = guest(server);
        const plain_client alice = guest(server, "alice");
        CHECK(bob.read_line() == "* guest2 joined");
        CHECK(bob.read_line() == "* guest2 is now alice");
        for (const auto& [said, answer] : table) {
            bob.send(said + "\n");
            if (!answer.empty()) CHECK(bob.read_line() == answer);
        }
        check_end(server);
    }
}

TEST_CASE("a chat takes lines however they are cut, and what ends no line",
          "[samples][chat]") {
    for (const std::string& name : servers) {
        CAPTURE(name);
        sample_server server(name);
        plain_client alice = guest(server, "alice");
        plain_client bob = guest(server, "bob");
        skip_to_now(alice);
        for (const char c : std::string("piece by piece\r\n")) bob.send(std::string(1, c));
        CHECK(alice.read_line() == "bob: piece by piece");
        bob.send(std::string("\n\r\n\r\r\none\x1b[31m\ttwo\0three\x7f\n", 26));
        CHECK(alice.read_line() == "bob:  ");  // one '\r' belongs to the line
        CHECK(alice.read_line() == "bob: one [31m two three ");
        bob.send(std::string(1000, 'x') + "\r\n");
        CHECK(alice.read_line() == "bob: " + std::string(1000, 'x'));
        bob.send(std::string(1001, 'x') + "\n" + std::string(50'000, 'y') + "\r\nshort\n");
        CHECK(bob.read_line() == "* a line has at most 1000 bytes");
        CHECK(bob.read_line() == "* a line has at most 1000 bytes");
        CHECK(alice.read_line() == "bob: short");
        bob.send("the last");
        bob.finish();
        CHECK(bob.at_end());
        CHECK(alice.read_line() == "bob: the last");
        CHECK(alice.read_line() == "* bob left");
        check_end(server);
    }
}

TEST_CASE("a slow client of a chat is told how many lines it missed, and where",
          "[samples][chat]") {
    for (const std::string& name : servers) {
        CAPTURE(name);
        sample_server server(name);
        plain_client alice = guest(server, "alice");
        plain_client slow = guest(server, {}, 65536);
        plain_client quick = guest(server);
        skip_to_now(alice);
        const std::string padding(900, '.');
        const std::size_t count = 6000;
        for (std::size_t i = 0; i < count; ++i) {
            alice.send(std::to_string(i) + padding + "\n");
            if (i % 50 == 0) skip_to_now(alice);
            while (quick.hears_within(0)) quick.read_line();
        }
        skip_to_now(alice);
        slow.read_line();  // the third has joined
        std::size_t next = 0;
        std::size_t notes = 0;
        while (next < count) {
            const std::string line = slow.read_line();
            if (line.starts_with("* you missed ")) {
                next += std::strtoul(line.c_str() + 13, nullptr, 10);
                ++notes;
            } else if (line == "alice: " + std::to_string(next) + padding) {
                ++next;
            } else {
                FAIL("instead of line " << next << ": " << line);
            }
        }
        CHECK(next == count);
        CHECK(notes >= 1);
        alice.send("caught up\n");
        CHECK(slow.read_line() == "alice: caught up");
        check_end(server);
    }
}

TEST_CASE("a client of a chat that asks and does not read is bounded",
          "[samples][chat]") {
    for (const std::string& name : servers) {
        CAPTURE(name);
        sample_server server(name);
        plain_client deaf = guest(server, {}, 4096);
        std::vector<plain_client> others;
        for (int i = 0; i < 25; ++i) others.push_back(guest(server));
        std::string questions;
        for (int i = 0; i < 40'000; ++i) questions += "/who\n";
        deaf.send(questions + "/quit\n");
        REQUIRE(deaf.is_read());
        const std::string answers = deaf.receive_all();
        CHECK(answers.find("* you missed ") != std::string::npos);
        CHECK(answers.ends_with("* goodbye\n"));
        check_end(server);
    }
}

TEST_CASE("who quits a chat gets all that was owed, also who goes on talking", "[samples][chat]") {
    sample_server server("chat_server");
    plain_client loud = guest(server, {}, 2048);
    std::string questions;
    for (int i = 0; i < 200; ++i) questions += "/help\n";
    loud.send(questions + "/quit\n");
    REQUIRE(loud.is_read());
    loud.send("and another thing\n");
    REQUIRE(loud.is_read());
    loud.send("and another thing\n");
    const std::string answers = loud.receive_all();
    CHECK(std::ranges::count(answers, '\n') == 201);
    CHECK(answers.ends_with("* goodbye\n"));
    check_end(server);
}

TEST_CASE("a crowd that comes and goes at once leaves room for what is said in the chat",
          "[samples][chat]") {
    sample_server server("chat_server");
    plain_client alice = guest(server, "alice");
    plain_client bob = guest(server, "bob");
    skip_to_now(alice);
    server.process.stop();
    for (int i = 0; i < 400; ++i) plain_client gone(server.where);
    alice.send("are you there?\n");
    server.process.signal(SIGCONT);
    while (bob.read_line() != "alice: are you there?") {
    }
    check_end(server);
}

TEST_CASE("a chat lists who is there in a line of bounded length", "[samples][chat]") {
    sample_server server("chat_server");
    plain_client alice = guest(server, "alice");
    std::vector<plain_client> others;
    for (int i = 0; i < 120; ++i) others.push_back(guest(server));
    skip_to_now(alice);
    alice.send("/who\n");
    const std::string here = alice.read_line();
    CHECK(here.starts_with("* here: alice, guest10, guest100, "));
    CHECK(here.ends_with(" more"));
    CHECK(here.size() < 1'050);
    check_end(server);
}

TEST_CASE("a chat counts what happened, and does not go past its limit of clients",
          "[samples][chat]") {
    sample_server server("chat_server", {"--limit", "2", "--stats", "127.0.0.1:0"});
    plain_client alice = guest(server, "alice");
    plain_client bob = guest(server, "bob");
    plain_client third(server.where);
    skip_to_now(alice);
    CHECK_FALSE(third.hears_within(0));
    bob.send("/quit\n");
    bob.finish();
    CHECK(third.read_line() == "* welcome, guest3; try /help");
    const outcome ended = server.stop(SIGTERM);
    CHECK(ended.exit_code == 0);
    const std::string told = "accepted 3 clients, at most 2 at a time: 0 lost; at the limit 2 ";
    CHECK(ended.out.find(told) != std::string::npos);
    CHECK(ended.out.find("\nrondo_buffers_held{thread=\"0\"} 0\n") != std::string::npos);
}

TEST_CASE("a chat says goodbye to all when it is stopped", "[samples][chat]") {
    for (const std::string& name : servers) {
        CAPTURE(name);
        sample_server server(name);
        plain_client alice = guest(server, "alice");
        plain_client bob = guest(server, "bob");
        skip_to_now(alice);
        server.process.stop();
        alice.send("not read any more\n");
        server.process.signal(SIGINT);
        server.process.signal(SIGCONT);
        std::string last = alice.receive_all();
        CHECK(last == "* goodbye\n");
        last = bob.receive_all();
        CHECK(last.ends_with("* goodbye\n"));
        const outcome ended = server.process.finish();
        CHECK(ended.exit_code == 0);
        CHECK(ended.err.empty());
    }
}

TEST_CASE("who comes to a chat while it stops is told goodbye", "[samples][chat]") {
    for (const std::string& name : servers) {
        CAPTURE(name);
        sample_server server(name);
        plain_client alice = guest(server, "alice");
        server.process.stop();
        std::vector<plain_client> late;
        for (int i = 0; i < 3; ++i) late.emplace_back(server.where);
        server.process.signal(SIGINT);
        server.process.signal(SIGCONT);
        for (plain_client& each : late) {
            const std::string told = each.receive_all();
            CHECK(told.ends_with("* goodbye\n"));
        }
        CHECK(alice.receive_all().ends_with("* goodbye\n"));
        const outcome ended = server.process.finish();
        CHECK(ended.exit_code == 0);
        CHECK(ended.err.empty());
    }
}

TEST_CASE("a client that does not read delays the end of a chat by two seconds at most, as long as "
          "one that has quit and does not hang up is waited for",
          "[samples][chat]") {
    sample_server patient("chat_server");
    const std::size_t descriptors = open_descriptors(patient.process.id());
    plain_client quitter = guest(patient);
    quitter.send("/quit\n");
    CHECK(quitter.receive_all() == "* goodbye\n");
    std::vector<std::unique_ptr<sample_server>> running;
    std::vector<plain_client> clients;
    for (const std::string& name : servers) {
        running.push_back(std::make_unique<sample_server>(name));
        clients.push_back(guest(*running.back(), {}, 4096));
        plain_client speaker = guest(*running.back());
        for (int i = 0; i < 40; ++i) {
            std::string block;
            for (int line = 0; line < 200; ++line) block += std::string(990, 'x') + "\n";
            speaker.send(block);
            skip_to_now(speaker);
        }
    }
    const auto begin = std::chrono::steady_clock::now();
    for (const auto& server : running) server->process.signal(SIGTERM);
    for (const auto& server : running) CHECK(server->process.finish().exit_code == 0);
    const auto passed = std::chrono::steady_clock::now() - begin;
    CHECK(passed >= std::chrono::milliseconds(1900));
    CHECK(passed < std::chrono::seconds(8));
    CHECK(comes_to_descriptors(patient.process.id(), descriptors));
    check_end(patient);
}

TEST_CASE("chat_select tells the client of descriptor 1024 that the chat is full",
          "[samples][chat]") {
    rlimit usual{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &usual) == 0);
    if (usual.rlim_max < 1200) SKIP("a process may have fewer than 1200 descriptors here");
    rlimit raised = usual;
    raised.rlim_cur = raised.rlim_max;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &raised) == 0);
    {
        sample_server server(with_select);
        const std::size_t taken = open_descriptors(server.process.id());
        std::vector<plain_client> clients;
        for (std::size_t i = taken; i < 1024; ++i) clients.emplace_back(server.where);
        CHECK(clients.back().read_line().starts_with("* welcome, "));
        plain_client refused(server.where);
        CHECK(refused.receive_all() == "* the chat is full\n");
        const outcome ended = server.stop(SIGTERM);
        CHECK(ended.exit_code == 0);
        CHECK(ended.err.starts_with("refused " + refused.local_name() +
                                    ": its descriptor would be 1024, and select() knows only"));
    }
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &usual) == 0);
}

TEST_CASE("nc gets its answer from a chat after it has ended its input",
          "[samples][chat]") {
    if (!installed("nc")) SKIP("there is no nc");
    for (const std::string& name : servers) {
        CAPTURE(name);
        sample_server server(name);
        const outcome talked = run_program({"nc", "-N", "127.0.0.1", server.port}, "/who\n");
        CHECK(talked.out == "* welcome, guest1; try /help\n* here: guest1\n");
        CHECK(talked.exit_code == 0);
        check_end(server, SIGINT);
    }
}
