#include <support/harness.hpp>

#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/with_timeout.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <variant>

using namespace rondo;
using namespace std::chrono_literals;

namespace {

class special_error final : public std::system_error {
public:
    special_error() : std::system_error(std::make_error_code(std::errc::broken_pipe)) {}
};

task<int> fail_or(int value) {
    if (value == 0) throw special_error();
    co_return value;
}
task<> fail_otherwise() {
    throw std::logic_error("no system_error");
    co_return;
}
task<std::unique_ptr<int>> owned() { co_return std::make_unique<int>(5); }

TEST_CASE("A result holds a value or an error", "[result]") {
    result<std::string> good(std::in_place, "text");
    CHECK(good);
    CHECK(good.has_value());
    CHECK(good.error() == std::error_code());
    CHECK(good.value() == "text");
    CHECK(good->size() == 4);
    const std::string taken = *std::move(good);
    CHECK(taken == "text");

    result<std::string> bad(std::make_error_code(std::errc::broken_pipe));
    CHECK_FALSE(bad);
    CHECK(bad.error() == std::errc::broken_pipe);
    CHECK_THROWS_AS(bad.value(), std::system_error);
    CHECK_THROWS_AS(std::move(bad).value(), std::system_error);

    const result<void> nothing(std::in_place);
    CHECK(nothing.has_value());
}

TEST_CASE("The value of a cancelled result throws operation_canceled", "[result]") {
    result<int> cut(std::make_error_code(std::errc::operation_canceled));
    CHECK_THROWS_AS(cut.value(), operation_canceled);
}

task<> results_of_tasks() {
    auto good = co_await as_result(fail_or(3));
    CHECK(*good == 3);
    auto bad = co_await as_result(fail_or(0));
    CHECK(bad.error() == std::errc::broken_pipe);
    // As it was thrown.
    CHECK_THROWS_AS(bad.value(), special_error);
    auto pointer = co_await as_result(owned());
    const std::unique_ptr<int> taken = *std::move(pointer);
    CHECK(*taken == 5);
    auto late = co_await as_result(with_timeout(1ms, sleep_for(1h)));
    CHECK(late.error() == std::errc::timed_out);
}

TEST_CASE("as_result makes a system_error of compound work a value", "[result]") {
    test::run(results_of_tasks);
}

task<> other_exceptions_pass() { const auto unreached = co_await as_result(fail_otherwise()); }

TEST_CASE("as_result lets other exceptions pass", "[result]") {
    CHECK_THROWS_AS(test::run(other_exceptions_pass), std::logic_error);
}

// A single operation that would tell if somebody made it throw.
class refused_operation {
public:
    explicit refused_operation(bool& thrown) noexcept : thrown_(&thrown) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    int await_resume() const {
        *thrown_ = true;
        throw special_error();
    }
    std::error_code error() const noexcept { return special_error().code(); }

private:
    bool* thrown_;
};

task<> no_throw_on_the_way() {
    bool thrown = false;
    const auto outcome = co_await as_result(refused_operation(thrown));
    CHECK(outcome.error() == std::errc::broken_pipe);
    CHECK_FALSE(thrown);
}

TEST_CASE("as_result of a single operation throws nothing on the way", "[result]") {
    test::run(no_throw_on_the_way);
}

TEST_CASE("is_canceled knows operation_canceled and nothing else", "[cancellation]") {
    CHECK(is_canceled(std::make_exception_ptr(operation_canceled())));
    CHECK_FALSE(is_canceled(nullptr));
    CHECK_FALSE(is_canceled(std::make_exception_ptr(special_error())));
    CHECK_FALSE(is_canceled(std::make_exception_ptr(5)));
    const auto code = std::make_error_code(std::errc::operation_canceled);
    CHECK_FALSE(is_canceled(std::make_exception_ptr(std::system_error(code))));
    CHECK(operation_canceled(7).transferred() == 7);
    CHECK(operation_canceled().code() == code);
}

}  // namespace
