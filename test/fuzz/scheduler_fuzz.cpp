// Programs of tasks on sockets and a listener, against an engine that misbehaves: the cancellation
// contract. In a cancelled scope every await fails and moves nothing; elsewhere none is cancelled;
// nothing is lost or doubled; and in the end all tasks, descriptors and buffers are back. Half of
// the inputs let operations fail by any error, too: then what an await is told is free outside of a
// cancelled scope, and what has come and been sent must agree with it all the same.
// All sockets are Unix ones: those of TCP and UDP take the same way below their names and options,
// and a network, loopback included, would answer late at times, so that no replay is sure.
#include <fuzz/fuzz.hpp>
#include <fuzz/scheduler/program.hpp>

#include <rondo/engine/choose.hpp>
#include <rondo/io/run.hpp>
#include <rondo/testing/faulty_engine.hpp>
#include <rondo/testing/shuffle.hpp>

#include <fcntl.h>

#include <functional>
#include <memory>
#include <system_error>
#include <utility>

namespace rondo::fuzz {

namespace {

constexpr unsigned whole_time = 300;  // milliseconds until what still waits is cancelled

/// Cancels what still waits after its time. Time leaps only where nothing happens, and by single
/// milliseconds, so that what the engine holds back comes before it.
task<> limit_time(cancel_scope& all) {
    for (unsigned i = 0; i != whole_time; ++i) co_await sleep_for(milliseconds(1));
    all.cancel();
}

task<> play_to_end(world& in, input program) {
    cancel_scope all;
    const auto body = [&in, &all, program](task_group& group) -> task<> {
        const place root(&in, &group, 0);
        auto inner = play_in_group(root, program);
        auto work = all.run(std::move(inner));
        context& here = co_await this_context();
        group.spawn(limit_time, std::ref(all));
        std::exception_ptr failure = co_await work.settle(here);
        group.cancel();
    };
    co_await with_task_group(body);
}

/// What is still on its way to `at`, whose peer sends nothing more.
task<> drain(stream_end& at) {
    std::vector<std::byte> room(4096);
    for (;;) {
        auto got = co_await as_result(at.socket.recv(room));
        if (!got) {
            check(at.may_fail(got.error().value()),
                  "a receive fails, and the peer was not closed");
            // One that the engine has injected stays: what is behind it is not to be had.
            if (at.errors) co_return;
            break;
        }
        at.peer->out.arrived(std::span(room).first(*got));
        if (*got == 0) break;
    }
    check_end(at);
}

task<> settle_ends(world& in) {
    for (stream_end& each : in.ends) {
        check(!each.is_awaited(), "a task has ended and is still in an await");
        finish_end(each);
    }
    for (stream_end& each : in.ends) {
        if (each.is_open()) co_await drain(each);
    }
    for (stream_end& each : in.ends) co_await close_end(each);
}

task<> live(world& in, input program) {
    scheduler& here = co_await this_scheduler();
    const std::size_t tasks = here.stats().live_tasks;
    const auto began = here.now();
    in.connect(in.ends[0], in.ends[1]);
    in.connect(in.ends[2], in.ends[3]);
    in.pair_mailboxes();
    in.door.open();
    co_await play_to_end(in, program);
    const auto lasted = here.now() - began;
    // While a close() waits for the engine, time may leap to the deadline around it.
    check(lasted <= milliseconds(whole_time + 1) + in.deadlines, "a cancelled program goes on");
    check(in.scopes.empty(), "a scope is left");
    while (!in.held.empty()) give_back(in, 0);
    co_await settle_ends(in);
    co_await settle_mailboxes(in);
    co_await settle_door(in);
    // Sockets that were destroyed end in the background.
    for (int i = 0; i != 100 && here.stats().buffers_held != 0; ++i) {
        co_await sleep_for(milliseconds(1));
    }
    check(here.stats().buffers_held == 0, "a buffer is not given back");
    check(here.stats().live_tasks == tasks, "a task is left");
}

unsigned descriptors_open() noexcept {
    unsigned count = 0;
    for (int i = 0; i != 128; ++i) {
        if (::fcntl(i, F_GETFD) >= 0) ++count;
    }
    return count;
}

bool has_ring() {
    static const bool found = [] {
        try {
            return make_engine(engine_kind::uring, {}) != nullptr;
        } catch (const std::system_error&) {
            return false;
        }
    }();
    return found;
}

}  // namespace

void feed_scheduler(input in) {
    const unsigned form = in.byte();
    const std::uint64_t seed = in.value<std::uint16_t>();
    const unsigned order = in.byte();
    const engine_kind kind = form % 2 == 0 && has_ring() ? engine_kind::uring : engine_kind::epoll;
    const bool errors = form >= 128 && seed != 0;
    run_options options;
    options.virtual_time = true;
    options.queues = {64, 256};
    if (form / 2 % 4 != 0) options.buffers = {form / 2 % 2 == 0 ? 512u : 16u, 1, 4};
    using made_engine = std::unique_ptr<engine>;
    options.make_engine = [kind, seed, errors](const engine_options& queues) -> made_engine {
        auto inner = make_engine(kind, queues);
        if (seed == 0) return inner;
        testing::fault_plan plan = errors ? testing::fault_plan::with_errors_from_seed(seed)
                                          : testing::fault_plan::from_seed(seed);
        plan.ordered = true;  // or the ring's timing would choose, and no replay be the same
        return std::make_unique<testing::faulty_engine>(
            std::move(inner), std::move(plan), testing::fault_plan::queues_from_seed(seed));
    };
    if (order != 0) options.reorder_ready = testing::shuffle(order);
    const unsigned before = descriptors_open();
    world made;
    made.is_faulty = seed != 0;
    made.errors = errors;
    run(options, [&made, in] { return live(made, in); });
    check(descriptors_open() == before, "a descriptor is left open");
}

}  // namespace rondo::fuzz
