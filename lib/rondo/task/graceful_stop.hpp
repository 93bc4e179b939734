// The first phase of stopping: no new work, and what is under way may end by itself.
#pragma once

#include <rondo/detail/intrusive_list.hpp>

namespace rondo::inline v0 {

/// A server's part in a graceful stop. It leaves the list when it is destroyed.
class stop_hook : public detail::intrusive_hook {
public:
    /// Called once, on the loop's thread, outside of any task: stop taking new work and let the
    /// served know that no more is read.
    virtual void begin_stop() noexcept = 0;

protected:
    ~stop_hook() = default;
};

/// Collects those who can end by themselves. until_interrupted() makes one and puts it into the
/// context of its task; a server finds it by context::stop() and adds its hook.
class graceful_stop {
public:
    /// True once request() was called.
    bool requested() const noexcept { return requested_; }

    /// Registers a server; it is told at once if the stop has begun already.
    void add(stop_hook& hook) noexcept {
        hooks_.push_back(hook);
        if (requested_) hook.begin_stop();
    }

    /// Begins the stop. Returns whether anyone is there who can end by itself; where nobody is,
    /// there is nothing to wait for before a cancellation.
    bool request() noexcept {
        requested_ = true;
        bool anyone = false;
        for (stop_hook& hook : hooks_) {
            anyone = true;
            hook.begin_stop();
        }
        return anyone;
    }

private:
    bool requested_ = false;
    detail::intrusive_list<stop_hook> hooks_;
};

}  // namespace rondo::inline v0
