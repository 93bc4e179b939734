#include <rondo/testing/shuffle.hpp>

#include <rondo/sync/channel.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>

#include <support/harness.hpp>

#include <catch2/catch_test_macros.hpp>

#include <set>
#include <string>

namespace {

std::string order_of_three(std::uint64_t seed) {
    rondo::run_options options = rondo::test::options();
    options.reorder_ready = rondo::testing::shuffle(seed);
    std::string order;
    rondo::run(options, [&]() -> rondo::task<> {
        co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
            for (const char name : {'a', 'b', 'c'}) {
                group.spawn([&order, name]() -> rondo::task<> {
                    order += name;
                    co_await rondo::yield();
                    order += name;
                });
            }
            co_return;
        });
    });
    return order;
}

}  // namespace

TEST_CASE("shuffled tasks begin and go on in every order", "[testing][shuffle]") {
    std::set<std::string> begun;
    std::set<std::string> ended;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        const std::string order = order_of_three(seed);
        REQUIRE(order.size() == 6);
        begun.insert(order.substr(0, 3));
        ended.insert(order.substr(3));
    }
    CHECK(begun.size() == 6);
    CHECK(ended.size() == 6);
}

TEST_CASE("the same seed shuffles in the same order", "[testing][shuffle]") {
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        CHECK(order_of_three(seed) == order_of_three(seed));
    }
}

TEST_CASE("a channel keeps the order of its values, whoever is resumed first",
          "[testing][shuffle]") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        rondo::run_options options = rondo::test::options();
        options.reorder_ready = rondo::testing::shuffle(seed);
        std::string received;
        rondo::run(options, [&]() -> rondo::task<> {
            rondo::channel<char> values(2);
            co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
                group.spawn([&values]() -> rondo::task<> {
                    for (const char each : {'a', 'b', 'c', 'd', 'e'}) co_await values.send(each);
                    values.close();
                });
                group.spawn([&values, &received]() -> rondo::task<> {
                    for (;;) {
                        const auto value = co_await values.recv();
                        if (!value) break;
                        received += *value;
                    }
                });
                co_return;
            });
        });
        CHECK(received == "abcde");
    }
}
