// The branches of when_all() and when_any(): children of a group that each fill a slot.
#pragma once

#include <rondo/task/task_group.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace rondo::inline v0::detail {

template <awaitable A>
using branch_slot = std::optional<stored_t<await_result_t<A>>>;

/// Whether a branch that ended with a value ends the others.
enum class first_ends : bool { no, yes };

template <first_ends Ends, typename Slot, typename A>
child<task_group> run_branch(task_group& group, Slot& slot, A& operation) {
    auto&& inner = as_task(std::forward<A>(operation));
    std::exception_ptr failure = co_await inner.settle();
    if (failure) {
        group.child_failed(std::move(failure));
        co_return;
    }
    if constexpr (std::is_void_v<await_result_t<A>>) {
        slot.emplace();
    } else {
        slot.emplace(inner.take());
    }
    if (Ends == first_ends::yes) group.cancel();
}

struct group_maker {
    static task_group make(context& parent) { return task_group(parent); }

    static join_operation join(task_group& group) noexcept { return join_operation(group); }

    static void rethrow_failure(task_group& group) {
        if (group.failure_) std::rethrow_exception(std::move(group.failure_));
    }

    // At once, as `co_await` would: an operation belongs to its socket only from its beginning, and
    // another task may close the socket in the turn between.
    template <first_ends Ends, typename... Slots, typename... A>
    static void begin(task_group& group, std::tuple<Slots...>& slots, A&... operations) {
        group.children_ += sizeof...(A);
        std::apply(
            [&](Slots&... slot) {
                (run_branch<Ends, Slots, A>(group, slot, operations).begin(), ...);
            },
            slots);
    }
};

}  // namespace rondo::inline v0::detail
