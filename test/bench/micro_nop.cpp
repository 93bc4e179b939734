// What the way of one request costs: 64 tasks that each await a NOP of the kernel.
#include <rondo/io/operation.hpp>
#include <rondo/io/run.hpp>
#include <rondo/task/task_group.hpp>

#include <benchmark/benchmark.h>
#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <system_error>

namespace {

constexpr unsigned batch = 64;

class nop_operation final : public rondo::operation {
public:
    nop_operation() noexcept {}
    std::int32_t await_resume() const {
        if (result_ < 0) throw std::system_error(error(), "nop");
        return result_;
    }
    std::string awaits() const override { return "nothing"; }

private:
    void prepare(io_uring_sqe& entry) noexcept override {
        entry = {};
        entry.opcode = IORING_OP_NOP;
        entry.fd = -1;
    }
};

nop_operation nop() noexcept { return {}; }

// The first of the batch counts the rounds: each turn of the loop carries one NOP of each task.
rondo::task<> nop_counting(benchmark::State& state, bool& over) {
    for (auto _ : state) co_await nop();
    over = true;
}

rondo::task<> nop_along(const bool& over) {
    while (!over) co_await nop();
}

rondo::task<> nop_in_batches(benchmark::State& state) {
    bool over = false;
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        group.spawn([&] { return nop_counting(state, over); });
        for (unsigned i = 1; i < batch; ++i) group.spawn([&] { return nop_along(over); });
        co_return;
    });
}

void nop_task(benchmark::State& state) {
    try {
        rondo::run({.engine = rondo::engine_kind::uring}, nop_in_batches, std::ref(state));
    } catch (const std::system_error& error) {
        state.SkipWithError(error.what());
    }
}
BENCHMARK(nop_task)->Name("nop/rondo");

// By hand, with the flags of the library's rings: one system call submits the batch and sees to it
// that all of it can be reaped.
void nop_raw(benchmark::State& state) {
    io_uring_params params{};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                   IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE;
    params.cq_entries = 4096;
    io_uring ring;
    const int failed = io_uring_queue_init_params(256, &ring, &params);
    if (failed < 0) {
        state.SkipWithError("io_uring_setup");
        return;
    }
    io_uring_register_ring_fd(&ring);
    std::uint64_t sum = 0;
    for (auto _ : state) {
        for (std::uint64_t i = 0; i < batch; ++i) {
            io_uring_sqe* const entry = io_uring_get_sqe(&ring);
            io_uring_prep_nop(entry);
            io_uring_sqe_set_data64(entry, i);
        }
        io_uring_submit_and_wait(&ring, batch);
        unsigned head;
        unsigned reaped = 0;
        io_uring_cqe* done;
        io_uring_for_each_cqe(&ring, head, done) {
            sum += done->user_data + static_cast<unsigned>(done->res);
            ++reaped;
        }
        io_uring_cq_advance(&ring, reaped);
    }
    benchmark::DoNotOptimize(sum);
    io_uring_queue_exit(&ring);
}
BENCHMARK(nop_raw)->Name("nop/reference");

}  // namespace
