#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/tcp_pair.hpp>
#include <support/thrown_by.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <catch2/catch_test_macros.hpp>

#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

using namespace rondo;
using namespace std::chrono_literals;
using rondo::test::some_turns;

namespace {

// --- work posted by other threads --------------------------------------------------------------

struct counted_work final : posted_work {
    void run() noexcept override {
        ++*runs;
        where = std::this_thread::get_id();
        order->push_back(number);
    }
    int* runs = nullptr;
    std::vector<int>* order = nullptr;
    int number = 0;
    std::thread::id where;
};

task<> post_from_another_thread() {
    scheduler& loop = co_await this_scheduler();
    int runs = 0;
    std::vector<int> order;
    std::array<counted_work, 100> works;
    for (int i = 0; i != 100; ++i) {
        auto& work = works[static_cast<std::size_t>(i)];
        work.runs = &runs;
        work.order = &order;
        work.number = i;
    }
    std::jthread other([&] {
        for (counted_work& work : works) loop.post(work);
    });
    // Nothing else would wake the loop before the hour is over.
    auto wait = [&]() -> task<> {
        while (runs != 100) co_await sleep_for(1ms);
    };
    co_await wait();
    other.join();
    CHECK(works[0].where == std::this_thread::get_id());
    CHECK(std::ranges::is_sorted(order));
    CHECK(order.size() == 100);
}

TEST_CASE("Work posted by another thread runs once, on the loop's thread, in order",
          "[scheduler]") {
    test::run(post_from_another_thread);
}

// Suspends until another thread's post makes it ready: the loop has nothing else to wake for.
class posted_wake final : public waiter, public posted_work {
public:
    explicit posted_wake(std::atomic<posted_wake*>& offer) noexcept : offer_(&offer) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        context& here = awaiting.promise().task_context();
        here.wait_for(*this, awaiting);
        loop = &here.loop();
        *offer_ = this;
        offer_->notify_one();
    }
    void await_resume() const noexcept {}
    std::string awaits() const override { return "a post"; }
    void run() noexcept override { where().loop().make_ready(*this); }
    event_loop* loop = nullptr;

private:
    void cancel() noexcept override {}
    std::atomic<posted_wake*>* offer_;
};

task<> wake_by_post(std::atomic<posted_wake*>& offer) {
    for (int i = 0; i != 500; ++i) co_await posted_wake(offer);
}

TEST_CASE("A post wakes a loop that waits for nothing else, 500 times", "[scheduler]") {
    std::atomic<posted_wake*> offer = nullptr;
    std::jthread other([&] {
        for (int i = 0; i != 500; ++i) {
            offer.wait(nullptr);
            posted_wake* const waiting = offer.exchange(nullptr);
            waiting->loop->post(*waiting);
        }
    });
    test::run([&] { return wake_by_post(offer); });
}

struct reposting_work final : posted_work {
    void run() noexcept override { done.store(true, std::memory_order_release); }
    std::atomic<bool> done = false;
};

task<> post_from_many_threads() {
    scheduler& loop = co_await this_scheduler();
    std::atomic<int> ended = 0;
    std::atomic<int> runs = 0;
    std::vector<std::jthread> threads;
    for (int t = 0; t != 4; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i != 500; ++i) {
                reposting_work work;
                loop.post(work);
                while (!work.done.load(std::memory_order_acquire)) std::this_thread::yield();
                ++runs;
            }
            ++ended;
        });
    }
    while (ended != 4) co_await sleep_for(1ms);
    CHECK(runs == 2000);
}

TEST_CASE("Four threads post at once and none of their work is lost", "[scheduler]") {
    test::run(post_from_many_threads);
}

// --- fairness ----------------------------------------------------------------------------------

// Receives byte by byte what arrived as one chunk: every result but the first is there at once.
task<> read_bytes(tcp_socket& socket, int count, int& done) {
    std::array<std::byte, 1> byte = {};
    for (int i = 0; i != count; ++i) {
        const std::size_t n = co_await socket.recv(byte);
        REQUIRE(n == 1);
        ++done;
    }
}

task<> immediate_results_are_limited() {
    scheduler& here = co_await this_scheduler();
    if (!here.carrier().has(feature::multishot_recv)) SKIP("one chunk at a time");
    test::tcp_pair pair = co_await test::connected_pair();
    const std::string data(1000, 'x');
    // Arms the receive, so that the rest arrives in the state.
    co_await pair.b.send(data);
    const chunk first = co_await pair.a.recv();
    const int left = 2000 - static_cast<int>(first.size());
    co_await pair.b.send(data);
    int done = 0;
    int most_in_a_row = 0;
    bool ended = false;
    auto observer = [&]() -> task<> {
        int before = 0;
        while (!ended) {
            most_in_a_row = std::max(most_in_a_row, done - before);
            before = done;
            co_await yield();
        }
    };
    auto reader = [&]() -> task<> {
        co_await read_bytes(pair.a, left, done);
        ended = true;
    };
    co_await when_all(observer(), reader());
    CHECK(done == left);
    CHECK(most_in_a_row <= 33);
    CHECK(most_in_a_row > 8);
}

TEST_CASE("After 32 results in a row that were there at once, others run", "[scheduler]") {
    test::run(immediate_results_are_limited);
}

task<> ready_tasks_do_not_starve_the_engine() {
    test::tcp_pair pair = co_await test::connected_pair();
    bool received = false;
    long yields = 0;
    auto busy = [&]() -> task<> {
        while (!received && yields < 100'000'000) {
            ++yields;
            co_await yield();
        }
    };
    auto receiver = [&]() -> task<> {
        const chunk data = co_await pair.a.recv();
        received = data.text() == "x";
    };
    auto sender = [&]() -> task<> {
        // A deadline passes in spite of the busy tasks as well.
        co_await sleep_for(2ms);
        co_await pair.b.send("x");
    };
    co_await when_all(busy(), busy(), receiver(), sender());
    CHECK(received);
    CHECK(yields < 100'000'000);
}

TEST_CASE("Tasks that are always ready starve neither completions nor timers", "[scheduler]") {
    test::run(ready_tasks_do_not_starve_the_engine);
}

// --- the queues --------------------------------------------------------------------------------

task<> echo_over_many(std::size_t count) {
    tcp_listener listener = test::listen_on_loopback();
    std::vector<test::tcp_pair> pairs;
    for (std::size_t i = 0; i != count; ++i) {
        test::tcp_pair pair = co_await test::connected_pair(listener);
        pairs.push_back(std::move(pair));
    }
    std::size_t echoed = 0;
    auto one_echo = [&](test::tcp_pair& pair, std::size_t index) -> task<> {
        const std::string text = "message " + std::to_string(index);
        co_await pair.a.send(text);
        std::array<std::byte, 64> buffer = {};
        std::string got;
        while (got.size() < text.size()) {
            const std::size_t n = co_await pair.b.recv(buffer);
            got.append(reinterpret_cast<const char*>(buffer.data()), n);
        }
        REQUIRE(got == text);
        ++echoed;
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        for (std::size_t i = 0; i != count; ++i) {
            group.spawn([&, i] { return one_echo(pairs[i], i); });
        }
        co_return;
    });
    CHECK(echoed == count);
}

TEST_CASE("A full submission queue and a small completion queue lose nothing", "[scheduler]") {
    run_options options = test::options();
    options.queues.entries = 4;
    options.queues.completions = 8;
    rondo::run(options, echo_over_many, std::size_t{200});
}

// --- figures -----------------------------------------------------------------------------------

task<> figures_count() {
    scheduler& loop = co_await this_scheduler();
    const scheduler_stats before = loop.stats();
    test::tcp_pair pair = co_await test::connected_pair();
    co_await pair.b.send("x");
    const chunk held = co_await pair.a.recv();
    CHECK(loop.stats().buffers_held == (loop.carrier().has(feature::buffer_ring) ? 1 : 0));
    const scheduler_stats after = loop.stats();
    CHECK(after.turns > before.turns);
    CHECK(after.enters > before.enters);
    // connect, accept, send, recv at least
    CHECK(after.entries >= before.entries + 4);
    CHECK(after.completions >= before.completions + 4);
    CHECK(after.resumptions >= before.resumptions + 4);
    CHECK(after.starvations == 0);
    std::size_t timers = 0;
    std::size_t tasks = 0;
    auto look = [&]() -> task<> {
        co_await yield();
        timers = loop.stats().timers;
        tasks = loop.stats().live_tasks;
    };
    co_await when_all(sleep_for(1ms), sleep_for(2ms), look());
    CHECK(timers == 2);
    CHECK(tasks >= before.live_tasks + 3);
    CHECK(loop.stats().timers == 0);
}

TEST_CASE("stats() tells what has happened and what there is now", "[scheduler]") {
    if (test::faulty()) SKIP("faults change the counts");
    test::run(figures_count);
}

task<> no_call_when_nothing_is_due() {
    scheduler& loop = co_await this_scheduler();
    const std::uint64_t before = loop.stats().enters;
    for (int i = 0; i != 100'000; ++i) co_await yield();
    // Turns end at the budget and look at the engine then.
    CHECK(loop.stats().enters - before <= 100);
}

TEST_CASE("100,000 yields cost next to no system calls", "[scheduler]") {
    if (test::faulty()) SKIP("faults change the counts");
    test::run(no_call_when_nothing_is_due);
}

// --- misuse ------------------------------------------------------------------------------------

TEST_CASE("A second scheduler on a thread is misuse", "[scheduler]") {
    const auto ended = test::in_child([] {
        const scheduler first;
        const scheduler second;
        return 0;
    });
    CHECK(ended.code == -SIGABRT);
    CHECK(ended.error_text.find("misuse: a second scheduler") != std::string::npos);
}

TEST_CASE("Each thread has its own scheduler, and a thread one after the other", "[scheduler]") {
    for (int i = 0; i != 3; ++i) {
        std::atomic<int> ended = 0;
        std::vector<std::jthread> threads;
        for (int t = 0; t != 2; ++t) {
            // Without the harness: its replay belongs to the test's own thread.
            threads.emplace_back([&] {
                rondo::run([]() -> task<> { co_await some_turns(5); }());
                ++ended;
            });
        }
        threads.clear();
        CHECK(ended == 2);
    }
}

}  // namespace
