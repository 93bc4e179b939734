// Several awaits at once, of which the first to succeed ends the others.
#pragma once

#include <rondo/task/branches.hpp>

#include <tuple>
#include <utility>

namespace rondo::inline v0 {

/// Awaits all `operations` concurrently, each in a context of its own, begun in their order before
/// anything else runs; the first value cancels the others. Completes when all have ended; returns a
/// tuple with an optional per branch: everything that happened, so that what a loser received
/// before its cancellation is not lost (std::monostate for void). The first exception cancels the
/// others and is rethrown after all have ended; as_result() around a branch keeps its failure a
/// value. Cancelled from around before anything happened it throws operation_canceled.
template <awaitable... A>
task<std::tuple<detail::branch_slot<A>...>> when_any(A&&... operations) {
    context& here = co_await this_context();
    task_group group = detail::group_maker::make(here);
    std::tuple<detail::branch_slot<A>...> slots;
    detail::group_maker::begin<detail::first_ends::yes>(group, slots, operations...);
    co_await detail::group_maker::join(group);
    detail::group_maker::rethrow_failure(group);
    const bool anything =
        std::apply([](const auto&... slot) { return (slot.has_value() || ...); }, slots);
    if (!anything) detail::throw_canceled();
    co_return std::move(slots);
}

}  // namespace rondo::inline v0
