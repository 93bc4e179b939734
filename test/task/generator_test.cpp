#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/generator.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

using namespace rondo;
using namespace std::chrono_literals;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

generator<int> count_to(int last, bool waits) {
    for (int i = 1; i <= last; ++i) {
        if (waits) co_await yield();
        co_yield i;
    }
}

task<> take_all() {
    for (const bool waits : {false, true}) {
        auto source = count_to(100, waits);
        int sum = 0;
        while (auto value = co_await source.next()) sum += *value;
        CHECK(sum == 5050);
        // The end stays the end.
        const auto after = co_await source.next();
        CHECK_FALSE(after.has_value());
        const auto ever = co_await source.next();
        CHECK_FALSE(ever.has_value());
    }
    auto none = count_to(0, true);
    const auto nothing = co_await none.next();
    CHECK_FALSE(nothing.has_value());
}

TEST_CASE("A generator gives its values in order, then nothing for ever", "[generator]") {
    test::run(take_all);
}

task<long> take_a_million() {
    auto source = count_to(1'000'000, false);
    long sum = 0;
    while (auto value = co_await source.next()) sum += *value;
    co_return sum;
}

TEST_CASE("A million values that come at once need no stack", "[generator]") {
    CHECK(test::run(take_a_million) == 500'000'500'000);
}

generator<std::unique_ptr<std::string>> movables(std::string text) {
    co_yield std::make_unique<std::string>(text + "1");
    auto second = std::make_unique<std::string>(text + "2");
    co_yield std::move(second);
}

task<> take_movables() {
    auto source = movables("a text that is not small enough for the string itself ");
    auto first = co_await source.next();
    CHECK((*first)->back() == '1');
    // Moved between two values, it goes on.
    auto moved = std::move(source);
    auto second = co_await moved.next();
    CHECK((*second)->back() == '2');
    const auto end = co_await moved.next();
    CHECK_FALSE(end.has_value());
}

TEST_CASE("A generator gives move-only values and can be moved", "[generator]") {
    test::run(take_movables);
}

struct sets_at_end {
    explicit sets_at_end(bool& flag) noexcept : flag_(&flag) {}
    sets_at_end(const sets_at_end&) = delete;
    sets_at_end& operator=(const sets_at_end&) = delete;
    ~sets_at_end() { *flag_ = true; }
    bool* flag_;
};

generator<int> with_a_local(bool& destroyed, bool& began) {
    const sets_at_end local(destroyed);
    began = true;
    for (int i = 0;; ++i) co_yield i;
}

task<> destroyed_early() {
    bool destroyed = false;
    bool began = false;
    {
        auto source = with_a_local(destroyed, began);
        CHECK_FALSE(began);
        co_await source.next();
        co_await source.next();
        CHECK_FALSE(destroyed);
    }
    CHECK(destroyed);
    began = false;
    {
        auto never_begun = with_a_local(destroyed, began);
    }
    CHECK_FALSE(began);
}

TEST_CASE("A generator destroyed between two values destroys its locals", "[generator]") {
    test::run(destroyed_early);
}

generator<int> throw_after(int values) {
    for (int i = 0; i != values; ++i) co_yield i;
    throw std::runtime_error("source failed");
}

task<> failing_source() {
    auto source = throw_after(2);
    co_await source.next();
    co_await source.next();
    bool failed = false;
    try {
        co_await source.next();
    } catch (const std::runtime_error&) {
        failed = true;
    }
    CHECK(failed);
    const auto after = co_await source.next();
    CHECK_FALSE(after.has_value());
}

TEST_CASE("A generator throws what its body threw, and has ended then", "[generator]") {
    test::run(failing_source);
}

generator<int> slow(std::error_code& inside) {
    co_yield 1;
    try {
        co_await sleep_for(1h);
    } catch (const operation_canceled& error) {
        inside = error.code();
        throw;
    }
    co_yield 2;
}

task<> cancelled_in_its_consumer() {
    std::error_code inside;
    auto source = slow(inside);
    // The body runs in the context of each next() anew.
    const auto first = co_await with_timeout(1h, source.next());
    CHECK(*first == 1);
    const auto e = co_await thrown_by(with_timeout(1ms, source.next()));
    CHECK(e == std::errc::timed_out);
    CHECK(inside == std::errc::operation_canceled);
}

TEST_CASE("A generator is cancelled with its consumer", "[generator][cancellation]") {
    test::run(cancelled_in_its_consumer);
}

generator<int> swallowing() {
    for (int i = 0;; ++i) {
        const std::error_code e = co_await thrown_by(yield());
        co_yield e == std::errc::operation_canceled ? -1 : i;
    }
}

task<> goes_on_after_a_cancelled_scope() {
    auto source = swallowing();
    const auto zero = co_await source.next();
    CHECK(*zero == 0);
    cancel_scope scope;
    scope.cancel();
    const auto cut = co_await scope.run(source.next());
    CHECK(*cut == -1);
    const auto two = co_await source.next();
    CHECK(*two == 2);
}

TEST_CASE("A generator that survived a cancelled scope goes on outside of it",
          "[generator][cancellation]") {
    test::run(goes_on_after_a_cancelled_scope);
}

}  // namespace
