// The echo servers by hand, as their users meet them: each keeps what the textbook promises of it.
#include <support/plain_client.hpp>
#include <support/program.hpp>
#include <support/sample.hpp>
#include <support/sanitizer.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fmt/core.h>
#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using rondo::test::address_sanitized;
using rondo::test::can_connect;
using rondo::test::comes_to_descriptors;
using rondo::test::comes_to_take;
using rondo::test::installed;
using rondo::test::long_text;
using rondo::test::open_descriptors;
using rondo::test::outcome;
using rondo::test::plain_client;
using rondo::test::processor_time;
using rondo::test::run_program;
using rondo::test::sample;
using rondo::test::sample_server;

namespace {

const std::string one_at_a_time = "blocking/echo_one_at_a_time";
const std::string with_select = "blocking/echo_select";
const std::string nonblocking = "blocking/echo_nonblocking";

bool ring_is_there() {
    static const bool there = [] {
        rondo::test::program probe({sample("blocking/echo_uring"), "127.0.0.1:0"});
        try {
            probe.read_line();
        } catch (const std::exception&) {
            return false;
        }
        return true;
    }();
    return there;
}

// Those that serve more than one client at a time.
std::vector<std::string> many_at_a_time() {
    std::vector<std::string> names = {"blocking/echo_threads", with_select, "blocking/echo_poll",
                                      "blocking/echo_epoll", nonblocking};
    if (ring_is_there()) names.emplace_back("blocking/echo_uring");
    return names;
}

std::vector<std::string> all_servers() {
    std::vector<std::string> names = many_at_a_time();
    names.push_back(one_at_a_time);
    return names;
}

// Too long to be printed in full.
void check_same(const std::string& got, const std::string& expected) {
    CHECK(got.size() == expected.size());
    CHECK(got.compare(expected) == 0);
}

void check_echo(plain_client& client, const std::string& text) {
    client.send(text);
    CHECK(client.receive(text.size()) == text);
}

}  // namespace

TEST_CASE("echo_uring by hand says why where there is no ring", "[samples][blocking]") {
    if (ring_is_there()) SKIP("there is a ring");
    const outcome failed = run_program({sample("blocking/echo_uring"), "127.0.0.1:0"});
    CHECK(failed.err.starts_with("echo_uring: io_uring_queue_init"));
    CHECK(failed.exit_code == 1);
}

TEST_CASE("an echo server by hand returns a megabyte on both addresses of localhost, then the end",
          "[samples][blocking]") {
    const std::string text = long_text(1 << 20);
    for (const std::string& name : all_servers()) {
        CAPTURE(name);
        sample_server server(name, {"localhost:0"}, 2);
        CHECK(server.addresses[0] == "[::1]:" + server.port);
        CHECK(server.addresses[1] == "127.0.0.1:" + server.port);
        const std::size_t before = open_descriptors(server.process.id());
        for (const std::string& where : server.addresses) {
            plain_client client(where);
            std::jthread sender([&] {
                client.send(text);
                client.finish();
            });
            check_same(client.receive_all(), text);
        }
        CHECK(comes_to_descriptors(server.process.id(), before));
        const outcome ended = server.stop(SIGTERM);
        CHECK(ended.exit_code == 0);
        CHECK(ended.err.empty());
    }
}

TEST_CASE("an echo server by hand serves many clients at a time", "[samples][blocking]") {
    for (const std::string& name : many_at_a_time()) {
        CAPTURE(name);
        sample_server server(name);
        std::vector<plain_client> clients;
        for (int i = 0; i < 50; ++i) clients.emplace_back(server.where);
        for (auto client = clients.rbegin(); client != clients.rend(); ++client) {
            check_echo(*client, "from " + client->local_name());
        }
        CHECK(server.stop(SIGINT).exit_code == 0);
    }
}

TEST_CASE("echo_one_at_a_time lets the second client wait until the first has left",
          "[samples][blocking]") {
    sample_server server(one_at_a_time);
    plain_client first(server.where);
    check_echo(first, "first");
    plain_client second(server.where);
    second.send("second");
    CHECK_FALSE(second.hears_within(50));
    check_echo(first, "first again");
    first.finish();
    CHECK(first.at_end());
    CHECK(second.receive(6) == "second");
    CHECK(server.stop(SIGTERM).exit_code == 0);
}

TEST_CASE("an echo server by hand survives rude clients and keeps none of their descriptors",
          "[samples][blocking]") {
    for (const std::string& name : all_servers()) {
        CAPTURE(name);
        sample_server server(name);
        const std::size_t before = open_descriptors(server.process.id());
        for (int i = 0; i < 30; ++i) {
            plain_client rude(server.where);
            if (i % 3 != 0) rude.send(long_text(i % 3 == 1 ? 10 : 100'000));
            rude.reset();
        }
        {
            plain_client good(server.where);
            check_echo(good, "still there");
        }
        CHECK(comes_to_descriptors(server.process.id(), before));
        const outcome ended = server.stop(SIGTERM);
        CHECK(ended.exit_code == 0);
        CHECK(ended.err.empty());
    }
}

TEST_CASE("a client that does not read stops nobody else, and loses nothing",
          "[samples][blocking]") {
    for (const std::string& name : many_at_a_time()) {
        CAPTURE(name);
        sample_server server(name);
        plain_client slow(server.where, 65536);
        const std::string sent = slow.send_until_stuck();
        plain_client other(server.where);
        check_echo(other, "not disturbed");
        slow.finish();
        check_same(slow.receive_all(), sent);
        CHECK(server.stop(SIGTERM).exit_code == 0);
    }
}

TEST_CASE("without a descriptor for it, a client waits in the backlog while nobody spins",
          "[samples][blocking]") {
    for (const std::string& name : many_at_a_time()) {
        CAPTURE(name);
        // UBSan's look at the type of a thread's state takes a descriptor, and fails without one.
        if (address_sanitized() && name == "blocking/echo_threads") continue;
        const std::string limited = "ulimit -n 12; exec " + sample(name) + " 127.0.0.1:0";
        sample_server server({"sh", "-c", limited}, 1);
        std::vector<plain_client> clients;
        for (int i = 0; i < 20; ++i) clients.emplace_back(server.where);
        for (plain_client& client : clients) client.send("hello");
        CHECK(clients.front().receive(5) == "hello");
        const auto before = processor_time(server.process.id());
        CHECK_FALSE(clients.back().hears_within(120));
        const auto spent = processor_time(server.process.id()) - before;
        if (name != nonblocking) CHECK(spent < std::chrono::milliseconds(60));
        for (std::size_t i = 0; i + 1 < clients.size(); ++i) clients[i].finish();
        CHECK(clients.back().receive(5) == "hello");
        const outcome ended = server.stop(SIGTERM);
        CHECK(ended.exit_code == 0);
        CHECK(ended.err == "accept: Too many open files; newcomers wait in the backlog\n");
    }
}

TEST_CASE("stopped by a signal, an echo server by hand returns what had arrived",
          "[samples][blocking]") {
    const std::string text = long_text(40'000);  // less than a receive window
    for (const std::string& name : all_servers()) {
        CAPTURE(name);
        sample_server server(name);
        plain_client client(server.where);
        check_echo(client, "served");
        // Stopped, so that the signal is there before any of these bytes has been looked at.
        server.process.stop();
        client.send(text);
        server.process.signal(SIGINT);
        server.process.signal(SIGCONT);
        check_same(client.receive_all(), text);
        const outcome ended = server.process.finish();
        CHECK(ended.exit_code == 0);
        CHECK(ended.err.empty());
    }
}

TEST_CASE("a second signal ends an echo server by hand that cannot drain", "[samples][blocking]") {
    for (const std::string& name : all_servers()) {
        CAPTURE(name);
        sample_server server(name);
        plain_client deaf(server.where, 4096);
        deaf.send_until_stuck();
        server.process.signal(SIGTERM);
        CHECK(comes_to_take(server.process.id(), SIGTERM));
        // The others have acted on it when nobody new is let in; this one blocks in a send.
        while (name != one_at_a_time && can_connect(server.where)) {
        }
        server.process.signal(SIGTERM);
        CHECK(server.process.finish().signal == SIGTERM);
    }
}

TEST_CASE("echo_select refuses the client of descriptor 1024 and says why", "[samples][blocking]") {
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
        check_echo(clients.back(), "the last with a place");
        plain_client refused(server.where);
        CHECK(refused.at_end());
        check_echo(clients.front(), "the first");
        // Its place is free again.
        clients.pop_back();
        CHECK(comes_to_descriptors(server.process.id(), 1023));
        plain_client successor(server.where);
        check_echo(successor, "the next");
        const outcome ended = server.stop(SIGTERM);
        CHECK(ended.exit_code == 0);
        CHECK(ended.err == fmt::format("refused {}: its descriptor would be 1024, and select() "
                                       "knows only those below FD_SETSIZE, 1024\n",
                                       refused.local_name()));
    }
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &usual) == 0);
}

TEST_CASE("echo_nonblocking tells what its waiting costs", "[samples][blocking]") {
    sample_server server(nonblocking);
    plain_client idle(server.where);
    check_echo(idle, "hello");
    const auto before = processor_time(server.process.id());
    CHECK_FALSE(idle.hears_within(100));
    CHECK(processor_time(server.process.id()) > before);
    const outcome ended = server.stop(SIGTERM);
    const std::string cost = ended.out.substr(ended.out.find("used "));
    double used = 0;
    double passed = 0;
    int share = 0;
    unsigned long long calls = 0;
    unsigned long long in_vain = 0;
    REQUIRE(std::sscanf(cost.c_str(),
                        "used %lf s of processor time in %lf s (%d %%); %llu calls, %llu in vain",
                        &used, &passed, &share, &calls, &in_vain) == 5);
    CHECK(passed >= 0.1);
    CHECK(in_vain > 1000);
    CHECK(calls >= in_vain + 3);  // a connection, a message there and back
}

TEST_CASE("nc, socat and echo_client get back what they send to an echo server by hand",
          "[samples][blocking]") {
    const std::string text = "hello\n" + long_text(100'000) + "\n";
    for (const std::string& name : all_servers()) {
        CAPTURE(name);
        sample_server server(name);
        if (installed("nc")) {
            check_same(run_program({"nc", "-N", "127.0.0.1", server.port}, text).out, text);
        }
        if (installed("socat")) {
            const outcome answered =
                run_program({"socat", "-t30", "-", "TCP:" + server.where}, text);
            check_same(answered.out, text);
        }
        const outcome talked = run_program({sample("echo_client"), server.where, "hello", "again"});
        CHECK(talked.out == "hello\nagain\n");
        CHECK(talked.exit_code == 0);
        CHECK(server.stop(SIGINT).exit_code == 0);
    }
}

TEST_CASE("an echo server by hand restarts on the port it has just left", "[samples][blocking]") {
    for (const std::string& name : all_servers()) {
        CAPTURE(name);
        std::string where;
        {
            sample_server server(name);
            where = server.where;
            plain_client client(where);
            check_echo(client, "hello");
            CHECK(server.stop(SIGTERM).exit_code == 0);  // closes first: TIME_WAIT is on its side
        }
        sample_server again(name, {where});
        const outcome second = run_program({sample(name), where});
        CHECK(second.err.ends_with(": bind " + where + ": Address already in use\n"));
        CHECK(second.exit_code == 1);
        CHECK(again.stop(SIGTERM).exit_code == 0);
    }
}

TEST_CASE("a program by hand quotes a bad endpoint and tells what is expected",
          "[samples][blocking]") {
    const std::vector<std::pair<std::string, std::string>> table = {
        {"nonsense", "the port is missing, as in localhost:80"},
        {"127.0.0.1:", "the port is not a number between 0 and 65535"},
        {"127.0.0.1:65536", "the port is not a number between 0 and 65535"},
        {"127.0.0.1:http", "the port is not a number between 0 and 65535"},
        {"::1:80", "an IPv6 address with a port is written in brackets, as in [::1]:80"},
    };
    for (const auto& [text, reason] : table) {
        const outcome failed = run_program({sample("blocking/echo_poll"), text});
        CHECK(failed.err == "echo_poll: \"" + text + "\": " + reason + "\n");
        CHECK(failed.exit_code == 1);
    }
    const outcome stray = run_program({sample("blocking/echo_poll"), "localhost:0", "more"});
    CHECK(stray.err == "echo_poll: arguments are not understood; see --help\n");
    CHECK(stray.exit_code == 1);
}
