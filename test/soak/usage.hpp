// What a process holds: memory, descriptors, and what its schedulers count.
#pragma once

#include <rondo/io/scheduler.hpp>

#include <cstddef>

namespace soak {

struct usage {
    std::size_t allocated = 0;    ///< bytes that malloc(3) has handed out
    std::size_t resident = 0;     ///< bytes of anonymous memory
    std::size_t descriptors = 0;
    // Of all schedulers.
    std::size_t tasks = 0;
    std::size_t timers = 0;
    std::size_t buffers = 0;      ///< receive buffers with data not given back

    void add(const rondo::scheduler_stats& of_one) noexcept;
    /// All but memory, which need not be the same twice.
    bool same_objects(const usage& other) const noexcept;
};

/// Of this process; what schedulers count is left 0.
usage process_usage();

}  // namespace soak
