#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/io/blocking.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>

using namespace rondo;
using namespace std::chrono_literals;
using rondo::test::eventually;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr std::size_t most_threads = 16;

// What a test and an abandoned call share.
struct gate {
    std::atomic<int> begun = 0;
    std::atomic<int> ended = 0;
    std::atomic<bool> open = false;
};

int pass(const std::shared_ptr<gate>& through) {
    ++through->begun;
    through->begun.notify_all();
    through->open.wait(false);
    ++through->ended;
    return 7;
}

void open(gate& g) {
    g.open = true;
    g.open.notify_all();
}

task<> value_of_another_thread() {
    const auto where = co_await blocking([] { return std::this_thread::get_id(); });
    CHECK(where != std::this_thread::get_id());
    const auto sum = co_await blocking([](int a, int b) { return a + b; }, 2, 3);
    CHECK(sum == 5);
    bool ran = false;
    co_await blocking([](bool* flag) { *flag = true; }, &ran);
    CHECK(ran);
}

TEST_CASE("blocking returns what its function returned on another thread", "[helpers]") {
    test::run(value_of_another_thread);
}

task<> move_only() {
    auto made = co_await blocking(
        [](std::unique_ptr<int> number) {
            ++*number;
            return number;
        },
        std::make_unique<int>(41));
    CHECK(*made == 42);
    // A copy is what the function gets: the original may change meanwhile.
    std::string text = "before";
    auto call = blocking([](const std::string& given) { return given; }, text);
    text = "after";
    const auto given = co_await call;
    CHECK(given == "before");
}

TEST_CASE("blocking keeps its arguments, which may be moved only, and so may its result",
          "[helpers]") {
    test::run(move_only);
}

int fail() { throw std::system_error(std::make_error_code(std::errc::is_a_directory)); }
void fail_otherwise() { throw std::runtime_error("otherwise"); }

task<> exceptions() {
    const std::error_code thrown = co_await thrown_by(blocking(fail));
    CHECK(thrown == std::errc::is_a_directory);
    const auto outcome = co_await as_result(blocking(fail));
    CHECK(outcome.error() == std::errc::is_a_directory);
}

task<> other_exception() { co_await blocking(fail_otherwise); }

TEST_CASE("blocking throws what its function threw", "[helpers]") {
    test::run(exceptions);
    CHECK_THROWS_AS(test::run(other_exception), std::runtime_error);
}

task<> loop_goes_on() {
    auto shared = std::make_shared<gate>();
    bool returned = false;
    auto call = [&]() -> task<> {
        const auto seven = co_await blocking(pass, shared);
        CHECK(seven == 7);
        returned = true;
    };
    auto meanwhile = [&]() -> task<> {
        const auto begun = co_await eventually([&] { return shared->begun == 1; });
        CHECK(begun);
        co_await some_turns();
        CHECK_FALSE(returned);
        open(*shared);
    };
    co_await when_all(call(), meanwhile());
    CHECK(returned);
}

TEST_CASE("The loop goes on while a call blocks", "[helpers]") { test::run(loop_goes_on); }

task<> many_calls() {
    std::atomic<int> sum = 0;
    co_await with_task_group([&](task_group& group) -> task<> {
        for (int i = 0; i != 200; ++i) {
            group.spawn([](std::atomic<int>& total, int n) -> task<> {
                const auto same = co_await blocking([](int given) { return given; }, n);
                total += same;
            }, std::ref(sum), i);
        }
        co_return;
    });
    CHECK(sum == 199 * 200 / 2);
}

TEST_CASE("More calls than there are helper threads all return", "[helpers]") {
    test::run(many_calls);
}

// --- cancellation ------------------------------------------------------------------------------

task<> in_a_cancelled_scope() {
    std::atomic<bool> ran = false;
    cancel_scope scope;
    scope.cancel();
    auto call = [](std::atomic<bool>* flag) { *flag = true; };
    const std::error_code thrown = co_await thrown_by(scope.run(blocking(call, &ran)));
    CHECK(thrown == std::errc::operation_canceled);
    CHECK_FALSE(ran);
}

TEST_CASE("In a cancelled scope blocking fails and calls nothing", "[helpers][cancellation]") {
    test::run(in_a_cancelled_scope);
}

task<> cancelled_before_it_began() {
    auto occupied = std::make_shared<gate>();
    std::atomic<bool> ran = false;
    co_await with_task_group([&](task_group& group) -> task<> {
        for (std::size_t i = 0; i != most_threads; ++i) {
            group.spawn([](std::shared_ptr<gate> shared) -> task<> {
                const auto seven = co_await blocking(pass, shared);
                CHECK(seven == 7);
            }, occupied);
        }
        const auto full = co_await eventually([&] { return occupied->begun == most_threads; });
        CHECK(full);
        cancel_scope scope;
        auto wait = [&]() -> task<> {
            auto call = [](std::atomic<bool>* flag) { *flag = true; };
            const std::error_code thrown = co_await thrown_by(scope.run(blocking(call, &ran)));
            CHECK(thrown == std::errc::operation_canceled);
        };
        auto stop = [&]() -> task<> {
            co_await some_turns();
            scope.cancel();
        };
        co_await when_all(wait(), stop());
        open(*occupied);
    });
    CHECK(occupied->ended == most_threads);
    CHECK_FALSE(ran);
}

TEST_CASE("A call that is cancelled before it began never runs", "[helpers][cancellation]") {
    test::run(cancelled_before_it_began);
}

// Tells on which thread it was destroyed.
class traced_result {
public:
    explicit traced_result(std::shared_ptr<std::atomic<int>> destroyed)
        : destroyed_(std::move(destroyed)) {}
    traced_result(traced_result&&) noexcept = default;
    traced_result& operator=(traced_result&&) noexcept = default;
    ~traced_result() {
        if (destroyed_) ++*destroyed_;
    }

private:
    std::shared_ptr<std::atomic<int>> destroyed_;
};

task<> cancelled_after_it_began(std::shared_ptr<gate> shared,
                                std::shared_ptr<std::atomic<int>> destroyed) {
    auto call = [](const std::shared_ptr<gate>& through, std::shared_ptr<std::atomic<int>> count) {
        pass(through);
        return traced_result(std::move(count));
    };
    cancel_scope scope;
    auto wait = [&]() -> task<> {
        const std::error_code thrown =
            co_await thrown_by(scope.run(blocking(call, shared, destroyed)));
        CHECK(thrown == std::errc::operation_canceled);
        CHECK(shared->ended == 0);
    };
    auto stop = [&]() -> task<> {
        const auto begun = co_await eventually([&] { return shared->begun == 1; });
        CHECK(begun);
        scope.cancel();
    };
    co_await when_all(wait(), stop());
    CHECK(*destroyed == 0);
}

TEST_CASE("A call that is cancelled after it began is abandoned, beyond the end of run()",
          "[helpers][cancellation]") {
    auto shared = std::make_shared<gate>();
    auto destroyed = std::make_shared<std::atomic<int>>(0);
    test::run(cancelled_after_it_began, shared, destroyed);
    CHECK(shared->ended == 0);
    open(*shared);
    const auto give_up = clock::now() + 30s;
    while (*destroyed == 0 && clock::now() < give_up) std::this_thread::yield();
    CHECK(*destroyed == 1);
}

task<> abandoned_ends_under_way() {
    auto shared = std::make_shared<gate>();
    cancel_scope scope;
    auto wait = [&]() -> task<> {
        const std::error_code thrown = co_await thrown_by(scope.run(blocking(pass, shared)));
        CHECK(thrown == std::errc::operation_canceled);
    };
    auto stop = [&]() -> task<> {
        const auto begun = co_await eventually([&] { return shared->begun == 1; });
        CHECK(begun);
        scope.cancel();
    };
    co_await when_all(wait(), stop());
    open(*shared);
    const auto ended = co_await eventually([&] { return shared->ended == 1; });
    CHECK(ended);
    // Its thread serves others again.
    const auto three = co_await blocking([] { return 3; });
    CHECK(three == 3);
}

TEST_CASE("An abandoned call that returns later disturbs nobody", "[helpers][cancellation]") {
    test::run(abandoned_ends_under_way);
}

// Cancels at about the time the call returns: which of both comes first is left to chance.
task<> cancelled_about_when_it_ends(int round) {
    auto shared = std::make_shared<gate>();
    cancel_scope scope;
    bool has_value = false;
    auto wait = [&]() -> task<> {
        const auto outcome = co_await as_result(scope.run(blocking(pass, shared)));
        has_value = outcome.has_value();
        if (!outcome) CHECK(outcome.error() == std::errc::operation_canceled);
    };
    auto stop = [&]() -> task<> {
        const auto begun = co_await eventually([&] { return shared->begun == 1; });
        CHECK(begun);
        open(*shared);
        for (int i = 0; i != round % 64; ++i) std::this_thread::yield();
        scope.cancel();
        co_return;
    };
    co_await when_all(wait(), stop());
    if (has_value) CHECK(shared->ended == 1);
}

TEST_CASE("A cancellation that meets the end of its call loses neither",
          "[helpers][cancellation]") {
    // Each round ends its loop, too, while the helper may be about to post to it.
    for (int round = 0; round != 128; ++round) {
        INFO("round " << round);
        test::run(cancelled_about_when_it_ends, round);
    }
}

task<> timed_out(std::shared_ptr<gate> shared) {
    const std::error_code thrown = co_await thrown_by(with_timeout(1ms, blocking(pass, shared)));
    CHECK(thrown == std::errc::timed_out);
}

TEST_CASE("A time-out ends the wait for a call that hangs", "[helpers][cancellation]") {
    auto shared = std::make_shared<gate>();
    test::run(timed_out, shared);
    open(*shared);
}

task<> never_awaited() {
    bool ran = false;
    {
        auto call = blocking([](bool* flag) { *flag = true; }, &ran);
        std::ignore = call;
    }
    co_await some_turns();
    CHECK_FALSE(ran);
}

TEST_CASE("A call that is never awaited never runs", "[helpers]") { test::run(never_awaited); }

}  // namespace
