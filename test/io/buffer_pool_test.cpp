#include <rondo/io/buffer_pool.hpp>

#include <rondo/engine/choose.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>

#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

// A pool of its own on an engine of its own, with the end that a scheduler gives it.
class lone_pool {
public:
    explicit lone_pool(const buffer_pool_options& options)
        : engine_(make_engine(engine_kind::automatic, {})),
          pool_(std::make_unique<buffer_pool>(*engine_, options)) {
        if (!pool_->usable()) SKIP("the engine has no buffer rings");
    }
    ~lone_pool() { buffer_pool::retire(std::move(pool_)); }
    buffer_pool* operator->() { return pool_.get(); }

private:
    std::unique_ptr<engine> engine_;
    std::unique_ptr<buffer_pool> pool_;
};

buffer_pool_options sized(std::size_t buffer_size, unsigned initial, unsigned most) {
    buffer_pool_options made;
    made.buffer_size = buffer_size;
    made.initial = initial;
    made.most = most;
    return made;
}

}  // namespace

TEST_CASE("a pool grows by doubling to its cap and no further", "[io][buffer_pool]") {
    lone_pool pool(sized(100, 3, 10));
    CHECK(pool->size() == 3);
    CHECK(pool->grow());
    CHECK(pool->size() == 6);
    CHECK(pool->grow());
    CHECK(pool->size() == 10);
    CHECK_FALSE(pool->grow());
    CHECK(pool->size() == 10);
    CHECK(pool->starvations() == 3);
    CHECK(pool->held() == 0);
}

TEST_CASE("a pool's buffers do not overlap, whatever their size", "[io][buffer_pool]") {
    for (const std::size_t size : {1u, 63u, 64u, 4'096u, 100'000u}) {
        lone_pool pool(sized(size, 4, 4));
        CHECK(pool->buffer_size() == size);
        for (std::uint16_t id = 0; id < 4; ++id) std::memset(pool->data(id), id + 1, size);
        for (std::uint16_t id = 0; id < 4; ++id) {
            CHECK(pool->data(id)[0] == static_cast<std::byte>(id + 1));
            CHECK(pool->data(id)[size - 1] == static_cast<std::byte>(id + 1));
        }
    }
}

TEST_CASE("a pool asked to be of no size has one buffer", "[io][buffer_pool]") {
    lone_pool pool(sized(0, 0, 0));
    CHECK(pool->buffer_size() == 1);
    CHECK(pool->size() == 1);
    CHECK_FALSE(pool->grow());
}

TEST_CASE("a pool asked to begin larger than its cap begins at the cap", "[io][buffer_pool]") {
    lone_pool pool(sized(64, 100, 6));
    CHECK(pool->size() == 6);
    CHECK_FALSE(pool->grow());
}

namespace {

// Echoes what comes; the chunk is held while it is sent, a copy of it would be no test.
task<> echo(tcp_socket& socket) {
    while (const chunk data = co_await socket.recv()) co_await socket.send(data);
    socket.shutdown(shutdown_mode::send);
}

task<> exchange(tcp_socket& socket, std::size_t id, std::size_t size) {
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> {
            for (std::size_t sent = 0; sent < size;) {
                const std::size_t step = std::min<std::size_t>(size - sent, 60'000);
                const std::string next = pattern(step, id, sent);
                co_await socket.send(next);
                sent += next.size();
            }
            socket.shutdown(shutdown_mode::send);
        });
        std::size_t received = 0;
        std::size_t wrong = 0;
        // Two at a time are held: with two buffers in all, everybody else runs dry.
        chunk previous;
        while (chunk data = co_await socket.recv()) {
            for (const std::byte b : data.bytes()) wrong += b != pattern_byte(id, received++);
            previous = std::move(data);
        }
        CHECK(received == size);
        CHECK(wrong == 0);
    });
}

}  // namespace

TEST_CASE("client and server share a pool of two buffers without deadlock, and nothing spins",
          "[io][buffer_pool][tcp]") {
    run_options options = test::options();
    options.buffers.initial = 2;
    options.buffers.most = 2;
    constexpr std::size_t connections = 4;
    const std::size_t size = faulty() ? 100'000 : 2'000'000;
    rondo::run(options, [&]() -> task<> {
        scheduler& here = co_await this_scheduler();
        co_await with_task_group([&](task_group& group) -> task<> {
            for (std::size_t i = 0; i < connections; ++i) {
                group.spawn([size, i]() -> task<> {
                    tcp_pair pair = co_await connected_pair();
                    co_await with_task_group([&](task_group& inner) -> task<> {
                        inner.spawn([&]() -> task<> { co_await echo(pair.b); });
                        co_await exchange(pair.a, i, size);
                    });
                });
            }
            co_return;
        });
        const scheduler_stats stats = here.stats();
        CHECK(stats.buffers_held == 0);
        CHECK(here.buffers().size() <= 2);
        // Every byte goes through two sockets, in the worst case 4 KiB at a time; a few requests
        // each are work, more would be somebody who asks again and again.
        const std::size_t pieces = connections * size * 2 / 4096;
        if (!faulty()) CHECK(stats.enters <= 4 * pieces + 1000);
        if (!faulty()) CHECK(stats.entries <= 8 * pieces + 1000);
    });
}

TEST_CASE("connections that hold every buffer and wait do not make the loop spin",
          "[io][buffer_pool]") {
    run_options options = test::options();
    options.buffers.initial = 2;
    options.buffers.most = 2;
    rondo::run(options, []() -> task<> {
        scheduler& here = co_await this_scheduler();
        if (!here.buffers().usable()) SKIP("the engine has no buffer rings");
        raw_pair first = connected_to_raw_peer();
        raw_pair second = connected_to_raw_peer();
        raw_pair third = connected_to_raw_peer();
        first.peer.send("1");
        second.peer.send("2");
        const chunk one = co_await first.socket.recv();
        const chunk two = co_await second.socket.recv();
        CHECK(here.stats().buffers_held == 2);
        const auto enters = here.stats().enters;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const std::string got = co_await read_exactly(third.socket, 6);
                CHECK(got == "at all");
            });
            // The loop sleeps: what makes it enter is this timer alone.
            co_await sleep_for(std::chrono::milliseconds(30));
            CHECK(here.stats().enters - enters < 20);
            third.peer.send("at all");
        });
    });
}
