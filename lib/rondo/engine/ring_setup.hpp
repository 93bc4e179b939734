// Setting a ring up with the best of what this kernel has.
#pragma once

#include <rondo/engine/engine.hpp>

struct io_uring;         // <liburing.h>
struct io_uring_params;  // <linux/io_uring.h>

namespace rondo::inline v0::detail {

/// No ring gets smaller than this by itself, for want of memory.
inline constexpr unsigned floor_entries = 4;
inline constexpr unsigned floor_completions = 8;

/// What io_uring_queue_init_params(3) is: returns 0 or a negated errno.
using ring_setup_call = int (*)(unsigned entries, io_uring* ring, io_uring_params* params);

/// Sets `ring` up; what was granted is in ring.flags and ring.features. Flags that the kernel does
/// not know are left out, sizes it has no memory for are halved. Throws ring_error.
void set_up(io_uring& ring, const engine_options& options, ring_setup_call setup);

}  // namespace rondo::inline v0::detail
