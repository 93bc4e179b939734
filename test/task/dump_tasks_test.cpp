#include <rondo/detail/unique_fd.hpp>
#include <rondo/io/file.hpp>
#include <rondo/io/readable.hpp>
#include <rondo/net/send_file.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/sync/channel.hpp>
#include <rondo/sync/event.hpp>
#include <rondo/task/dump_tasks.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/tcp_pair.hpp>
#include <support/temporary_folder.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <source_location>
#include <string>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::Matches;
using namespace std::chrono_literals;

namespace {

std::string line_of(std::source_location place, int offset) {
    return ":" + std::to_string(static_cast<int>(place.line()) + offset) + "\n";
}

std::string place_of_sleep;
std::string place_of_call;

rondo::task<> sleep_long() {
    place_of_sleep = "sleep_long at " + std::string(__FILE__) +
                     line_of(std::source_location::current(), 1);
    co_await rondo::sleep_for(1h);
}

rondo::task<> call_sleeper() {
    place_of_call = "call_sleeper at " + std::string(__FILE__) +
                    line_of(std::source_location::current(), 1);
    co_await sleep_long();
}

rondo::task<std::string> dump_beside(rondo::task_group& group) {
    co_await rondo::yield();
    rondo::context& here = co_await rondo::this_context();
    std::string text = rondo::dump_tasks(here.loop());
    group.cancel();
    co_return text;
}

}  // namespace

TEST_CASE("dump_tasks names what a task waits for, since when, and the lines that led there",
          "[task][dump_tasks]") {
    const std::string text = rondo::test::run([]() -> rondo::task<std::string> {
        auto body = [](rondo::task_group& group) -> rondo::task<std::string> {
            group.spawn(call_sleeper);
            std::string dumped = co_await dump_beside(group);
            co_return dumped;
        };
        std::string dumped = co_await rondo::with_task_group(body);
        co_return dumped;
    });
    CAPTURE(text);
    CHECK_THAT(text,
               Matches("(.|\\n)*call_sleeper: time to pass, for [0-9]\\.[0-9]{3} s\\n(.|\\n)*"));
    CHECK_THAT(text, ContainsSubstring(place_of_sleep));
    CHECK_THAT(text, ContainsSubstring(place_of_call));
    // Innermost first.
    CHECK(text.find(place_of_sleep) < text.find(place_of_call));
}

TEST_CASE("dump_tasks forgets a task that has ended", "[task][dump_tasks]") {
    const std::string text = rondo::test::run([]() -> rondo::task<std::string> {
        auto body = [](rondo::task_group& group) -> rondo::task<std::string> {
            group.spawn([]() -> rondo::task<> {
                auto ended = []() -> rondo::task<> { co_await rondo::yield(); };
                co_await ended();
                co_await rondo::sleep_for(1h);
            });
            co_await rondo::yield();
            co_await rondo::yield();
            std::string dumped = co_await dump_beside(group);
            co_return dumped;
        };
        std::string dumped = co_await rondo::with_task_group(body);
        co_return dumped;
    });
    CAPTURE(text);
    CHECK_THAT(text, ContainsSubstring("time to pass"));
    CHECK_THAT(text, !ContainsSubstring("its next turn"));
}

TEST_CASE("dump_tasks names the peer of a receive inside a deadline", "[task][dump_tasks][tcp]") {
    std::string peer;
    std::string line;
    const std::string text =
        rondo::test::run([&line](std::string* name) -> rondo::task<std::string> {
            auto pair = co_await rondo::test::connected_pair();
            *name = pair.a.remote_endpoint().to_string();
            auto body = [&](rondo::task_group& group) -> rondo::task<std::string> {
                group.spawn([&]() -> rondo::task<> {
                    line = __FILE__ + line_of(std::source_location::current(), 1);
                    co_await rondo::with_timeout(1h, pair.a.recv());
                });
                co_await rondo::yield();
                std::string dumped = co_await dump_beside(group);
                co_return dumped;
            };
            std::string dumped = co_await rondo::with_task_group(body);
            co_return dumped;
        }, &peer);
    CAPTURE(text);
    CHECK_THAT(text, ContainsSubstring("recv from " + peer));
    CHECK_THAT(text, ContainsSubstring(line));
    // The line of the program leads there, no line of the library.
    CHECK_THAT(text, !ContainsSubstring("awaitable.hpp"));
    CHECK_THAT(text, !ContainsSubstring("with_timeout.hpp"));
}

TEST_CASE("dump_tasks shows the children below the task that joins them", "[task][dump_tasks]") {
    const std::string text = rondo::test::run([]() -> rondo::task<std::string> {
        auto body = [](rondo::task_group& group) -> rondo::task<std::string> {
            group.spawn([]() -> rondo::task<> {
                co_await rondo::when_all(sleep_long(), sleep_long());
            });
            co_await rondo::yield();
            co_await rondo::yield();
            std::string dumped = co_await dump_beside(group);
            co_return dumped;
        };
        std::string dumped = co_await rondo::with_task_group(body);
        co_return dumped;
    });
    CAPTURE(text);
    const std::size_t parent = text.find("2 children to end");
    REQUIRE(parent != std::string::npos);
    const std::size_t first = text.find("sleep_long: time to pass", parent);
    REQUIRE(first != std::string::npos);
    CHECK(text.find("sleep_long: time to pass", first + 1) != std::string::npos);
}

TEST_CASE("dump_tasks says what a task awaits of another one", "[task][dump_tasks][sync]") {
    const std::string text = rondo::test::run([]() -> rondo::task<std::string> {
        rondo::event set;
        rondo::channel<int> values(1);
        auto body = [&](rondo::task_group& group) -> rondo::task<std::string> {
            group.spawn([&]() -> rondo::task<> { co_await set.wait(); });
            group.spawn([&]() -> rondo::task<> { co_await values.recv(); });
            co_await rondo::yield();
            std::string dumped = co_await dump_beside(group);
            co_return dumped;
        };
        std::string dumped = co_await rondo::with_task_group(body);
        co_return dumped;
    });
    CAPTURE(text);
    CHECK_THAT(text, ContainsSubstring(": an event to be set, for "));
    CHECK_THAT(text, ContainsSubstring(": a value of a channel, for "));
}

TEST_CASE("dump_tasks says which file, descriptor or peer an operation waits for",
          "[task][dump_tasks][file]") {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const rondo::detail::unique_fd out(ends[0]);
    const rondo::detail::unique_fd in(ends[1]);
    const std::string empty_pipe = "/proc/self/fd/" + std::to_string(out.get());
    // More than the sockets between have room for.
    const rondo::test::temporary_folder folder;
    const std::string large = folder.file("large");
    std::ofstream(large).close();
    std::filesystem::resize_file(large, 16'000'000);
    std::string peer;
    const std::string text = rondo::test::run([&]() -> rondo::task<std::string> {
        rondo::file reader = co_await rondo::file::open(empty_pipe);
        rondo::file source = co_await rondo::file::open(large);
        auto pair = co_await rondo::test::narrow_pair();
        peer = pair.a.remote_endpoint().to_string();
        auto unix_pair = rondo::unix_socket::pair();
        std::array<std::byte, 8> room{};
        std::array<std::byte, 8> more_room{};
        auto body = [&](rondo::task_group& group) -> rondo::task<std::string> {
            group.spawn([&]() -> rondo::task<> { co_await reader.read(room); });
            group.spawn([&]() -> rondo::task<> { co_await rondo::readable(out.get()); });
            group.spawn([&]() -> rondo::task<> { co_await send_file(pair.a, source); });
            group.spawn([&]() -> rondo::task<> {
                co_await unix_pair.first.recv_descriptors(more_room);
            });
            co_await rondo::test::some_turns();
            std::string dumped = co_await dump_beside(group);
            co_return dumped;
        };
        std::string dumped = co_await rondo::with_task_group(body);
        co_return dumped;
    });
    CAPTURE(text);
    CHECK_THAT(text, ContainsSubstring(": read " + empty_pipe + ", for "));
    CHECK_THAT(text, ContainsSubstring(": descriptor " + std::to_string(out.get()) +
                                       " to be readable, for "));
    CHECK_THAT(text, ContainsSubstring(": send_file " + large + " to " + peer + ", for "));
    CHECK_THAT(text, ContainsSubstring(": recv_descriptors from "));
}

TEST_CASE("a function's name is taken out of what compilers say", "[task][dump_tasks]") {
    using rondo::detail::function_of;
    CHECK(function_of("rondo::task<> echo(rondo::tcp_socket)") == "echo");
    CHECK(function_of("void echo(echo(rondo::tcp_socket)::_Z4echoN5rondo10tcp_socketE.Frame*)") ==
          "echo");
    CHECK(function_of("rondo::task<T> ns::pair<A, B>::get(int) const [with T = int]") ==
          "ns::pair<A, B>::get");
    CHECK(function_of("rondo::task<T> get(T) [T = std::basic_string<char>]") == "get");
    CHECK(function_of("rondo::task<T> get(T (&)[2]) [with T = pair<int [2]>]") == "get");
    CHECK(function_of("auto main()::(anonymous class)::operator()(int) const") ==
          "main()::(anonymous class)");
    CHECK(function_of("void f(int)::<lambda(int)>::operator()(f(int)::_ZZ1fi.Frame*)") ==
          "f(int)::<lambda(int)>");
    CHECK(function_of("f(int)::<lambda(int)>") == "f(int)::<lambda(int)>");
    CHECK(function_of("").empty());
}

TEST_CASE("the library's own files are told by the end of their path", "[task][dump_tasks]") {
    using rondo::detail::in_library;
    CHECK(in_library("/usr/include/rondo/task/task_group.hpp"));
    CHECK(in_library("../../lib/rondo/io/run.hpp"));
    CHECK(in_library("rondo/net/serve.hpp"));
    CHECK_FALSE(in_library("/home/me/rondo/samples/echo_server.cpp"));
    CHECK_FALSE(in_library("/home/me/rondo/test/task/dump_tasks_test.cpp"));
    CHECK_FALSE(in_library("/home/me/colorondo/net/mine.cpp"));
    CHECK_FALSE(in_library("mine.cpp"));
    CHECK_FALSE(in_library(""));
}
