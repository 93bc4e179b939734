// The load generator as a user meets it: a built program, and servers that behave or do not.
#include <rondo/io/blocking.hpp>
#include <rondo/net/happy_eyeballs.hpp>
#include <rondo/net/udp.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <support/deaf_port.hpp>
#include <support/harness.hpp>
#include <support/program.hpp>
#include <support/sample.hpp>
#include <support/stream_pairs.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <signal.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using namespace std::chrono_literals;

namespace {

// `load WHERE ARGUMENTS... --json`, for a moment.
std::vector<std::string> command(const std::string& where,
                                 const std::vector<std::string>& arguments,
                                 const std::string& seconds = "0.1",
                                 const std::string& warm_up = "0") {
    std::vector<std::string> words = {sample("load"), where,      "--json", "--warm-up",
                                      warm_up,        "--seconds", seconds};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
}

// The numbers of one line of JSON, by their names; of an inner object, by "outer.inner".
std::map<std::string, double> numbers(const std::string& json) {
    const std::string flatten =
        "import json, sys\n"
        "def walk(prefix, value):\n"
        "    for name, each in value.items():\n"
        "        if isinstance(each, dict): walk(prefix + name + '.', each)\n"
        "        elif not isinstance(each, str): print(prefix + name, each)\n"
        "walk('', json.load(sys.stdin))\n";
    const outcome parsed = run_program({"python3", "-c", flatten}, json);
    INFO(json << parsed.err);
    REQUIRE(parsed.exit_code == 0);
    std::map<std::string, double> found;
    std::istringstream lines(parsed.out);
    std::string name;
    for (double value = 0; lines >> name >> value;) found[name] = value;
    return found;
}

std::map<std::string, double> measured(const std::vector<std::string>& words) {
    const outcome ended = run_program(words);
    INFO(ended.err);
    REQUIRE(ended.exit_code == 0);
    CHECK(std::ranges::count(ended.out, '\n') == 1);
    auto all = numbers(ended.out);
    CHECK(all["messages"] > 0);
    const double rate = all["messages"] / all["seconds"];
    CHECK(std::abs(all["rate"] - rate) < 0.01 * rate);
    CHECK(all["latency_us.min"] <= all["latency_us.p50"]);
    CHECK(all["latency_us.p50"] <= all["latency_us.p99"]);
    CHECK(all["latency_us.p99"] <= all["latency_us.max"]);
    return all;
}

// A listener of the test's own, and a load on it.
struct loaded {
    explicit loaded(const std::vector<std::string>& arguments, const std::string& seconds = "60",
                    const std::string& warm_up = "0")
        : load(command(listener.local_endpoint().to_string(), arguments, seconds, warm_up)) {}

    tcp_listener listener = listen_on_loopback();
    program load;
};

// Echoes until the client has ended. `before` is called with each piece and the bytes before it.
template <typename Before>
task<> echo_with(tcp_listener& listener, Before before) {
    tcp_socket client = co_await accept_one(listener);
    client.end_on_reset();
    std::size_t offset = 0;
    for (;;) {
        chunk data = co_await client.recv();
        if (!data) break;
        co_await before(client, data, offset);
        offset += data.size();
        auto sent = co_await as_result(client.send(data));
        if (!sent) break;
    }
}

}  // namespace

TEST_CASE("load reports what it counted, in every profile", "[samples][load]") {
    sample_server echo("echo_server");
    const std::string pid = std::to_string(echo.process.id());
    SECTION("ping-pong") {
        auto all = measured(command(echo.where, {"--connections", "3", "--pid", pid}));
        CHECK(all["connections"] == 3);
        CHECK(all["size"] == 64);
        CHECK(all["server.cpu_seconds"] > 0);
        CHECK(all["server.rss_bytes"] > 0);
        CHECK(all["load_cpu"] > 0);
    }
    SECTION("messages longer than what is between holds") {
        measured(command(echo.where, {"--size", "1048576"}, "0.3"));
    }
    SECTION("stream") {
        measured(command(echo.where, {"--profile", "stream", "--connections", "2", "--size",
                                      "3000"}));
    }
    SECTION("short") {
        measured(command(echo.where, {"--profile", "short", "--connections", "2"}));
    }
    SECTION("idle") {
        auto all = measured(
            command(echo.where, {"--profile", "idle", "--connections", "100", "--pid", pid}));
        CHECK(all.contains("server.idle_bytes_per_connection"));
    }
    const outcome stopped = echo.stop(SIGINT);
    CHECK(stopped.err.empty());
}

TEST_CASE("load checks what a room's members hear", "[samples][load]") {
    sample_server chat("chat_server", {"--lines", "127.0.0.1:0"});
    auto all = measured(command(chat.where, {"--profile", "room", "--connections", "10"}));
    CHECK(all["lost"] == 0);
}

TEST_CASE("lines of a room that are not back at the end count", "[samples][load]") {
    sample_server chat("chat_server", {"--lines", "127.0.0.1:0"});
    outcome ended;
    test::run([&]() -> task<> {
        // A member that hears when the lines come, and stops the chat in their midst.
        tcp_socket listener = co_await tcp_connect(chat.where);
        program load(command(chat.where, {"--profile", "room", "--connections", "4", "--rate",
                                          "600"}, "0.5"));
        for (std::size_t heard = 0; heard < 2000;) {
            const chunk lines = co_await listener.recv();
            if (!lines) co_return;
            heard += lines.size();
        }
        chat.process.signal(SIGSTOP);
        ended = co_await blocking([&] { return load.finish(); });
        chat.process.signal(SIGCONT);
    });
    INFO(ended.err);
    REQUIRE(ended.exit_code == 0);
    auto all = numbers(ended.out);
    CHECK(std::abs(all["due"] + all["lost"] - 600 * all["seconds"]) <= 6);
    CHECK(all["unanswered"] > 0);
}

TEST_CASE("load keeps to its rate", "[samples][load]") {
    sample_server echo("echo_server");
    auto all = measured(command(echo.where, {"--connections", "5", "--rate", "500"}, "0.4"));
    // What a busy machine delays is counted as unanswered.
    const double due = 500 * all["seconds"];
    CHECK(std::abs(all["messages"] + all["unanswered"] - due) <= 0.05 * due);
    CHECK(all["offered_rate"] == 500);
}

TEST_CASE("a server's pause counts for every message that was due in it", "[samples][load]") {
    loaded peers({"--rate", "200"}, "0.5");
    test::run([&]() -> task<> {
        bool paused = false;
        const auto pause = [&](tcp_socket&, chunk&, std::size_t offset) -> task<> {
            if (offset < 20 * 64 || paused) co_return;
            paused = true;
            co_await sleep_for(200ms);
        };
        co_await echo_with(peers.listener, pause);
    });
    const outcome ended = peers.load.finish();
    INFO(ended.err);
    REQUIRE(ended.exit_code == 0);
    auto all = numbers(ended.out);
    // Some 40 of 100, by 100 ms on average. In a closed loop it would be one.
    CHECK(all["latency_us.p90"] > 50'000);
    CHECK(all["behind"] >= 30);
}

TEST_CASE("latency is that of all messages due in the measured time, and no others",
          "[samples][load]") {
    loaded peers({"--rate", "200"}, "0.4", "0.1");
    test::run([&]() -> task<> {
        bool paused = false;
        const auto pause = [&](tcp_socket&, chunk&, std::size_t offset) -> task<> {
            // What comes first is from before the schedule.
            if (offset == 0 || std::exchange(paused, true)) co_return;
            co_await sleep_for(300ms);
        };
        co_await echo_with(peers.listener, pause);
    });
    const outcome ended = peers.load.finish();
    INFO(ended.err);
    REQUIRE(ended.exit_code == 0);
    auto all = numbers(ended.out);
    CHECK(std::abs(all["due"] - 200 * all["seconds"]) <= 1);
    // The 20 of the warm-up came back in the measured time, too.
    CHECK(all["messages"] + all["unanswered"] >= all["due"] + 15);
    CHECK(all["latency_us.p90"] > 50'000);
}

TEST_CASE("load reports no latency where nothing was due in the measured time",
          "[samples][load]") {
    // One is due right before the measured time, the next in 100 s.
    tcp_listener listeners[] = {listen_on_loopback(), listen_on_loopback()};
    const auto words = [&](std::size_t i) {
        return command(listeners[i].local_endpoint().to_string(), {"--rate", "0.01"}, "0.4");
    };
    program in_json(words(0));
    std::vector<std::string> without = words(1);
    std::erase(without, "--json");
    program in_words(without);
    test::run([&]() -> task<> {
        const auto answer_late = [](tcp_socket&, chunk&, std::size_t offset) -> task<> {
            if (offset != 0) co_await sleep_for(100ms);
        };
        co_await when_all(echo_with(listeners[0], answer_late),
                          echo_with(listeners[1], answer_late));
    });
    const outcome json = in_json.finish();
    INFO(json.err);
    REQUIRE(json.exit_code == 0);
    auto all = numbers(json.out);
    CHECK(all["messages"] == 1);
    CHECK(all["due"] == 0);
    CHECK(all.contains("load_cpu"));
    CHECK(json.out.find("latency_us") == std::string::npos);
    const outcome text = in_words.finish();
    INFO(text.err);
    REQUIRE(text.exit_code == 0);
    CHECK(text.out.find("\nlatency: none, as nothing that came back was due in the measured time\n")
          != std::string::npos);
}

TEST_CASE("load finds a wrong byte and says where", "[samples][load]") {
    loaded peers({"--size", "100"});
    test::run([&]() -> task<> {
        const auto corrupt = [](tcp_socket&, chunk& data, std::size_t offset) -> task<> {
            const std::size_t wrong = 1234;
            if (offset <= wrong && wrong < offset + data.size())
                data.data()[wrong - offset] ^= std::byte{0xff};
            co_return;
        };
        co_await echo_with(peers.listener, corrupt);
    });
    const outcome ended = peers.load.finish();
    CHECK(ended.exit_code == 1);
    CHECK(ended.out.empty());
    CHECK(ended.err.starts_with("load: connection 0: byte 1234 of what came back is wrong: "));
}

TEST_CASE("load tells when a server ends early, says too much, or nothing", "[samples][load]") {
    const auto told_by = [](auto misbehave) {
        loaded peers({"--silence", "0.3"});
        test::run([&]() -> task<> { co_await echo_with(peers.listener, misbehave); });
        const outcome ended = peers.load.finish();
        CHECK(ended.exit_code == 1);
        CHECK(ended.out.empty());
        return ended.err;
    };
    SECTION("early") {
        const std::string text = told_by([](tcp_socket& client, chunk&, std::size_t offset) {
            return [](tcp_socket& to, bool end) -> task<> {
                if (end) to.shutdown(shutdown_mode::both);
                co_return;
            }(client, offset >= 640);
        });
        CHECK(text.find("connection 0: ") != std::string::npos);
        CHECK(text.find("640 bytes") != std::string::npos);
    }
    SECTION("too much") {
        const std::string text = told_by([](tcp_socket& client, chunk& data, std::size_t offset) {
            return [](tcp_socket& to, chunk& more, bool now) -> task<> {
                if (now) co_await to.send(more, more);
            }(client, data, offset >= 640);
        });
        CHECK(text.find("connection 0: more came back than was sent") != std::string::npos);
    }
    SECTION("nothing") {
        const std::string text = told_by([](tcp_socket& client, chunk&, std::size_t offset) {
            return [](tcp_socket& from, bool now) -> task<> {
                if (now) const chunk end = co_await from.recv();
            }(client, offset >= 640);
        });
        CHECK(text.find("nothing has come back for 0.3 s, after 640 bytes") != std::string::npos);
    }
}

TEST_CASE("load says what is wrong before it begins", "[samples][load]") {
    deaf_port nobody;
    const outcome refused = run_program(command(nobody.where().to_string(), {}));
    CHECK(refused.exit_code == 1);
    CHECK(refused.err.find("Connection refused") != std::string::npos);
    const outcome unknown = run_program(command("127.0.0.1:1", {"--profile", "dance"}));
    CHECK(unknown.exit_code >= 100);
    CHECK(unknown.err.find("dance is none of ping-pong, stream") != std::string::npos);
    const outcome too_many = run_program(
        {"sh", "-c", "ulimit -n 100; exec \"$0\" 127.0.0.1:1 --connections 200", sample("load")});
    CHECK(too_many.exit_code == 1);
    CHECK(too_many.err.find("the hard limit is 100: raise it") != std::string::npos);
}

TEST_CASE("load refuses a number that is out of range", "[samples][load]") {
    const auto refusal = [](const std::string& option, const std::string& value) {
        const outcome ended = run_program({sample("load"), "127.0.0.1:1", option, value});
        CHECK(ended.exit_code >= 100);
        CHECK(ended.out.empty());
        return ended.err.substr(0, ended.err.find('\n'));
    };
    for (const char* const wrong : {"1e300", "1e+12", "1e-300", "nan", "inf", "-1", "0.0009"})
        CHECK(refusal("--rate", wrong).ends_with(
            " is neither 0 nor 0.001 to 100000000 messages a second"));
    CHECK(refusal("--rate", "1e300").starts_with("--rate: 1e+300 is"));
    for (const char* const wrong : {"0", "1048577", "nan"})
        CHECK(refusal("--size", wrong) ==
              "--size: Value " + std::string(wrong) + " not in range 1 to 1048576");
    CHECK(refusal("--silence", "0") == "--silence: Value 0 not in range 0.1 to 3600");
    CHECK(refusal("--seconds", "1e6") == "--seconds: Value 1e6 not in range 0.01 to 86400");
    CHECK(refusal("--warm-up", "-1") == "--warm-up: Value -1 not in range 0 to 3600");
    for (const std::string option : {"--silence", "--seconds", "--warm-up"})
        for (const std::string wrong : {"nan", "inf"})
            CHECK(refusal(option, wrong) == option + ": Value " + wrong + " is no finite number");
    CHECK(refusal("--pid", "0") == "--pid: Value 0 not above 0");
}

TEST_CASE("load ends in time at the greatest rate, with all that was due", "[samples][load]") {
    sample_server echo("echo_server");
    auto all = measured(command(echo.where, {"--rate", "1e8"}));
    const double due = 1e8 * all["seconds"];
    CHECK(std::abs(all["due"] - due) <= 0.01 * due);
    CHECK(all["unanswered"] > 0.5 * due);
    // Nearly all wait, evenly, from their time to the end.
    const double waited = 1e6 * all["seconds"];
    CHECK(std::abs(all["latency_us.p50"] - 0.5 * waited) <= 0.02 * waited);
    CHECK(std::abs(all["latency_us.p90"] - 0.9 * waited) <= 0.02 * waited);
    CHECK(std::abs(all["latency_us.mean"] - 0.5 * waited) <= 0.02 * waited);
}

TEST_CASE("load says why its report could not be written", "[samples][load]") {
    sample_server echo("echo_server");
    const outcome ended = run_program(
        {"sh", "-c", "exec \"$0\" \"$1\" --warm-up 0 --seconds 0.05 > /dev/full", sample("load"),
         echo.where});
    CHECK(ended.exit_code == 1);
    CHECK(ended.err == "load: the report on standard output: No space left on device\n");
}

TEST_CASE("an interrupted load reports what it has", "[samples][load]") {
    loaded peers({});
    test::run([&]() -> task<> {
        const auto interrupt = [&](tcp_socket&, chunk&, std::size_t offset) -> task<> {
            if (offset == 100 * 64) peers.load.signal(SIGINT);
            co_return;
        };
        co_await echo_with(peers.listener, interrupt);
    });
    const outcome ended = peers.load.finish();
    CHECK(ended.exit_code == 0);
    CHECK(numbers(ended.out)["messages"] >= 90);
}

TEST_CASE("load sends lost datagrams again and counts them", "[samples][load]") {
    udp_socket server = udp_socket::bind(endpoint(ip_address::v4_loopback(), 0));
    program load(command(server.local_endpoint().to_string(), {"--udp", "--size", "1000"}, "0.4"));
    outcome ended;
    test::run([&]() -> task<> {
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([](udp_socket& socket) -> task<> {
                for (int i = 0;; ++i) {
                    const datagram data = co_await socket.recv_from();
                    if (i % 1000 != 5) co_await socket.send_to(data, data.from());
                }
            }, std::ref(server));
            ended = co_await blocking([&] { return load.finish(); });
            group.cancel();
        });
    });
    INFO(ended.err);
    REQUIRE(ended.exit_code == 0);
    auto all = numbers(ended.out);
    CHECK(all["lost"] >= 1);
    CHECK(all["messages"] > all["lost"]);
    CHECK(all["latency_us.max"] >= 100'000);
}

TEST_CASE("load drops datagrams that the network delivers twice", "[samples][load]") {
    udp_socket server = udp_socket::bind(endpoint(ip_address::v4_loopback(), 0));
    program load(command(server.local_endpoint().to_string(), {"--udp", "--size", "100"}));
    outcome ended;
    test::run([&]() -> task<> {
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([](udp_socket& socket) -> task<> {
                for (int i = 0;; ++i) {
                    const datagram data = co_await socket.recv_from();
                    co_await socket.send_to(data, data.from());
                    if (i % 3 == 1) co_await socket.send_to(data, data.from());
                }
            }, std::ref(server));
            ended = co_await blocking([&] { return load.finish(); });
            group.cancel();
        });
    });
    INFO(ended.err);
    REQUIRE(ended.exit_code == 0);
    auto all = numbers(ended.out);
    CHECK(all["messages"] > 10);
}
