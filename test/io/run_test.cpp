#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/tcp_pair.hpp>

#include <rondo/io/run.hpp>
#include <rondo/task/sleep.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

using namespace rondo;
using namespace std::chrono_literals;

namespace {

task<int> number() {
    co_await yield();
    co_return 5;
}
task<std::unique_ptr<int>> owned() { co_return std::make_unique<int>(6); }
task<std::string&> same(std::string& text) { co_return text; }
task<> nothing() { co_await yield(); }
task<int> fail() {
    co_await yield();
    throw std::runtime_error("thrown in run");
}

TEST_CASE("run returns values, move-only values, references and nothing", "[run]") {
    CHECK(rondo::run(number()) == 5);
    CHECK(*rondo::run(owned()) == 6);
    std::string text = "mine";
    CHECK(&rondo::run(same(text)) == &text);
    rondo::run(nothing());
    CHECK(test::run(number) == 5);
    CHECK(*test::run(owned) == 6);
    CHECK(&test::run([&]() -> task<std::string&> { return same(text); }) == &text);
}

TEST_CASE("run throws what the task threw, and can be called again", "[run]") {
    CHECK_THROWS_AS(rondo::run(fail()), std::runtime_error);
    CHECK_THROWS_AS(test::run(fail), std::runtime_error);
    CHECK(rondo::run(number()) == 5);
}

TEST_CASE("run copies callable and arguments", "[run]") {
    const auto function = [kept = std::make_unique<std::string>("a")](
                              std::string text, std::unique_ptr<int> value,
                              int& by_reference) -> task<std::string> {
        co_await yield();
        by_reference = *value;
        co_return *kept + text;
    };
    std::string text = "b";
    int out = 0;
    const std::string made = rondo::run(
        run_options{},
        [&function](std::string copied, std::unique_ptr<int> value, int& reference) {
            return function(std::move(copied), std::move(value), reference);
        },
        text, std::make_unique<int>(7), std::ref(out));
    CHECK(made == "ab");
    // A parameter that refers to the copy, not to what was given.
    const std::string referring = rondo::run(
        run_options{},
        [](const std::string& copied) -> task<std::string> {
            co_await yield();
            co_return copied;
        },
        std::string("a text too long for the small string buffer"));
    CHECK(referring == "a text too long for the small string buffer");
    CHECK(text == "b");
    CHECK(out == 7);
}

TEST_CASE("run uses the engine it is told to", "[run]") {
    const auto name = []() -> task<std::string> {
        scheduler& loop = co_await this_scheduler();
        co_return std::string(loop.carrier().name());
    };
    run_options options;
    options.engine = engine_kind::epoll;
    CHECK(rondo::run(options, name) == "epoll");
}

TEST_CASE("run throws what making the engine throws, and can be called again", "[run]") {
    run_options options;
    options.make_engine = [](const engine_options&) -> std::unique_ptr<engine> {
        throw std::system_error(std::make_error_code(std::errc::not_enough_memory));
    };
    CHECK_THROWS_AS(rondo::run(options, number), std::system_error);
    CHECK(rondo::run(number()) == 5);
}

TEST_CASE("run inside of run is misuse", "[run]") {
    const auto ended = test::in_child([] {
        return rondo::run([]() -> task<int> {
            co_await yield();
            co_return rondo::run(number());
        }());
    });
    CHECK(ended.code == -SIGABRT);
    CHECK(ended.error_text.find("misuse: a second scheduler is made on one thread: run() inside "
                                "of run()") != std::string::npos);
}

// Sockets that are destroyed while armed.
task<> leave_orphans(std::vector<int>& descriptors) {
    test::tcp_pair pair = co_await test::connected_pair();
    co_await pair.b.send("x");
    const chunk first = co_await pair.a.recv();
    co_await pair.a.send("y");
    const chunk second = co_await pair.b.recv();
    descriptors.push_back(pair.a.descriptor());
    descriptors.push_back(pair.b.descriptor());
}

TEST_CASE("run returns when sockets destroyed while armed have been closed too", "[run]") {
    std::vector<int> descriptors;
    test::run([&] { return leave_orphans(descriptors); });
    REQUIRE(descriptors.size() == 2);
    for (const int descriptor : descriptors) {
        errno = 0;
        const int flags = ::fcntl(descriptor, F_GETFD);
        CHECK(flags == -1);
        CHECK(errno == EBADF);
    }
}

TEST_CASE("run touches no signal", "[run]") {
    struct sigaction before[2];
    struct sigaction inside[2];
    const auto look = [](struct sigaction* at) {
        ::sigaction(SIGINT, nullptr, &at[0]);
        ::sigaction(SIGTERM, nullptr, &at[1]);
    };
    look(before);
    test::run([&]() -> task<> {
        look(inside);
        co_return;
    });
    CHECK(before[0].sa_handler == inside[0].sa_handler);
    CHECK(before[1].sa_handler == inside[1].sa_handler);
}

}  // namespace
