#include <rondo/io/timer_heap.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <vector>

using namespace rondo;
using namespace std::chrono_literals;

namespace {

struct recorded_timer final : timer {
    void expire() noexcept override {}
};

const rondo::clock::time_point start{};

TEST_CASE("An empty timer heap has nothing due", "[timer_heap]") {
    timer_heap heap;
    CHECK(heap.empty());
    CHECK(heap.size() == 0);
    CHECK(heap.pop_due(start + 24h) == nullptr);
}

TEST_CASE("A timer is due at its deadline and not before", "[timer_heap]") {
    timer_heap heap;
    recorded_timer t;
    CHECK_FALSE(t.armed());
    heap.arm(t, start + 10ns);
    CHECK(t.armed());
    CHECK(t.deadline() == start + 10ns);
    CHECK(heap.earliest() == start + 10ns);
    CHECK(heap.pop_due(start + 9ns) == nullptr);
    CHECK(t.armed());
    CHECK(heap.pop_due(start + 10ns) == &t);
    CHECK_FALSE(t.armed());
    CHECK(heap.empty());
}

TEST_CASE("A disarmed timer is never due and can be armed again", "[timer_heap]") {
    timer_heap heap;
    recorded_timer t;
    heap.arm(t, start + 1ns);
    heap.disarm(t);
    CHECK_FALSE(t.armed());
    CHECK(heap.pop_due(start + 1h) == nullptr);
    heap.arm(t, start + 2ns);
    CHECK(heap.pop_due(start + 1h) == &t);
}

// The heap against a plain list of the same timers.
class comparison {
public:
    explicit comparison(std::size_t timers) {
        for (std::size_t i = 0; i != timers; ++i) {
            timers_.push_back(std::make_unique<recorded_timer>());
        }
    }

    void arm_or_disarm() {
        recorded_timer& t = *timers_[random_() % timers_.size()];
        if (t.armed()) {
            heap_.disarm(t);
        } else {
            // Few deadlines, so that many are equal.
            heap_.arm(t, now_ + std::chrono::nanoseconds(random_() % 100));
        }
        REQUIRE(heap_.size() == armed());
        if (!heap_.empty()) REQUIRE(heap_.earliest() == earliest());
    }

    void expire_some() {
        now_ += std::chrono::nanoseconds(random_() % 30);
        auto last = rondo::clock::time_point::min();
        while (timer* due = heap_.pop_due(now_)) {
            REQUIRE(due->deadline() <= now_);
            REQUIRE(due->deadline() >= last);
            REQUIRE_FALSE(due->armed());
            last = due->deadline();
        }
        if (!heap_.empty()) REQUIRE(earliest() > now_);
    }

private:
    std::size_t armed() const {
        return static_cast<std::size_t>(
            std::ranges::count_if(timers_, [](const auto& t) { return t->armed(); }));
    }
    rondo::clock::time_point earliest() const {
        auto found = rondo::clock::time_point::max();
        for (const auto& t : timers_) {
            if (t->armed()) found = std::min(found, t->deadline());
        }
        return found;
    }

    std::minstd_rand random_{11};
    rondo::clock::time_point now_ = start;
    std::vector<std::unique_ptr<recorded_timer>> timers_;
    timer_heap heap_;
};

TEST_CASE("Timers armed and disarmed at random come out in order of their deadlines",
          "[timer_heap]") {
    for (const std::size_t timers : {1u, 2u, 5u, 6u, 40u, 300u}) {
        comparison compared(timers);
        for (int step = 0; step != 3000; ++step) {
            compared.arm_or_disarm();
            if (step % 17 == 0) compared.expire_some();
        }
    }
}

TEST_CASE("100,000 timers disarmed in any order leave the rest in order", "[timer_heap]") {
    std::minstd_rand random(5);
    std::vector<std::unique_ptr<recorded_timer>> timers;
    timer_heap heap;
    for (int i = 0; i != 100'000; ++i) {
        timers.push_back(std::make_unique<recorded_timer>());
        heap.arm(*timers.back(), start + std::chrono::nanoseconds(random()));
    }
    std::ranges::shuffle(timers, random);
    for (std::size_t i = 0; i != 99'000; ++i) heap.disarm(*timers[i]);
    CHECK(heap.size() == 1000);
    auto last = rondo::clock::time_point::min();
    bool in_order = true;
    while (timer* due = heap.pop_due(rondo::clock::time_point::max())) {
        in_order = in_order && due->deadline() >= last;
        last = due->deadline();
    }
    CHECK(in_order);
    CHECK(heap.empty());
}

}  // namespace
