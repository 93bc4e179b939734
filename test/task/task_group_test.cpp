#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace std::chrono_literals;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

constexpr auto canceled = std::errc::operation_canceled;

task<> no_child_outlives_its_group() {
    scheduler& loop = co_await this_scheduler();
    const std::size_t before = loop.stats().live_tasks;
    int ended = 0;
    auto child = [&](int turns_to_live) -> task<> {
        co_await some_turns(turns_to_live);
        ++ended;
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        for (int i = 0; i != 20; ++i) group.spawn(child, i);
        CHECK(group.size() == 20);
        CHECK(ended == 0);  // each begins in its turn
        co_return;
    });
    CHECK(ended == 20);
    CHECK(loop.stats().live_tasks == before);
}

TEST_CASE("No child outlives its group", "[task_group]") {
    test::run(no_child_outlives_its_group);
}

task<> groups_give_values() {
    const auto owned = co_await with_task_group(
        [](task_group& group) -> task<std::unique_ptr<int>> {
            group.spawn([]() -> task<> { co_await yield(); });
            co_return std::make_unique<int>(6);
        });
    CHECK(*owned == 6);
    // Without any child.
    const int one = co_await with_task_group([](task_group&) -> task<int> { co_return 1; });
    CHECK(one == 1);
}

TEST_CASE("A group returns what its body returned", "[task_group]") {
    test::run(groups_give_values);
}

task<> family(task_group& group, int& ended, int generation) {
    co_await yield();
    if (generation != 0) {
        group.spawn(family, std::ref(group), std::ref(ended), generation - 1);
        group.spawn(family, std::ref(group), std::ref(ended), generation - 1);
    }
    ++ended;
}

task<> children_spawn_children() {
    int ended = 0;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn(family, std::ref(group), std::ref(ended), 6);
        co_return;
    });
    CHECK(ended == 127);
}

TEST_CASE("Children may spawn into their own group", "[task_group]") {
    test::run(children_spawn_children);
}

// --- what a child keeps ------------------------------------------------------------------------

struct only_movable {
    explicit only_movable(std::string text)
        : text_(std::make_unique<std::string>(std::move(text))) {}
    task<> operator()(std::unique_ptr<int> number, std::string& out) {
        co_await yield();
        out = *text_ + std::to_string(*number);
    }
    std::unique_ptr<std::string> text_;
};

task<> captures_do_not_dangle() {
    std::string with_captures;
    std::string with_arguments;
    std::string with_movables;
    co_await with_task_group([&](task_group& group) -> task<> {
        {
            const std::string captured = "captured, and too long for the small string buffer";
            auto lambda = [captured, &with_captures]() -> task<> {
                co_await some_turns(2);
                with_captures = captured;
            };
            group.spawn(lambda);
        }
        {
            std::string argument = "argument, and too long for the small string buffer";
            auto function = [](const std::string& text, std::string& out) -> task<> {
                co_await some_turns(2);
                out = text;
            };
            group.spawn(function, argument, std::ref(with_arguments));
            argument.assign(argument.size(), '!');
        }
        group.spawn(only_movable("number "), std::make_unique<int>(5), std::ref(with_movables));
        co_return;
    });
    CHECK(with_captures == "captured, and too long for the small string buffer");
    CHECK(with_arguments == "argument, and too long for the small string buffer");
    CHECK(with_movables == "number 5");
}

TEST_CASE("spawn keeps callable and arguments until the child ends", "[task_group]") {
    test::run(captures_do_not_dangle);
}

task<> arguments_die_before_the_join() {
    std::weak_ptr<int> watched;
    co_await with_task_group([&](task_group& group) -> task<> {
        auto argument = std::make_shared<int>(1);
        watched = argument;
        auto child = [](const std::shared_ptr<int>&) -> task<> { co_await yield(); };
        group.spawn(child, std::move(argument));
        CHECK_FALSE(watched.expired());
        const bool gone = co_await test::eventually([&] { return watched.expired(); });
        CHECK(gone);
        CHECK(group.size() == 0);
    });
}

TEST_CASE("What a child keeps is gone when it has ended", "[task_group]") {
    test::run(arguments_die_before_the_join);
}

// --- failures ----------------------------------------------------------------------------------

task<> sleep_and_note(int& cut) {
    const std::error_code e = co_await thrown_by(sleep_for(1h));
    if (e == canceled) ++cut;
    co_await shield(some_turns(3));  // a clean-up that takes its time
    ++cut;
}

task<> fail_later(std::string text) {
    co_await some_turns(2);
    throw std::runtime_error(text);
}

task<> child_fails(int& cut) {
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&] { return sleep_and_note(cut); });
        group.spawn([] { return fail_later("first"); });
        group.spawn([&] { return sleep_and_note(cut); });
        co_await sleep_for(1h);
    });
}

TEST_CASE("A child's exception cancels the others and comes out once all have ended",
          "[task_group]") {
    int cut = 0;
    std::string message;
    try {
        test::run([&] { return child_fails(cut); });
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    CHECK(message == "first");
    CHECK(cut == 4);
}

task<> body_fails(int& cut) {
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&] { return sleep_and_note(cut); });
        co_await fail_later("body");
    });
}

TEST_CASE("An exception of the body still joins the children", "[task_group]") {
    int cut = 0;
    std::string message;
    try {
        test::run([&] { return body_fails(cut); });
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    CHECK(message == "body");
    CHECK(cut == 2);
}

task<> several_fail() {
    co_await with_task_group([](task_group& group) -> task<> {
        group.spawn([]() -> task<> {
            throw std::runtime_error("the first");
            co_return;
        });
        group.spawn([]() -> task<> {
            throw std::runtime_error("the second");
            co_return;
        });
        // A failure during the cancellation is not the first either.
        group.spawn([]() -> task<> {
            const std::error_code e = co_await thrown_by(sleep_for(1h));
            CHECK(e == canceled);
            throw std::runtime_error("the third");
        });
        co_return;
    });
}

TEST_CASE("Of several exceptions the first is rethrown, once", "[task_group]") {
    std::string message;
    try {
        test::run(several_fail);
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    CHECK(message == "the first");
}

// --- cancelled ---------------------------------------------------------------------------------

task<> cancel_the_group() {
    int cut = 0;
    bool body_went_on = false;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&] { return sleep_and_note(cut); });
        co_await some_turns(2);
        group.cancel();
        CHECK(group.cancelled());
        CHECK(cut == 0);
        const std::error_code e = co_await thrown_by(yield());
        CHECK(e == canceled);
        body_went_on = true;
    });
    CHECK(cut == 2);
    CHECK(body_went_on);
    // Cancelled while the body waits: it counts as ended.
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> {
            group.cancel();
            co_return;
        });
        co_await sleep_for(1h);
        FAIL("the body was not cancelled");
    });
}

TEST_CASE("group.cancel() ends body and children, and the group returns", "[task_group]") {
    test::run(cancel_the_group);
}

task<> spawn_into_a_cancelled_group() {
    bool began = false;
    std::error_code first;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.cancel();
        group.spawn([&]() -> task<> {
            began = true;
            first = co_await thrown_by(yield());
        });
        co_return;
    });
    CHECK(began);
    CHECK(first == canceled);
}

TEST_CASE("A child spawned into a cancelled group begins, and its first await fails",
          "[task_group][cancellation]") {
    test::run(spawn_into_a_cancelled_group);
}

task<> cancelled_from_around() {
    int cut = 0;
    cancel_scope scope;
    auto work = [&](task_group& group) -> task<> {
        group.spawn([&] { return sleep_and_note(cut); });
        co_await sleep_for(1h);
    };
    auto canceller = [&]() -> task<> {
        co_await some_turns(2);
        scope.cancel();
    };
    auto inside = [&]() -> task<> {
        const std::error_code e = co_await thrown_by(with_task_group(work));
        CHECK(e == canceled);
    };
    co_await when_all(scope.run(inside()), canceller());
    CHECK(cut == 2);
}

TEST_CASE("A cancellation from around reaches body and children and comes out",
          "[task_group][cancellation]") {
    test::run(cancelled_from_around);
}

task<> body_that_fails_before_it_has_a_task(int& cut) {
    // No coroutine: what it throws comes out of the call itself.
    const auto body = [&](task_group& group) -> task<> {
        group.spawn([&] { return sleep_and_note(cut); });
        throw std::runtime_error("before the task");
    };
    scheduler& loop = co_await this_scheduler();
    const std::size_t before = loop.stats().live_tasks;
    std::string text;
    try {
        co_await with_task_group(body);
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    CHECK(text == "before the task");
    CHECK(cut == 2);
    CHECK(loop.stats().live_tasks == before);
}

TEST_CASE("A body that throws before it returns a task has its children cancelled and joined",
          "[task_group]") {
    int cut = 0;
    test::run([&] { return body_that_fails_before_it_has_a_task(cut); });
}

}  // namespace
