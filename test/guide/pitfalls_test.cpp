// The page docs/guide/pitfalls.md shows the functions of this file.
#include <rondo/rondo.hpp>
#include <rondo/testing/scripted_stream.hpp>
#include <rondo/testing/socket_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <string>
#include <vector>

using namespace std::chrono_literals;

// By value: the frame has its own copy, whatever becomes of the caller's.
rondo::task<> greet(std::string name, std::string& out) {
    co_await rondo::sleep_for(1ms);
    out += "hello " + name + "\n";
}

rondo::task<std::string> greet_all(std::vector<std::string> names) {
    std::string out;
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        for (const std::string& name : names) group.spawn(greet, name, std::ref(out));
        co_return;
    });
    co_return out;
}

rondo::task<int> count_all(int children) {
    int total = 0;  // here, and not in the body: children outlive that
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        for (int i = 0; i < children; ++i) {
            group.spawn([&total]() -> rondo::task<> {
                co_await rondo::sleep_for(1ms);
                ++total;
            });
        }
        co_return;
    });
    co_return total;
}

rondo::task<std::vector<rondo::chunk>> collect(rondo::unix_socket& from) {
    std::vector<rondo::chunk> kept;
    while (auto data = co_await from.recv()) kept.push_back(data.to_owned());
    co_return kept;
}

template <typename Stream>
rondo::task<int> count_repeated(Stream& from) {
    rondo::buffered_reader lines(from);
    std::string last;
    int repeated = 0;
    while (auto line = co_await lines.read_line()) {
        if (*line == last) ++repeated;
        last = *line;  // a copy
    }
    co_return repeated;
}

rondo::task<int> read_byte(rondo::unix_socket& from) {
    std::array<std::byte, 1> buffer;
    const auto n = co_await from.recv(buffer);  // bound first
    if (n == 0) co_return -1;
    co_return std::to_integer<int>(buffer[0]);
}

TEST_CASE("spawned tasks have copies of their arguments", "[guide]") {
    const std::string out = rondo::run(greet_all({"you", "me"}));
    CHECK(out.find("hello you\n") != out.npos);
    CHECK(out.find("hello me\n") != out.npos);
}

TEST_CASE("children may use variables of the function around their group", "[guide]") {
    CHECK(rondo::run(count_all(3)) == 3);
}

TEST_CASE("chunks that are kept own their bytes", "[guide]") {
    auto pair = rondo::testing::unix_socket_pair();
    const auto talk = [&]() -> rondo::task<std::string> {
        co_await pair.b.send("kept");
        pair.b.shutdown(rondo::shutdown_mode::send);
        std::string all;
        const auto kept = co_await collect(pair.a);
        for (const rondo::chunk& each : kept) all += each.text();
        co_return all;
    };
    CHECK(rondo::run(talk()) == "kept");
}

TEST_CASE("a line that is kept is a copy", "[guide]") {
    rondo::testing::scripted_stream from;
    from.answer_in_pieces("one\ntwo\ntwo\nthree\ntwo\ntwo\n", 5).end();
    CHECK(rondo::run(count_repeated(from)) == 2);
}

TEST_CASE("what is awaited is bound to a name first", "[guide]") {
    auto pair = rondo::testing::unix_socket_pair();
    const auto talk = [&]() -> rondo::task<int> {
        co_await pair.b.send("*");
        pair.b.shutdown(rondo::shutdown_mode::send);
        const int first = co_await read_byte(pair.a);
        CHECK(first == '*');
        co_return co_await read_byte(pair.a);
    };
    CHECK(rondo::run(talk()) == -1);
}
