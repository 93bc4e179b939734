#include <rondo/net/happy_eyeballs.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/net/resolve_error.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>

#include <support/child_process.hpp>
#include <support/deaf_port.hpp>
#include <support/eventually.hpp>
#include <support/full_listener.hpp>
#include <support/harness.hpp>
#include <support/private_network.hpp>
#include <support/tcp_pair.hpp>
#include <support/thrown_by.hpp>

#include <catch2/catch_test_macros.hpp>

#include <dirent.h>

#include <chrono>
#include <string>
#include <system_error>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using namespace std::chrono_literals;

namespace {

constexpr connect_options hurried = {.attempt_delay = 10ms, .version = {}};
constexpr connect_options patient = {.attempt_delay = 2s, .version = {}};

std::string on_loopback(int last, const endpoint& like) {
    return "127.0.0." + std::to_string(last) + ":" + std::to_string(like.port());
}

endpoint beside(const endpoint& like, int last) {
    return endpoint::parse(on_loopback(last, like)).value();
}

std::string port_text(const endpoint& of) { return std::to_string(of.port()); }

std::size_t open_descriptors() {
    std::size_t count = 0;
    DIR* all = ::opendir("/proc/self/fd");
    while (const dirent* entry = ::readdir(all)) count += entry->d_name[0] != '.';
    ::closedir(all);
    return count;
}

std::vector<endpoint> parsed(const std::vector<const char*>& texts) {
    std::vector<endpoint> made;
    for (const char* text : texts) made.push_back(endpoint::parse(text).value());
    return made;
}

std::string failure_of(const std::vector<endpoint>& candidates) {
    return test::run([&]() -> task<std::string> {
        try {
            const tcp_socket made = co_await tcp_connect(candidates, hurried);
        } catch (const socket_error& error) {
            co_return std::string(error.what());
        }
        co_return std::string();
    });
}

}  // namespace

TEST_CASE("Endpoints are tried by turns of their versions, in their order else",
          "[net][happy_eyeballs]") {
    const auto mixed = parsed({"[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"});
    CHECK(connect_order(mixed) ==
          parsed({"[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"}));
    const auto v4_first = parsed({"1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1", "[::1]:1"});
    CHECK(connect_order(v4_first) ==
          parsed({"1.1.1.1:1", "[::1]:1", "2.2.2.2:1", "3.3.3.3:1"}));
    const auto alternating = parsed({"[::1]:1", "1.1.1.1:1", "[::2]:1"});
    CHECK(connect_order(alternating) == alternating);
    const auto one = parsed({"1.1.1.1:1"});
    CHECK(connect_order(one) == one);
    CHECK(connect_order({}).empty());
}

TEST_CASE("The first endpoint is the one connected to while it answers", "[net][happy_eyeballs]") {
    test::run([]() -> task<> {
        tcp_listener first = listen_on_loopback();
        tcp_listener second = listen_on_loopback();
        const std::vector<endpoint> both = {first.local_endpoint(), second.local_endpoint()};
        const tcp_socket made = co_await tcp_connect(both, patient);
        CHECK(made.remote_endpoint() == both[0]);
        const tcp_socket accepted = co_await accept_one(first);
        CHECK(accepted.remote_endpoint() == made.local_endpoint());
    });
}

TEST_CASE("An endpoint that does not answer is overtaken after the delay, cancelled and closed",
          "[net][happy_eyeballs]") {
    test::run([]() -> task<> {
        full_listener deaf;
        tcp_listener listener = listen_on_loopback();
        const std::vector<endpoint> both = {deaf.where(), listener.local_endpoint()};
        scheduler& loop = co_await this_scheduler();
        const std::size_t descriptors = open_descriptors();
        const std::size_t tasks = loop.stats().live_tasks;
        const auto begun = clock::now();
        const tcp_socket made = co_await tcp_connect(both, hurried);
        CHECK(clock::now() - begun >= 5ms);  // counted from the loop's time, which was read before
        CHECK(made.remote_endpoint() == both[1]);
        CHECK(open_descriptors() == descriptors + 1);
        CHECK(loop.stats().live_tasks == tasks);
        CHECK(loop.stats().timers == 0);
    });
}

TEST_CASE("When an attempt fails the next one begins at once", "[net][happy_eyeballs]") {
    test::run([]() -> task<> {
        const deaf_port refusing;
        tcp_listener listener = listen_on_loopback();
        const std::vector<endpoint> all = {refusing.where(), beside(refusing.where(), 2),
                                           beside(refusing.where(), 3), listener.local_endpoint()};
        const auto begun = clock::now();
        const tcp_socket made = co_await tcp_connect(all, patient);
        CHECK(clock::now() - begun < 2s);
        CHECK(made.remote_endpoint() == all[3]);
    });
}

TEST_CASE("An attempt that hangs does not keep a failure from starting the next",
          "[net][happy_eyeballs]") {
    test::run([]() -> task<> {
        full_listener deaf;
        const deaf_port refusing;
        tcp_listener listener = listen_on_loopback();
        const std::vector<endpoint> all = {deaf.where(), refusing.where(),
                                           listener.local_endpoint()};
        // One delay passes behind the first; none behind the second, which fails.
        const auto begun = clock::now();
        const connect_options once = {.attempt_delay = 400ms, .version = {}};
        const tcp_socket made = co_await tcp_connect(all, once);
        const auto taken = clock::now() - begun;
        CHECK(taken >= 300ms);
        CHECK(taken < 800ms);
        CHECK(made.remote_endpoint() == all[2]);
    });
}

TEST_CASE("localhost is connected to on either version", "[net][happy_eyeballs]") {
    test::run([]() -> task<> {
        for (const ip_address& address : {ip_address::v4_loopback(), ip_address::v6_loopback()}) {
            tcp_listener listener = tcp_listener::listen(endpoint(address, 0));
            const tcp_socket made =
                co_await tcp_connect("localhost:" + port_text(listener.local_endpoint()));
            CHECK(made.remote_endpoint() == listener.local_endpoint());
        }
    });
}

TEST_CASE("The wanted version alone is tried", "[net][happy_eyeballs]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        const std::string name = "localhost:" + port_text(listener.local_endpoint());
        const connect_options v6_only = {.attempt_delay = 10ms, .version = ip_version::v6};
        const std::error_code refused = co_await thrown_by(tcp_connect(name, v6_only));
        CHECK(refused == std::errc::connection_refused);
        const connect_options v4_only = {.attempt_delay = 10ms, .version = ip_version::v4};
        const tcp_socket made = co_await tcp_connect(name, v4_only);
        CHECK(made.remote_endpoint() == listener.local_endpoint());
    });
}

// --- failures ----------------------------------------------------------------------------------

TEST_CASE("One endpoint that refuses is the error of connect()", "[net][happy_eyeballs]") {
    const deaf_port refusing;
    CHECK(failure_of({refusing.where()}) ==
          "connect " + refusing.where().to_string() +
              ": Connection refused (nothing listens there; see ss -ltn)");
}

TEST_CASE("When all fail alike the error names the last one and where else it was tried",
          "[net][happy_eyeballs]") {
    const deaf_port refusing;
    const endpoint second = beside(refusing.where(), 2);
    const endpoint third = beside(refusing.where(), 3);
    CHECK(failure_of({refusing.where(), second, third}) ==
          "connect " + third.to_string() +
              ": Connection refused (nothing listens there; see ss -ltn); also tried " +
              refusing.where().to_string() + ", " + second.to_string());
}

TEST_CASE("A host that refuses tells more than one there is no way to", "[net][happy_eyeballs]") {
    const deaf_port refusing;
    // TCP has no way to a broadcast address, whatever the routes are.
    const auto unreachable = endpoint::parse("255.255.255.255:9").value();
    for (const bool refused_first : {true, false}) {
        const endpoint first = refused_first ? refusing.where() : unreachable;
        const endpoint second = refused_first ? unreachable : refusing.where();
        CHECK(failure_of({first, second}) ==
              "connect " + refusing.where().to_string() +
                  ": Connection refused (nothing listens there; see ss -ltn); also tried "
                  "255.255.255.255:9 (Network is unreachable)");
    }
}

TEST_CASE("A connect_error lists its attempts in their order, and copies",
          "[net][happy_eyeballs]") {
    test::run([]() -> task<> {
        const deaf_port refusing;
        std::vector<endpoint> both = {refusing.where(), endpoint::parse("[::1]:1").value()};
        both[1] = endpoint(ip_address::v6_loopback(), refusing.where().port());
        std::vector<endpoint> tried;
        std::string text;
        std::string copied;
        try {
            const tcp_socket made = co_await tcp_connect(both, hurried);
        } catch (const connect_error& error) {
            for (const auto& each : error.attempts()) {
                CHECK(each.error == std::errc::connection_refused);
                tried.push_back(each.remote);
            }
            CHECK(error.code() == std::errc::connection_refused);
            const connect_error copy = error;
            text = error.what();
            copied = copy.what();
        }
        CHECK(tried == both);
        CHECK(text.starts_with("connect [::1]:"));
        CHECK(text == copied);
    });
}

TEST_CASE("What can be connected to in no way is refused with a sentence",
          "[net][happy_eyeballs]") {
    test::run([]() -> task<> {
        for (const char* wrong : {"", "localhost", "127.0.0.1:65536", "::1:80", "1.2.3:80"}) {
            std::string text;
            try {
                const tcp_socket made = co_await tcp_connect(std::string(wrong));
            } catch (const argument_error& error) {
                text = error.what();
            }
            CHECK(text.starts_with("connect"));
            CHECK(text.find(wrong) != std::string::npos);
        }
        const auto none = co_await as_result(tcp_connect(std::vector<endpoint>()));
        CHECK(none.error() == std::errc::invalid_argument);
        const auto some = parsed({"127.0.0.1:1"});
        for (const auto delay : {9ms, 2001ms}) {
            const connect_options options = {.attempt_delay = delay, .version = {}};
            const auto refused = co_await as_result(tcp_connect(some, options));
            CHECK(refused.error() == std::errc::invalid_argument);
        }
    });
}

TEST_CASE("A name that does not exist is the resolver's error", "[net][happy_eyeballs]") {
    test::run([]() -> task<> {
        const std::error_code code = co_await thrown_by(tcp_connect("a..b:80"));
        CHECK(code == resolver_errc::not_found);
    });
}

// --- cancellation ------------------------------------------------------------------------------

TEST_CASE("A cancelled connect joins and closes all its attempts",
          "[net][happy_eyeballs][cancellation]") {
    test::run([]() -> task<> {
        full_listener one;
        full_listener two;
        full_listener three;
        const std::vector<endpoint> all = {one.where(), two.where(), three.where()};
        scheduler& loop = co_await this_scheduler();
        for (int turns = 0; turns != 4; ++turns) {
            const std::size_t descriptors = open_descriptors();
            cancel_scope scope;
            std::error_code code;
            auto attempt = [&]() -> task<> {
                code = co_await thrown_by(scope.run(tcp_connect(all, hurried)));
            };
            auto stop = [&]() -> task<> {
                // At various stages: some turns, or until all three are under way.
                if (turns != 3) {
                    co_await some_turns(turns);
                } else {
                    co_await eventually([&] { return open_descriptors() >= descriptors + 3; });
                }
                scope.cancel();
            };
            co_await when_all(attempt(), stop());
            CHECK(code == std::errc::operation_canceled);
            CHECK(open_descriptors() == descriptors);
            CHECK(loop.stats().timers == 0);
        }
    });
}

TEST_CASE("A connect that nobody answers times out under with_timeout",
          "[net][happy_eyeballs][cancellation]") {
    test::run([]() -> task<> {
        full_listener one;
        full_listener two;
        const std::vector<endpoint> both = {one.where(), two.where()};
        const std::error_code code =
            co_await thrown_by(with_timeout(30ms, tcp_connect(both, hurried)));
        CHECK(code == std::errc::timed_out);
    });
}

TEST_CASE("A connect in a cancelled scope does not begin", "[net][happy_eyeballs][cancellation]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        const std::vector<endpoint> both = {listener.local_endpoint(), listener.local_endpoint()};
        cancel_scope scope;
        scope.cancel();
        const std::error_code code = co_await thrown_by(scope.run(tcp_connect(both, hurried)));
        CHECK(code == std::errc::operation_canceled);
    });
}

TEST_CASE("A connection that is there when the cancellation comes is delivered or closed",
          "[net][happy_eyeballs][cancellation]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        const std::vector<endpoint> both = {listener.local_endpoint(), listener.local_endpoint()};
        for (int turns = 0; turns != 8; ++turns) {
            const std::size_t descriptors = open_descriptors();
            cancel_scope scope;
            bool delivered = false;
            std::error_code code;
            auto attempt = [&]() -> task<> {
                auto made = co_await as_result(scope.run(tcp_connect(both, patient)));
                delivered = made.has_value();
                code = made.error();
                if (delivered) CHECK(made->remote_endpoint() == both[0]);
            };
            auto stop = [&]() -> task<> {
                co_await some_turns(turns);
                scope.cancel();
            };
            co_await when_all(attempt(), stop());
            CHECK((delivered || code == std::errc::operation_canceled));
            CHECK(open_descriptors() == descriptors);
        }
    });
}

// --- by name -----------------------------------------------------------------------------------

TEST_CASE("By name, the first address that answers is connected to", "[net][happy_eyeballs]") {
    if (!may_have_private_network()) SKIP(no_private_network);
    const std::string said = in_private_network([] {
        replace_file("/etc/hosts", "2001:db8::1 three.example\n127.0.0.2 three.example\n"
                                   "127.0.0.3 three.example\n");
        replace_file("/etc/nsswitch.conf", "hosts: files\n");
        test::run([]() -> task<> {
            full_listener deaf(endpoint::parse("127.0.0.2:0").value());
            tcp_listener listener = tcp_listener::listen(beside(deaf.where(), 3));
            const std::string name = "three.example:" + port_text(deaf.where());
            const tcp_socket made = co_await tcp_connect(name, hurried);
            say(made.remote_endpoint().address().to_string());
        });
        return 0;
    });
    CHECK(said == "127.0.0.3\n");
}

TEST_CASE("By name, the error tells each address and why", "[net][happy_eyeballs]") {
    if (!may_have_private_network()) SKIP(no_private_network);
    const std::string said = in_private_network([] {
        replace_file("/etc/hosts", "2001:db8::1 two.example\n127.0.0.2 two.example\n");
        replace_file("/etc/nsswitch.conf", "hosts: files\n");
        test::run([]() -> task<> {
            try {
                const tcp_socket made = co_await tcp_connect("two.example:1", hurried);
            } catch (const connect_error& error) {
                say(error.what());
            }
        });
        return 0;
    });
    CHECK(said == "connect 127.0.0.2:1: Connection refused (nothing listens there; see ss -ltn); "
                  "also tried [2001:db8::1]:1 (Network is unreachable)\n");
}
