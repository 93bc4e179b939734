#include <support/harness.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/task/context.hpp>
#include <rondo/task/graceful_stop.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task.hpp>

#include <catch2/catch_test_macros.hpp>

#include <optional>

using namespace rondo;

namespace {

task<context*> context_below() {
    context& here = co_await this_context();
    co_return &here;
}

task<> contexts_are_handed_down() {
    context& here = co_await this_context();
    context* const below = co_await context_below();
    CHECK(below == &here);
    scheduler& loop = co_await this_scheduler();
    CHECK(&here.loop() == &loop);
    CHECK_FALSE(here.cancelled());
    const context child(here);
    CHECK(child.parent() == &here);
    CHECK(&child.loop() == &loop);
}

TEST_CASE("An awaited task runs in its awaiter's context", "[context]") {
    test::run(contexts_are_handed_down);
}

task<> cancellation_walks_down() {
    context& here = co_await this_context();
    context parent(here);
    context child(parent);
    context shielded(parent, context::shielding::on);
    context below_shield(shielded);
    parent.cancel();
    CHECK(parent.cancelled());
    CHECK(child.cancelled());
    CHECK_FALSE(shielded.cancelled());
    CHECK_FALSE(below_shield.cancelled());
    CHECK_FALSE(here.cancelled());
    // Made later, it starts as what is around it.
    const context late(parent);
    CHECK(late.cancelled());
    const context late_shield(parent, context::shielding::on);
    CHECK_FALSE(late_shield.cancelled());
    const context late_below(shielded);
    CHECK_FALSE(late_below.cancelled());
    shielded.cancel();
    CHECK(below_shield.cancelled());
}

TEST_CASE("A cancellation reaches all contexts below, but for shielded ones", "[context]") {
    test::run(cancellation_walks_down);
}

task<> live_contexts_are_counted() {
    scheduler& loop = co_await this_scheduler();
    context& here = co_await this_context();
    const std::size_t before = loop.stats().live_tasks;
    std::optional<context> one(std::in_place, here);
    CHECK(loop.stats().live_tasks == before + 1);
    one.reset();
    CHECK(loop.stats().live_tasks == before);
}

TEST_CASE("The scheduler counts the contexts that live", "[context]") {
    test::run(live_contexts_are_counted);
}

struct recording_hook final : stop_hook {
    int told = 0;
    void begin_stop() noexcept override { ++told; }
};

TEST_CASE("A graceful stop tells every server once, and late ones at once", "[graceful_stop]") {
    graceful_stop stop;
    CHECK_FALSE(stop.requested());
    recording_hook early;
    stop.add(early);
    {
        recording_hook gone;
        stop.add(gone);
    }
    CHECK(early.told == 0);
    CHECK(stop.request());
    CHECK(stop.requested());
    CHECK(early.told == 1);
    recording_hook late;
    stop.add(late);
    CHECK(late.told == 1);
    CHECK(early.told == 1);
}

TEST_CASE("A graceful stop with nobody to end by himself says so", "[graceful_stop]") {
    graceful_stop stop;
    CHECK_FALSE(stop.request());
    CHECK(stop.requested());
}

task<> stops_are_inherited() {
    context& here = co_await this_context();
    graceful_stop stop;
    context inside(here);
    inside.set_stop(stop);
    const context below(inside, context::shielding::on);
    CHECK(below.stop() == &stop);
    CHECK(here.stop() == nullptr);
}

TEST_CASE("A context knows the nearest graceful stop around it", "[graceful_stop]") {
    test::run(stops_are_inherited);
}

}  // namespace
