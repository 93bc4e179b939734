// A request that belongs to no task: state that outlives whoever awaits it.
#pragma once

#include <rondo/detail/intrusive_list.hpp>

#include <cstdint>

namespace rondo::inline v0 {

/// The state behind a request which the kernel may complete at any time, as multishot ones are. It
/// does not move. While it is bound to a scheduler it sits in that one's list.
class completion_target : public detail::intrusive_hook {
public:
    /// One completion, while completions are reaped: takes no entry and resumes nobody; what is
    /// to be done next is left to scheduler::attend_to().
    virtual void complete(std::int32_t result, std::uint32_t flags) noexcept = 0;

    /// Called after reaping, before any task runs: entries may be taken again.
    virtual void attend() noexcept = 0;

    /// Asks the kernel to end the request, if there is one.
    virtual void stop() = 0;
    /// Nothing is in the kernel.
    virtual bool stopped() const noexcept = 0;
    /// Its scheduler ends, and it is stopped.
    virtual void unbind() = 0;

protected:
    completion_target() noexcept = default;
    ~completion_target() = default;

private:
    friend class scheduler;
    completion_target* next_attended_ = nullptr;  // itself: the last of the list
};

}  // namespace rondo::inline v0
