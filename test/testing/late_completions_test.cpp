// Completions come late and in another order, those of one request never.
#include <rondo/testing/late_completions.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include <linux/io_uring.h>

#include <catch2/catch_test_macros.hpp>

#include <support/faulty_stage.hpp>

namespace {

using namespace rondo::test;
using rondo::completion;
using rondo::engine;
using rondo::testing::fault;
using rondo::testing::fault_plan;

TEST_CASE("held completions come later, in the order of their request", "[testing][faulty]") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        fault_plan plan;
        plan.seed = seed;
        plan.with(fault::held_completion, 400);
        plan.longest_hold = 4;
        stage s{plan};
        for (std::uint64_t id = 1; id <= 8; ++id) s.add_multishot(id);
        s.turn();
        for (int round = 1; round <= 10; ++round) {
            for (std::uint64_t id = 1; id <= 8; ++id) {
                s.script->post(id, round, round < 10 ? IORING_CQE_F_MORE : 0);
            }
        }
        std::map<std::uint64_t, std::vector<int>> results;
        // Nothing is held longer than longest_hold, whatever queues up behind it.
        for (int turns = 0; turns <= 4; ++turns) {
            for (const completion& each : s.turn()) {
                results[each.user_data].push_back(each.result);
            }
        }
        REQUIRE(results.size() == 8);
        for (const auto& [id, got] : results) {
            CHECK(got == std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
        }
        CHECK(s.faulty.injected(fault::held_completion) > 0);
    }
}

TEST_CASE("while a completion is held, enter does not wait for long", "[testing][faulty]") {
    fault_plan plan;
    plan.longest_hold = 3;
    plan.rules.push_back({IORING_OP_POLL_ADD, 1, fault::held_completion});
    stage s{plan};
    s.script->on_entry = [&](const io_uring_sqe& entry) { s.script->post(entry.user_data, 1); };
    s.add(IORING_OP_POLL_ADD, 1);
    s.add(IORING_OP_POLL_ADD, 2);
    const auto first = s.turn(engine::forever);
    REQUIRE(first.size() == 1);
    CHECK(first[0].user_data == 2);
    std::vector<completion> seen;
    for (int turns = 0; turns < 3 && seen.empty(); ++turns) {
        seen = s.turn(engine::forever);
        CHECK(s.script->waits.back() <= std::chrono::milliseconds(1));
    }
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user_data == 1);
    CHECK(s.turn(engine::forever).empty());
    CHECK(s.script->waits.back() == engine::forever);
}

TEST_CASE("swapped completions keep each request's order", "[testing][faulty]") {
    bool swapped = false;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        fault_plan plan;
        plan.seed = seed;
        plan.with(fault::swapped_completions, 600);
        stage s{plan};
        for (std::uint64_t id = 1; id <= 5; ++id) s.add_multishot(id);
        s.turn();
        for (int round = 0; round < 6; ++round) {
            for (std::uint64_t id = 1; id <= 5; ++id) {
                s.script->post(id, round, round < 5 ? IORING_CQE_F_MORE : 0);
            }
        }
        std::array<int, 6> next{};
        std::vector<std::uint64_t> order;
        for (const completion& each : s.turn()) {
            order.push_back(each.user_data);
            CHECK(each.result == next[each.user_data]++);
        }
        CHECK(order.size() == 30);
        for (std::size_t i = 0; i < order.size(); ++i) swapped |= order[i] != i % 5 + 1;
    }
    CHECK(swapped);
}

TEST_CASE("what overflows is counted and delivered later, in order", "[testing][faulty]") {
    stage s{fault_plan{}, {.entries = 4, .completions = 8}};
    CHECK(s.faulty.completion_capacity() == 8);
    s.add_multishot(1);
    s.turn();
    for (int i = 0; i < 30; ++i) s.script->post(1, i, i < 29 ? IORING_CQE_F_MORE : 0);
    s.faulty.enter(engine::forever);
    CHECK(s.faulty.completions_end() - s.faulty.completions_begin() == 8);
    CHECK(s.faulty.overflows() == 22);
    // Nothing was read: nothing moves, and nobody waits.
    s.faulty.enter(engine::forever);
    CHECK(s.script->waits.back() == engine::no_wait);
    CHECK(s.faulty.overflows() == 22);
    std::vector<int> results;
    for (int turns = 0; turns < 5; ++turns) {
        for (const completion& each : s.turn(engine::forever)) results.push_back(each.result);
    }
    REQUIRE(results.size() == 30);
    CHECK(std::ranges::is_sorted(results));
}

}  // namespace
