// kernel.io_uring_disabled, changed for a moment.
#pragma once

#include <string>

namespace rondo::test {

/// While it lives, only administrators and members of kernel.io_uring_group may make rings, on the
/// whole machine: 1 is the one value that leaves root alone, and that can be taken back on every
/// kernel. One process at a time has it. A process of its own puts the old value back however this
/// one ends.
class ring_sysctl {
public:
    ring_sysctl();
    ring_sysctl(const ring_sysctl&) = delete;
    ring_sysctl& operator=(const ring_sysctl&) = delete;
    ~ring_sysctl();

    /// Why it could not be set; empty where it was.
    const std::string& why_not() const noexcept { return why_not_; }

private:
    int guard_ = -1;      // closing it ends the keeper
    int keeper_ = -1;     // the process that puts the value back
    std::string why_not_;
};

}  // namespace rondo::test
