#include <support/harness.hpp>

#include <rondo/task/sleep.hpp>
#include <rondo/task/task.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

using namespace rondo;

namespace {

static_assert(!std::is_copy_constructible_v<task<>>);
static_assert(!std::is_move_constructible_v<task<>>);
static_assert(!std::is_move_assignable_v<task<>>);
template <typename T>
concept awaitable_as_lvalue = requires(T& t) { t.operator co_await(); };
static_assert(!awaitable_as_lvalue<task<>>, "a task is awaited where it is created");

// Counts its own life, in order to find what a frame forgets to destroy.
struct counted {
    explicit counted(int& alive) noexcept : alive_(&alive) { ++*alive_; }
    counted(const counted& other) noexcept : alive_(other.alive_) { ++*alive_; }
    counted(counted&& other) noexcept : alive_(other.alive_) { ++*alive_; }
    ~counted() { --*alive_; }
    int* alive_;
};

task<int> number(int value) { co_return value; }
task<std::unique_ptr<int>> owned(int value) { co_return std::make_unique<int>(value); }
task<std::string&> same(std::string& text) { co_return text; }
task<> thrower() {
    throw std::runtime_error("thrown inside");
    co_return;
}
task<int> throw_instead_of(int value) {
    if (value == 0) throw std::runtime_error("no value");
    co_return value;
}

task<> await_each_kind_of_value() {
    const int seven = co_await number(7);
    CHECK(seven == 7);
    const std::unique_ptr<int> pointer = co_await owned(8);
    CHECK(*pointer == 8);
    std::string text = "mine";
    std::string& reference = co_await same(text);
    CHECK(&reference == &text);
    co_await yield();
}

TEST_CASE("A task gives values, move-only values, references and nothing", "[task]") {
    test::run(await_each_kind_of_value);
}

task<> await_throwers() {
    bool caught = false;
    try {
        co_await thrower();
    } catch (const std::runtime_error& error) {
        caught = std::string(error.what()) == "thrown inside";
    }
    CHECK(caught);
    caught = false;
    try {
        const int unused = co_await throw_instead_of(0);
        CHECK(unused == 1);
    } catch (const std::runtime_error&) {
        caught = true;
    }
    CHECK(caught);
}

TEST_CASE("A task throws what its body threw", "[task]") { test::run(await_throwers); }

TEST_CASE("A task is lazy, and one never awaited never runs but frees its arguments", "[task]") {
    int alive = 0;
    bool ran = false;
    {
        const auto body = [](counted, bool& flag) -> task<> {
            flag = true;
            co_return;
        };
        auto never = body(counted(alive), ran);
        CHECK(alive == 1);
    }
    CHECK(alive == 0);
    CHECK_FALSE(ran);
}

task<> order(std::string& log) {
    const auto body = [](std::string& to) -> task<> {
        to += "body ";
        co_return;
    };
    auto stored = body(log);
    log += "before ";
    co_await std::move(stored);
    log += "after";
}

TEST_CASE("A stored task begins when it is awaited", "[task]") {
    std::string log;
    test::run([&] { return order(log); });
    CHECK(log == "before body after");
}

task<counted> value_of(int& alive) {
    const counted local(alive);
    co_return local;
}
task<> values_are_destroyed(int& alive) {
    {
        const counted kept = co_await value_of(alive);
        CHECK(alive == 1);
    }
    CHECK(alive == 0);
    // A value that nobody takes.
    co_await value_of(alive);
    CHECK(alive == 0);
}

TEST_CASE("Values and locals of a task are destroyed once", "[task]") {
    int alive = 0;
    test::run([&] { return values_are_destroyed(alive); });
    CHECK(alive == 0);
}

task<> throw_past(int& alive) {
    const counted local(alive);
    co_await thrower();
}
TEST_CASE("An exception that passes a task destroys its locals", "[task]") {
    int alive = 0;
    CHECK_THROWS_AS(test::run([&] { return throw_past(alive); }), std::runtime_error);
    CHECK(alive == 0);
}

task<> empty() { co_return; }
task<long> a_million_awaits() {
    long sum = 0;
    for (int i = 0; i != 1'000'000; ++i) {
        co_await empty();
        const int one = co_await number(1);
        sum += one;
    }
    co_return sum;
}

TEST_CASE("A million awaits of tasks that end at once need no stack", "[task]") {
    CHECK(test::run(a_million_awaits) == 1'000'000);
}

task<int> depth(int levels) {
    if (levels == 0) {
        co_await yield();
        co_return 0;
    }
    const int below = co_await depth(levels - 1);
    co_return below + 1;
}

TEST_CASE("Tasks await each other 100,000 levels deep without using the stack", "[task]") {
    CHECK(test::run([] { return depth(100'000); }) == 100'000);
}

struct alignas(64) cache_line {
    std::byte bytes[64] = {};
};
bool aligned(const void* address, std::size_t to) {
    return reinterpret_cast<std::uintptr_t>(address) % to == 0;
}

// The local outlives a suspension, or it would not be in the frame at all.
task<bool> over_aligned_local(int filler_size) {
    cache_line local;
    const std::string filler(static_cast<std::size_t>(filler_size), 'x');
    local.bytes[0] = std::byte{1};
    co_await yield();
    co_return aligned(&local, 64) && filler.size() == static_cast<std::size_t>(filler_size);
}
task<bool> over_aligned_parameter(cache_line line) {
    co_await yield();
    co_return aligned(&line, 64);
}
task<> over_aligned_in_many_frames() {
    for (int i = 0; i != 100; ++i) {
        const bool local = co_await over_aligned_local(i);
        REQUIRE(local);
        const bool parameter = co_await over_aligned_parameter(cache_line{});
        REQUIRE(parameter);
    }
}

TEST_CASE("An over-aligned local or argument of a task is aligned", "[task]") {
    test::run(over_aligned_in_many_frames);
}

// Not inlined, or clang keeps the frame inside its caller's.
[[gnu::noinline]] task<const void*> address_of_frame() {
    int local = 0;
    co_await yield();
    co_return &local;
}
task<> frames_come_back() {
    const void* const first = co_await address_of_frame();
    for (int i = 0; i != 100; ++i) {
        const void* const next = co_await address_of_frame();
        REQUIRE(next == first);
    }
}

TEST_CASE("The frame of an ended task is used again", "[task]") { test::run(frames_come_back); }

struct position {
    int line;
    std::string file;
};
task<position> braced_aggregate() { co_return {12, "main.cpp"}; }
task<std::pair<int, std::unique_ptr<int>>> braced_pair() {
    co_return {1, std::make_unique<int>(2)};
}
task<> braced_values() {
    const position where = co_await braced_aggregate();
    CHECK(where.line == 12);
    CHECK(where.file == "main.cpp");
    const auto pair = co_await braced_pair();
    CHECK(pair.first == 1);
    CHECK(*pair.second == 2);
}

TEST_CASE("A task returns a value that is written in braces", "[task]") {
    test::run(braced_values);
}

}  // namespace
