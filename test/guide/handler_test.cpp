// The chapter docs/guide/testing.md shows this file, piece by piece.
#include <rondo/rondo.hpp>
#include <rondo/testing/faulty_engine.hpp>
#include <rondo/testing/scripted_stream.hpp>
#include <rondo/testing/socket_pair.hpp>
#include <rondo/testing/virtual_time.hpp>

#include <fmt/core.h>

#include <catch2/catch_test_macros.hpp>

#include <charconv>
#include <memory>
#include <string>
#include <string_view>

using namespace std::chrono_literals;

// Space-separated numbers; false where there is anything else.
bool add(std::string_view line, long& sum) {
    const char* const end = line.data() + line.size();
    for (const char* at = line.data(); at != end;) {
        long number = 0;
        const auto [behind, error] = std::from_chars(at, end, number);
        if (error != std::errc() || __builtin_add_overflow(sum, number, &sum)) return false;
        at = behind;
        if (at != end && *at++ != ' ') return false;
    }
    return true;
}

// Answers each line of numbers with their sum. Who sends no line for ten seconds is given up.
template <typename Stream>
rondo::task<> serve_sums(Stream& client) {
    rondo::buffered_reader lines(client, 1024);
    while (auto line = co_await rondo::with_timeout(10s, lines.read_line())) {
        long sum = 0;
        const bool good = add(*line, sum);
        const std::string answer = good ? fmt::format("{}\n", sum) : "not numbers\n";
        co_await client.send(answer);
    }
}

TEST_CASE("each line of numbers is answered by its sum", "[guide]") {
    rondo::testing::scripted_stream client;
    client.answer("1 2 3\n").expect("6\n");
    client.answer("40 2\n").expect("42\n");
    client.answer("forty two\n").expect("not numbers\n");
    client.end();
    rondo::run(serve_sums(client));
    client.verify();  // throws where the script was not played to its end
}

TEST_CASE("lines may come in pieces, and several in one piece", "[guide]") {
    rondo::testing::scripted_stream client;
    client.answer_in_pieces("1 2 3\n40 2\n", 1).expect("6\n42\n");
    // A last line without its end is a line all the same.
    client.answer("1\n2\n3 4").expect("1\n2\n").end();
    client.expect("7\n");
    rondo::run(serve_sums(client));
    client.verify();
}

TEST_CASE("who says nothing for ten seconds is given up", "[guide]") {
    rondo::testing::scripted_stream client;
    client.answer("1 2").stall_recv();
    const auto talk = [&] { return serve_sums(client); };
    // Virtual time: ten seconds that take none.
    CHECK_THROWS_AS(rondo::testing::run_in_virtual_time(talk), rondo::operation_timed_out);
}

// A client for a real socket: sends all its lines at once and reads to the end.
rondo::task<std::string> ask(rondo::stream_socket& server, std::string_view lines) {
    co_await server.send(lines);
    server.shutdown(rondo::shutdown_mode::send);
    std::string answers;
    while (auto data = co_await server.recv()) answers += data.text();
    co_return answers;
}

rondo::task<> serve_and_hang_up(rondo::unix_socket& client) {
    co_await serve_sums(client);
    co_await client.close();
}

rondo::task<std::string> over_a_socket(std::string_view lines) {
    auto [client, server] = rondo::testing::unix_socket_pair();
    auto [answers, nothing] =
        co_await rondo::when_all(ask(client, lines), serve_and_hang_up(server));
    co_return answers;
}

TEST_CASE("sums come over a real socket", "[guide]") {
    const std::string answers = rondo::run(over_a_socket("1 2 3\n40 2\n"));
    CHECK(answers == "6\n42\n");
}

// What a server calls for each client: the connection is its own, and closed behind it.
rondo::task<> serve_client(rondo::tcp_socket client) { co_await serve_sums(client); }

rondo::task<std::string> ask_beside_a_slow_client(std::string_view lines) {
    // Port 0: the kernel chooses one that is free.
    const rondo::endpoint anywhere(rondo::ip_address::v4_loopback(), 0);
    auto listener = rondo::tcp_listener::listen(anywhere);
    const rondo::endpoint where = listener.local_endpoint();
    std::string answers;
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        group.spawn([&]() -> rondo::task<> {
            co_await rondo::tcp_serve(std::move(listener), serve_client);
        });
        rondo::tcp_socket slow = co_await rondo::tcp_connect(where);
        co_await slow.send("1 2");  // and no end of the line
        rondo::tcp_socket client = co_await rondo::tcp_connect(where);
        answers = co_await ask(client, lines);
        group.cancel();
    });
    co_return answers;
}

TEST_CASE("nobody waits for a client that is slow", "[guide]") {
    const std::string answers = rondo::run(ask_beside_a_slow_client("1 2 3\n40 2\n"));
    CHECK(answers == "6\n42\n");
}

// The kernel's worst: short counts, interruptions, full queues, late and reordered completions.
rondo::run_options on_a_bad_day(std::uint64_t seed) {
    rondo::run_options options;
    options.make_engine = [seed](const rondo::engine_options& queues) {
        return std::make_unique<rondo::testing::faulty_engine>(
            rondo::make_engine(rondo::engine_kind::automatic, queues),
            rondo::testing::fault_plan::from_seed(seed));
    };
    return options;
}

TEST_CASE("sums are right whatever the kernel does", "[guide]") {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        INFO("seed " << seed);  // what to replay
        const std::string answers =
            rondo::run(on_a_bad_day(seed), over_a_socket, "1 2 3\n40 2\n");
        CHECK(answers == "6\n42\n");
    }
}
