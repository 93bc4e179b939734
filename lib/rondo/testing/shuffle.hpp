// Resuming ready tasks in an order drawn from a seed, to find what depends on the order.
#pragma once

#include <rondo/task/waiter.hpp>
#include <rondo/testing/random.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

namespace rondo::inline v0::testing {

/// For run_options::reorder_ready: tasks that are ready at the same time are resumed in an order
/// drawn from `seed`. A correct program gives the same results whatever the order: only what one
/// await after another does is promised. The same seed and the same program give the same order.
inline std::function<void(std::span<waiter*>)> shuffle(std::uint64_t seed) {
    return [source = random(seed)](std::span<waiter*> ready) mutable {
        for (std::size_t left = ready.size(); left > 1; --left) {
            std::swap(ready[left - 1], ready[source.below(static_cast<unsigned>(left))]);
        }
    };
}

}  // namespace rondo::inline v0::testing
