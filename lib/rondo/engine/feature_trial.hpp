// What the kernel's io_uring can do, found by trying it: a version says little about a kernel.
#pragma once

#include <rondo/engine/engine.hpp>

namespace rondo::inline v0::detail {

/// What no set-up flag tells. Tried once per process; a trial that could not be made is made again
/// next time. Throws ring_error where there is no ring, or one that is too old.
feature_set probed_features();

}  // namespace rondo::inline v0::detail
