#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/when_all.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <memory>
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

task<int> number_after(int turns, int value) {
    co_await some_turns(turns);
    co_return value;
}
task<std::unique_ptr<int>> owned(int value) { co_return std::make_unique<int>(value); }
task<std::string> fail_after(int turns, const char* text) {
    co_await some_turns(turns);
    throw std::runtime_error(text);
}
task<> note_the_end(int& ended) {
    const std::error_code e = co_await thrown_by(sleep_for(1h));
    CHECK(e == canceled);
    co_await shield(some_turns(3));
    ++ended;
    detail::throw_canceled();
}

task<> all_kinds_of_values() {
    auto values = co_await when_all(number_after(3, 1), yield(), owned(2), number_after(0, 3));
    static_assert(std::is_same_v<decltype(values), std::tuple<int, std::monostate,
                                                              std::unique_ptr<int>, int>>);
    CHECK(std::get<0>(values) == 1);
    CHECK(*std::get<2>(values) == 2);
    CHECK(std::get<3>(values) == 3);
    const auto none = co_await when_all();
    CHECK(std::tuple_size_v<decltype(none)> == 0);
}

TEST_CASE("when_all gives a tuple of all values, move-only and void ones too", "[when_all]") {
    test::run(all_kinds_of_values);
}

task<> branches_overlap() {
    bool first_began = false;
    bool second_began = false;
    auto first = [&]() -> task<bool> {
        first_began = true;
        const bool seen = co_await test::eventually([&] { return second_began; });
        co_return seen;
    };
    auto second = [&]() -> task<bool> {
        second_began = true;
        const bool seen = co_await test::eventually([&] { return first_began; });
        co_return seen;
    };
    const auto both = co_await when_all(first(), second());
    CHECK(std::get<0>(both));
    CHECK(std::get<1>(both));
}

TEST_CASE("The branches of when_all run concurrently", "[when_all]") {
    test::run(branches_overlap);
}

task<> branch_fails(int& ended) {
    co_await when_all(note_the_end(ended), fail_after(2, "branch"), note_the_end(ended));
}

TEST_CASE("A branch's exception comes out of when_all after the others were cancelled and ended",
          "[when_all]") {
    int ended = 0;
    std::string message;
    try {
        test::run([&] { return branch_fails(ended); });
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    CHECK(message == "branch");
    CHECK(ended == 2);
}

task<> several_branches_fail() {
    co_await when_all(fail_after(2, "later"), fail_after(1, "first"), fail_after(2, "later too"));
}

TEST_CASE("Of several failing branches the first one's exception comes out", "[when_all]") {
    std::string message;
    try {
        test::run(several_branches_fail);
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    CHECK(message == "first");
}

task<> cancelled_from_around() {
    int ended = 0;
    cancel_scope scope;
    auto canceller = [&]() -> task<> {
        co_await some_turns(2);
        scope.cancel();
    };
    auto inside = [&]() -> task<> {
        const auto e = co_await thrown_by(when_all(note_the_end(ended), number_after(0, 1)));
        CHECK(e == canceled);
        CHECK(ended == 1);
    };
    co_await when_all(scope.run(inside()), canceller());
    CHECK(ended == 1);
}

TEST_CASE("A cancelled when_all throws once all branches have ended", "[when_all][cancellation]") {
    test::run(cancelled_from_around);
}

task<> succeeds_in_spite_of_it() {
    cancel_scope scope;
    auto canceller = [&]() -> task<int> {
        scope.cancel();
        co_return 2;
    };
    auto inside = [&]() -> task<> {
        const auto both = co_await when_all(owned(1), canceller());
        CHECK(*std::get<0>(both) == 1);
        CHECK(std::get<1>(both) == 2);
    };
    co_await scope.run(inside());
}

TEST_CASE("A when_all of which every branch succeeded delivers, cancelled or not",
          "[when_all][cancellation]") {
    test::run(succeeds_in_spite_of_it);
}

}  // namespace
