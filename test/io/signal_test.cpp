#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/tcp_pair.hpp>
#include <support/thrown_by.hpp>

#include <rondo/io/signal.hpp>
#include <rondo/net/serve.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/graceful_stop.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>

#include <catch2/catch_test_macros.hpp>

#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

using namespace rondo;
using namespace std::chrono_literals;
using rondo::test::child_process;
using rondo::test::in_child;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr auto canceled = std::errc::operation_canceled;

task<> succeed() { co_await yield(); }
task<int> end_with(int code) {
    co_await yield();
    co_return code;
}
task<> fail(const char* text) {
    co_await yield();
    throw std::runtime_error(text);
}
task<> fail_oddly() {
    co_await yield();
    throw 5;
}
task<> sleep_and_say_ready() {
    test::say("ready");
    co_await sleep_for(1h);
}

// --- run_main ----------------------------------------------------------------------------------

TEST_CASE("run_main returns 0, or what a task<int> returned", "[signal]") {
    CHECK(in_child([] { return run_main(succeed()); }).code == 0);
    CHECK(in_child([] { return run_main(end_with(7)); }).code == 7);
}

TEST_CASE("run_main reports an exception as one line and returns 1", "[signal]") {
    const auto failed = in_child([] { return run_main(fail("what went wrong")); });
    CHECK(failed.code == 1);
    const std::string expected =
        std::string(program_invocation_short_name) + ": what went wrong\n";
    CHECK(failed.error_text == expected);
    const auto odd = in_child([] { return run_main(fail_oddly()); });
    CHECK(odd.code == 1);
    CHECK(odd.error_text.find("no std::exception") != std::string::npos);
    CHECK(std::ranges::count(odd.error_text, '\n') == 1);
}

TEST_CASE("run_main reports a busy port as one line that names it", "[signal]") {
    const tcp_listener taken = test::listen_on_loopback();
    const endpoint where = taken.local_endpoint();
    const auto failed = in_child([&] {
        return run_main(tcp_serve(where, [](tcp_socket) -> task<> { co_return; }));
    });
    CHECK(failed.code == 1);
    CHECK(std::ranges::count(failed.error_text, '\n') == 1);
    CHECK(failed.error_text.find("bind " + where.to_string()) != std::string::npos);
}

TEST_CASE("SIGINT and SIGTERM end a program at once where nobody drains", "[signal]") {
    for (const int number : {SIGINT, SIGTERM}) {
        child_process child([] { return run_main(sleep_and_say_ready()); });
        CHECK(child.read_line() == "ready");
        child.signal(number);
        CHECK(child.wait() == 0);
        CHECK(child.error_text().empty());
    }
}

TEST_CASE("A task<int> that was interrupted ends the program with 0", "[signal]") {
    child_process child([] {
        return run_main([]() -> task<int> {
            co_await sleep_and_say_ready();
            co_return 3;
        }());
    });
    CHECK(child.read_line() == "ready");
    child.signal(SIGTERM);
    CHECK(child.wait() == 0);
}

// --- the two phases ----------------------------------------------------------------------------

// Serves, says its port; the handler is what the test is about.
template <typename Handler>
int serve_and_say_port(Handler handler, std::chrono::milliseconds drain) {
    serve_options options;
    options.on_listening = [](std::span<const endpoint> locals) {
        test::say(std::to_string(locals[0].port()));
    };
    interrupt_options interrupted;
    interrupted.drain = drain;
    const endpoint anywhere(ip_address::v4_loopback(), 0);
    return run_main(tcp_serve(anywhere, handler, options), interrupted);
}

task<> echo(tcp_socket peer) {
    while (auto data = co_await peer.recv()) co_await peer.send(data);
}

endpoint port_of(child_process& child) {
    const auto port = static_cast<std::uint16_t>(std::stoi(child.read_line()));
    return endpoint(ip_address::v4_loopback(), port);
}

task<std::string> receive(tcp_socket& from, std::size_t count) {
    std::string got;
    while (got.size() < count) {
        const chunk data = co_await from.recv();
        if (!data) break;
        got += data.text();
    }
    co_return got;
}

task<> interrupt_an_echo_server(child_process& child) {
    const endpoint where = port_of(child);
    tcp_socket client = co_await tcp_connect(where);
    co_await client.send("before");
    const std::string before = co_await receive(client, 6);
    CHECK(before == "before");
    child.signal(SIGTERM);
    // The stream ends after what was received has been echoed; newcomers are refused then.
    const chunk end = co_await client.recv();
    CHECK_FALSE(end);
}

TEST_CASE("An interrupted echo server drains itself by the end of the stream", "[signal]") {
    child_process child([] { return serve_and_say_port(echo, 1h); });
    test::run([&] { return interrupt_an_echo_server(child); });
    CHECK(child.wait() == 0);
    CHECK(child.error_text().empty());
}

// Reads what was sent before the stop, then works on and still sends.
task<> answer_after_the_end(tcp_socket peer) {
    co_await peer.send("hello");
    std::size_t count = 0;
    while (auto data = co_await peer.recv()) count += data.size();
    co_await sleep_for(5ms);
    co_await peer.send("received " + std::to_string(count));
}

task<> drain_a_slow_server(child_process& child) {
    tcp_socket client = co_await tcp_connect(port_of(child));
    const std::string hello = co_await receive(client, 5);
    CHECK(hello == "hello");
    co_await client.send("12345");
    // The kernel of the server has it: shutdown(SHUT_RD) keeps what was received.
    child.signal(SIGINT);
    const std::string answer = co_await receive(client, 10);
    CHECK(answer == "received 5");
}

TEST_CASE("In the first phase what was received is delivered and sending still works",
          "[signal]") {
    child_process child([] { return serve_and_say_port(answer_after_the_end, 1h); });
    test::run([&] { return drain_a_slow_server(child); });
    CHECK(child.wait() == 0);
}

task<> never_ends(tcp_socket peer) {
    co_await peer.send("hello");
    const std::error_code e = co_await thrown_by(sleep_for(1h));
    co_await shield(peer.send(e == canceled ? "cancelled" : "woken"));
}

task<> outlast_the_drain(child_process& child) {
    tcp_socket client = co_await tcp_connect(port_of(child));
    const std::string hello = co_await receive(client, 5);
    CHECK(hello == "hello");
    child.signal(SIGTERM);
    const std::string answer = co_await receive(client, 9);
    CHECK(answer == "cancelled");
}

TEST_CASE("At the drain deadline what has not ended is cancelled", "[signal]") {
    child_process child([] { return serve_and_say_port(never_ends, 5ms); });
    test::run([&] { return outlast_the_drain(child); });
    CHECK(child.wait() == 0);
}

struct says_it_stops final : stop_hook {
    void begin_stop() noexcept override { test::say("stopping"); }
};

task<> drain_for_ever() {
    context& here = co_await this_context();
    says_it_stops hook;
    here.stop()->add(hook);
    test::say("ready");
    co_await sleep_for(1h);
}

TEST_CASE("A second signal ends the process from its handler", "[signal]") {
    for (const int number : {SIGINT, SIGTERM}) {
        interrupt_options patient;
        patient.drain = 1h;
        child_process child([&] { return run_main(drain_for_ever(), patient); });
        CHECK(child.read_line() == "ready");
        child.signal(SIGTERM);
        CHECK(child.read_line() == "stopping");
        child.signal(number);
        CHECK(child.wait() == -number);
    }
}

// --- until_interrupted -------------------------------------------------------------------------

task<> raise_once_waiting() {
    co_await some_turns(3);
    ::raise(SIGTERM);
}

task<> raise_and_wait() {
    co_await raise_once_waiting();
    co_await sleep_for(1h);
}

task<> values_of_until_interrupted() {
    const std::optional<int> five = co_await until_interrupted(end_with(5));
    CHECK(five == 5);
    co_await until_interrupted(succeed());
    auto waits = []() -> task<int> {
        const auto both = co_await when_all(sleep_for(1h), raise_once_waiting());
        co_return static_cast<int>(std::tuple_size_v<decltype(both)>);
    };
    const std::optional<int> none = co_await until_interrupted(waits());
    CHECK_FALSE(none.has_value());
    // A value that came in spite of the cancellation.
    auto stubborn = []() -> task<std::unique_ptr<int>> {
        auto both = co_await when_all(as_result(sleep_for(1h)), raise_once_waiting());
        CHECK(std::get<0>(both).error() == canceled);
        co_return std::make_unique<int>(6);
    };
    const auto six = co_await until_interrupted(stubborn());
    REQUIRE(six.has_value());
    CHECK(**six == 6);
}

TEST_CASE("until_interrupted gives the value, or nothing after a signal", "[signal]") {
    test::run(values_of_until_interrupted);
}

TEST_CASE("until_interrupted throws what the work threw", "[signal]") {
    CHECK_THROWS_AS(
        test::run([]() -> task<> { co_await until_interrupted(fail("inside")); }),
        std::runtime_error);
}

task<> cancelled_from_around() {
    cancel_scope scope;
    auto canceller = [&]() -> task<> {
        co_await some_turns(2);
        scope.cancel();
    };
    const auto both =
        co_await when_all(as_result(scope.run(until_interrupted(sleep_for(1h)))), canceller());
    CHECK(std::get<0>(both).error() == canceled);
}

TEST_CASE("A cancellation around until_interrupted is no interruption", "[signal][cancellation]") {
    test::run(cancelled_from_around);
}

// The first thread to come here is interrupted and has ended before the second one begins.
task<> begin_late(std::atomic<int>& came, std::atomic<bool>& over) {
    if (came++ == 0) {
        co_await until_interrupted(raise_and_wait());
        over = true;
    } else {
        const bool seen = co_await test::eventually([&] { return over.load(); });
        CHECK(seen);
        const auto waited = co_await as_result(with_timeout(30s, until_interrupted(sleep_for(1h))));
        CHECK(waited.has_value());
    }
}

TEST_CASE("A thread that begins after the signal is stopped by it, too", "[signal][threads]") {
    std::atomic<int> came = 0;
    std::atomic<bool> over = false;
    run_options two = test::options();
    two.threads = 2;
    rondo::run(two, [&] { return begin_late(came, over); });
    CHECK(came == 2);
}

// Each thread's first is interrupted, and its second is not.
task<> interrupted_once(std::atomic<int>& interrupted, std::atomic<int>& undisturbed,
                        std::atomic<bool>& raised) {
    co_await until_interrupted([&]() -> task<> {
        if (!raised.exchange(true)) co_await raise_once_waiting();
        co_await sleep_for(1h);
    }());
    ++interrupted;
    const std::optional<int> five = co_await until_interrupted(end_with(5));
    if (five == 5) ++undisturbed;
}

TEST_CASE("What a thread begins after an interruption is not ended by it", "[signal][threads]") {
    std::atomic<int> interrupted = 0;
    std::atomic<int> undisturbed = 0;
    std::atomic<bool> raised = false;
    run_options two = test::options();
    two.threads = 2;
    rondo::run(two, [&] { return interrupted_once(interrupted, undisturbed, raised); });
    CHECK(interrupted == 2);
    CHECK(undisturbed == 2);
}

void own_handler(int) {}

TEST_CASE("until_interrupted puts the previous handlers back", "[signal]") {
    struct sigaction own = {};
    own.sa_handler = own_handler;
    struct sigaction before;
    ::sigaction(SIGINT, &own, &before);
    test::run([]() -> task<> { co_await until_interrupted(succeed()); });
    struct sigaction after;
    ::sigaction(SIGINT, &before, &after);
    CHECK(after.sa_handler == own_handler);
}

TEST_CASE("Two until_interrupted at a time on one thread are misuse", "[signal]") {
    const auto ended = in_child([] {
        rondo::run([]() -> task<> {
            co_await until_interrupted(until_interrupted(succeed()));
        }());
        return 0;
    });
    CHECK(ended.code == -SIGABRT);
    CHECK(ended.error_text.find("misuse: two until_interrupted() at a time") !=
          std::string::npos);
}

}  // namespace
