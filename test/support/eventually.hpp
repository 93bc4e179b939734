// Waiting for what a test expects to happen, without waiting for time to pass.
#pragma once

#include <rondo/task/sleep.hpp>
#include <rondo/task/task.hpp>

#include <chrono>

namespace rondo::test {

/// Resumes in the loop's next turn, with the engine asked in between; yield() may come sooner.
inline auto next_turn() noexcept { return sleep_for(std::chrono::nanoseconds(0)); }

/// Lets everything else run until `condition()` holds; false when it does not for too long.
template <typename Condition>
task<bool> eventually(Condition condition) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > give_up) co_return false;
        co_await next_turn();
    }
    co_return true;
}

/// Lets everything else run for some turns: for what must not happen.
inline task<> some_turns(int count = 20) {
    for (int i = 0; i < count; ++i) co_await next_turn();
}

}  // namespace rondo::test
