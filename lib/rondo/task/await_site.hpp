// Where a task was awaited: the links by which dump_tasks() walks outwards from who waits.
#pragma once

#include <source_location>

namespace rondo::inline v0 {

class context;

/// Part of a task's promise, in its context's chain from the task's start to its end.
class await_site {
public:
    std::source_location place() const noexcept { return place_; }
    /// The task that awaits this one in the same context; null for the outermost.
    const await_site* outer() const noexcept { return outer_; }

private:
    friend class context;

    std::source_location place_{};
    await_site* outer_ = nullptr;
};

}  // namespace rondo::inline v0
