#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>

using namespace rondo;
using namespace std::chrono_literals;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr auto canceled = std::errc::operation_canceled;

task<std::unique_ptr<int>> value_in_spite_of(cancel_scope& scope) {
    scope.cancel();
    co_return std::make_unique<int>(4);
}

task<> values_pass_a_scope() {
    cancel_scope scope;
    const std::unique_ptr<int> four = co_await scope.run(value_in_spite_of(scope));
    CHECK(*four == 4);
    CHECK(scope.cancelled());
}

TEST_CASE("A scope delivers a value that came in spite of its cancellation", "[cancellation]") {
    test::run(values_pass_a_scope);
}

task<> cancellation_stays() {
    cancel_scope scope;
    co_await scope.run(yield());
    CHECK_FALSE(scope.cancelled());
    scope.cancel();
    scope.cancel();
    for (int i = 0; i != 3; ++i) {
        const std::error_code e = co_await thrown_by(scope.run(sleep_for(1h)));
        CHECK(e == canceled);
    }
    // Outside of it nothing is cancelled.
    co_await yield();
}

TEST_CASE("What is run in a cancelled scope is cancelled from the start", "[cancellation]") {
    test::run(cancellation_stays);
}

task<> several_runs_of_one_scope() {
    cancel_scope scope;
    int ended = 0;
    auto waits = [&]() -> task<> {
        const std::error_code e = co_await thrown_by(scope.run(sleep_for(1h)));
        CHECK(e == canceled);
        ++ended;
    };
    auto canceller = [&]() -> task<> {
        co_await some_turns(2);
        scope.cancel();
        CHECK(ended == 0);  // resumed in their turn, not by cancel() itself
    };
    co_await when_all(waits(), waits(), waits(), canceller());
    CHECK(ended == 3);
}

TEST_CASE("A scope cancels all that runs in it, in their turn", "[cancellation]") {
    test::run(several_runs_of_one_scope);
}

task<> nested_scopes() {
    cancel_scope outer;
    cancel_scope inner;
    bool went_on = false;
    auto work = [&]() -> task<> {
        std::error_code e = co_await thrown_by(inner.run(sleep_for(1h)));
        CHECK(e == canceled);
        CHECK_FALSE(outer.cancelled());
        co_await yield();
        went_on = true;
        e = co_await thrown_by(sleep_for(1h));
        CHECK(e == canceled);
    };
    auto canceller = [&]() -> task<> {
        co_await some_turns(2);
        inner.cancel();
        co_await some_turns(2);
        CHECK(went_on);
        outer.cancel();
    };
    co_await when_all(outer.run(work()), canceller());
}

TEST_CASE("An inner scope is cancelled alone, an outer one with all inside", "[cancellation]") {
    test::run(nested_scopes);
}

task<> cancel_oneself() {
    cancel_scope scope;
    int steps = 0;
    auto work = [&]() -> task<> {
        ++steps;
        scope.cancel();
        ++steps;  // nothing is unwound until something is awaited
        co_await yield();
        ++steps;
    };
    const std::error_code e = co_await thrown_by(scope.run(work()));
    CHECK(e == canceled);
    CHECK(steps == 2);
}

TEST_CASE("Work that cancels its own scope goes on to its next await", "[cancellation]") {
    test::run(cancel_oneself);
}

task<> wide_and_deep(int depth, int& ended) {
    if (depth == 0) {
        const std::error_code e = co_await thrown_by(sleep_for(1h));
        CHECK(e == canceled);
        ++ended;
        co_return;
    }
    co_await with_task_group([&](task_group& group) -> task<> {
        for (int i = 0; i != 3; ++i) group.spawn([&] { return wide_and_deep(depth - 1, ended); });
        co_return;
    });
}

task<> cancel_a_tree() {
    cancel_scope scope;
    int ended = 0;
    auto canceller = [&]() -> task<> {
        co_await some_turns(3);
        CHECK(ended == 0);
        scope.cancel();
    };
    co_await when_all(scope.run(wide_and_deep(5, ended)), canceller());
    CHECK(ended == 243);
}

TEST_CASE("A cancellation reaches every leaf of a tree of groups", "[cancellation]") {
    test::run(cancel_a_tree);
}

// --- stop tokens -------------------------------------------------------------------------------

task<> token_stopped_before() {
    std::stop_source source;
    source.request_stop();
    context& here = co_await this_context();
    cancel_scope scope;
    scope.bind(source.get_token(), here.loop());
    CHECK(scope.cancelled());
}

TEST_CASE("A scope bound to a token that was stopped is cancelled at once", "[cancellation]") {
    test::run(token_stopped_before);
}

task<> token_stopped_on_this_thread() {
    std::stop_source source;
    context& here = co_await this_context();
    cancel_scope scope;
    scope.bind(source.get_token(), here.loop());
    auto stopper = [&]() -> task<> {
        co_await some_turns(2);
        source.request_stop();
    };
    const auto both = co_await when_all(as_result(scope.run(sleep_for(1h))), stopper());
    CHECK(std::get<0>(both).error() == canceled);
}

TEST_CASE("A stop request on the loop's own thread cancels as well", "[cancellation]") {
    test::run(token_stopped_on_this_thread);
}

task<> scope_dies_before_the_posted_stop_runs() {
    std::stop_source source;
    context& here = co_await this_context();
    {
        cancel_scope scope;
        scope.bind(source.get_token(), here.loop());
        source.request_stop();  // posted, not yet run
        CHECK_FALSE(scope.cancelled());
    }
    co_await some_turns(3);
}

TEST_CASE("A scope may die while a stop request is on its way", "[cancellation]") {
    test::run(scope_dies_before_the_posted_stop_runs);
}

TEST_CASE("A stop request on the way when the loop ends is dropped", "[cancellation]") {
    test::run([]() -> task<> {
        std::stop_source source;
        context& here = co_await this_context();
        cancel_scope scope;
        scope.bind(source.get_token(), here.loop());
        source.request_stop();
    });
}

task<> bound_to_two_tokens(bool stop_first) {
    std::stop_source first;
    std::stop_source second;
    context& here = co_await this_context();
    cancel_scope scope;
    scope.bind(first.get_token(), here.loop());
    scope.bind(second.get_token(), here.loop());
    auto stopper = [&]() -> task<> {
        co_await some_turns(2);
        CHECK_FALSE(scope.cancelled());
        (stop_first ? first : second).request_stop();
        const bool cancelled = co_await test::eventually([&] { return scope.cancelled(); });
        CHECK(cancelled);
        scope.cancel();  // or a failure would sleep for the hour
    };
    const auto both = co_await when_all(as_result(scope.run(sleep_for(1h))), stopper());
    CHECK(std::get<0>(both).error() == canceled);
}

TEST_CASE("A scope bound to two tokens is cancelled by the first", "[cancellation]") {
    test::run([] { return bound_to_two_tokens(true); });
}

TEST_CASE("A scope bound to two tokens is cancelled by the second", "[cancellation]") {
    test::run([] { return bound_to_two_tokens(false); });
}

// Stops one source after the other on a thread of its own, each as soon as it is offered. Neither
// side waits for the other, or every round would cost a busy machine a change of thread.
class stopper_thread {
public:
    static constexpr std::size_t rounds = 500;

    void wait_until_it_runs() const { runs_.wait(false); }
    std::stop_token token(std::size_t round) const { return sources_[round].get_token(); }
    void offer(std::size_t round) { offered_ = round + 1; }
    void wait_until_all_are_stopped() { thread_.join(); }

private:
    void serve(const std::stop_token& ended) {
        runs_ = true;
        runs_.notify_all();
        for (std::size_t next = 0; next != rounds && !ended.stop_requested();) {
            if (next == offered_) {
                std::this_thread::yield();
            } else {
                sources_[next++].request_stop();
            }
        }
    }

    std::array<std::stop_source, rounds> sources_;
    std::atomic<std::size_t> offered_ = 0;
    std::atomic<bool> runs_ = false;
    std::jthread thread_{[this](const std::stop_token& ended) { serve(ended); }};
};

// The other thread asks at any moment of the scope's life, or after it.
task<> stop_requests_race_scopes(stopper_thread& other, int& cancelled) {
    context& here = co_await this_context();
    other.wait_until_it_runs();
    for (std::size_t round = 0; round != stopper_thread::rounds; ++round) {
        cancel_scope scope;
        scope.bind(other.token(round), here.loop());
        other.offer(round);
        for (std::size_t i = 0; i != round % 100; ++i) {
            const std::error_code e = co_await thrown_by(scope.run(sleep_for(0s)));
            if (e == canceled) {
                ++cancelled;
                break;
            }
        }
    }
}

TEST_CASE("500 stop requests race the scopes they are bound to", "[cancellation]") {
    stopper_thread other;
    int cancelled = 0;
    test::run([&] { return stop_requests_race_scopes(other, cancelled); });
    other.wait_until_all_are_stopped();
    CHECK(cancelled < 500);
}

}  // namespace
