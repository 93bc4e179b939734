#include <rondo/detail/ring_queue.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <memory>
#include <utility>

using rondo::detail::ring_queue;

TEST_CASE("A ring queue gives back what it took, in order, over many growths and turns", "[ring]") {
    ring_queue<std::unique_ptr<int>> queue;
    int in = 0;
    int out = 0;
    // Seven in, five out: it grows again and again, each time with its front elsewhere.
    for (int round = 0; round != 200; ++round) {
        for (int i = 0; i != 7; ++i) queue.push_back(std::make_unique<int>(in++));
        for (int i = 0; i != 5; ++i) {
            REQUIRE(*queue.front() == out++);
            queue.pop_front();
        }
        REQUIRE(queue.size() == static_cast<std::size_t>(in - out));
        REQUIRE(*queue[queue.size() - 1] == in - 1);
    }
    while (!queue.empty()) {
        REQUIRE(*queue.front() == out++);
        queue.pop_front();
    }
    CHECK(out == in);
}

TEST_CASE("A ring queue destroys what is left in it", "[ring]") {
    const auto watched = std::make_shared<int>(1);
    {
        ring_queue<std::shared_ptr<int>> queue;
        for (int i = 0; i != 6; ++i) queue.push_back(std::shared_ptr<int>(watched));
        queue.pop_front();
        CHECK(watched.use_count() == 6);
    }
    CHECK(watched.use_count() == 1);
}
