#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/tcp_pair.hpp>
#include <support/thrown_by.hpp>

#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/when_any.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <variant>

using namespace rondo;
using namespace std::chrono_literals;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr auto canceled = std::errc::operation_canceled;

task<std::unique_ptr<int>> owned_after(int turns, int value) {
    co_await some_turns(turns);
    co_return std::make_unique<int>(value);
}

task<> first_value_ends_the_others() {
    const auto before = rondo::clock::now();
    auto happened = co_await when_any(sleep_for(1h), owned_after(2, 5), sleep_for(1h));
    static_assert(std::is_same_v<decltype(happened),
                                 std::tuple<std::optional<std::monostate>,
                                            std::optional<std::unique_ptr<int>>,
                                            std::optional<std::monostate>>>);
    CHECK_FALSE(std::get<0>(happened));
    REQUIRE(std::get<1>(happened));
    CHECK(**std::get<1>(happened) == 5);
    CHECK_FALSE(std::get<2>(happened));
    CHECK(rondo::clock::now() - before < 1min);
}

TEST_CASE("The first value ends the other branches of when_any", "[when_any]") {
    test::run(first_value_ends_the_others);
}

task<> everything_that_happened() {
    // Ready in the same turn: none of them may be dropped.
    auto happened = co_await when_any(owned_after(0, 1), yield(), owned_after(0, 2));
    REQUIRE(std::get<0>(happened));
    CHECK(**std::get<0>(happened) == 1);
    REQUIRE(std::get<2>(happened));
    CHECK(**std::get<2>(happened) == 2);
    // A loser that goes on to a value in spite of its cancellation.
    auto stubborn = []() -> task<int> {
        const std::error_code e = co_await thrown_by(sleep_for(1h));
        CHECK(e == canceled);
        co_return 3;
    };
    auto both = co_await when_any(yield(), stubborn());
    CHECK(std::get<0>(both));
    REQUIRE(std::get<1>(both));
    CHECK(*std::get<1>(both) == 3);
}

TEST_CASE("when_any keeps everything that happened", "[when_any]") {
    test::run(everything_that_happened);
}

// Data on both connections at the same time: what when_any does not deliver stays in the socket.
task<> receive_from_two() {
    test::tcp_pair one = co_await test::connected_pair();
    test::tcp_pair two = co_await test::connected_pair();
    std::string from_one;
    std::string from_two;
    for (int round = 0; round != 300; ++round) {
        co_await when_all(one.b.send("1"), two.b.send("2"));
        auto happened = co_await when_any(one.a.recv(), two.a.recv());
        if (std::get<0>(happened)) from_one += std::get<0>(happened)->text();
        if (std::get<1>(happened)) from_two += std::get<1>(happened)->text();
        REQUIRE((std::get<0>(happened) || std::get<1>(happened)));
    }
    one.b.shutdown(shutdown_mode::send);
    two.b.shutdown(shutdown_mode::send);
    while (auto data = co_await one.a.recv()) from_one += data.text();
    while (auto data = co_await two.a.recv()) from_two += data.text();
    CHECK(from_one == std::string(300, '1'));
    CHECK(from_two == std::string(300, '2'));
}

TEST_CASE("when_any over two connections loses no byte of the loser", "[when_any][cancellation]") {
    test::run(receive_from_two);
}

// The closer is ready before the branches are made.
task<> close_what_a_branch_awaits(bool all) {
    test::tcp_pair pair = co_await test::connected_pair();
    const auto body = [&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> { co_await pair.a.close(); });
        std::error_code error;
        if (all) {
            error = co_await thrown_by(when_all(pair.a.recv(), sleep_for(1h)));
        } else {
            error = co_await thrown_by(when_any(pair.a.recv(), sleep_for(1h)));
        }
        CHECK(error == canceled);
    };
    co_await with_task_group(body);
    CHECK_FALSE(pair.a.is_open());
}

TEST_CASE("A branch has begun before another task can close its socket",
          "[when_any][cancellation][tcp]") {
    for (const bool all : {false, true}) test::run(close_what_a_branch_awaits, all);
}

task<int> fail_after(int turns) {
    co_await some_turns(turns);
    throw std::runtime_error("branch");
}

task<> branch_fails(bool& ended) {
    auto other = [&]() -> task<> {
        const std::error_code e = co_await thrown_by(sleep_for(1h));
        CHECK(e == canceled);
        co_await shield(some_turns(2));
        ended = true;
    };
    co_await when_any(other(), fail_after(1));
}

TEST_CASE("An exception in a branch of when_any comes out after all have ended", "[when_any]") {
    bool ended = false;
    CHECK_THROWS_AS(test::run([&] { return branch_fails(ended); }), std::runtime_error);
    CHECK(ended);
}

task<> failures_as_values() {
    auto refused = []() -> task<> {
        throw std::system_error(std::make_error_code(std::errc::connection_refused));
        co_return;
    };
    auto happened = co_await when_any(as_result(refused()), as_result(sleep_for(1h)));
    REQUIRE(std::get<0>(happened));
    CHECK(std::get<0>(happened)->error() == std::errc::connection_refused);
    // as_result makes a value of a cancellation too.
    REQUIRE(std::get<1>(happened));
    CHECK(std::get<1>(happened)->error() == canceled);
}

TEST_CASE("as_result around a branch of when_any keeps its failure a value", "[when_any]") {
    test::run(failures_as_values);
}

task<> cancelled_from_around() {
    cancel_scope scope;
    auto canceller = [&]() -> task<> {
        co_await some_turns(2);
        scope.cancel();
    };
    auto inside = [&]() -> task<> {
        const auto e = co_await thrown_by(when_any(sleep_for(1h), sleep_for(2h)));
        CHECK(e == canceled);
    };
    co_await when_all(scope.run(inside()), canceller());
}

TEST_CASE("A when_any cancelled before anything happened throws", "[when_any][cancellation]") {
    test::run(cancelled_from_around);
}

}  // namespace
