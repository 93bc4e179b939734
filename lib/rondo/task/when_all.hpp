// Several awaits at once, all of which must succeed.
#pragma once

#include <rondo/task/branches.hpp>

#include <tuple>
#include <type_traits>
#include <utility>

namespace rondo::inline v0 {

/// Awaits all `operations` concurrently, each in a context of its own, begun in their order before
/// anything else runs. Completes when all have ended; returns a tuple of their values,
/// std::monostate for void. The first exception cancels the others and is rethrown after all have
/// ended. A cancellation from around reaches all and throws operation_canceled unless every branch
/// succeeded in spite of it.
template <awaitable... A>
task<std::tuple<detail::stored_t<await_result_t<A>>...>> when_all(A&&... operations) {
    context& here = co_await this_context();
    task_group group = detail::group_maker::make(here);
    std::tuple<detail::branch_slot<A>...> slots;
    detail::group_maker::begin<detail::first_ends::no>(group, slots, operations...);
    co_await detail::group_maker::join(group);
    detail::group_maker::rethrow_failure(group);
    const bool complete =
        std::apply([](const auto&... slot) { return (slot.has_value() && ...); }, slots);
    if (!complete) detail::throw_canceled();
    co_return std::apply(
        [](auto&... slot) {
            return std::tuple<detail::stored_t<await_result_t<A>>...>(std::move(*slot)...);
        },
        slots);
}

}  // namespace rondo::inline v0
