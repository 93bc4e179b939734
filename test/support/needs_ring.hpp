// For tests of the ring itself: they are skipped where it is forbidden or missing.
#pragma once

namespace rondo::test {

/// Skips the running test where this process may have no io_uring, and says why. A lack of memory
/// or descriptors is no excuse: it is thrown.
void need_ring();

/// As a fixture, for files of which every test needs it.
struct needs_ring {
    needs_ring() { need_ring(); }
};

}  // namespace rondo::test
