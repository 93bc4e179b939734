// Which engine a scheduler gets.
#pragma once

#include <cstdint>
#include <memory>

#include <rondo/engine/engine.hpp>

namespace rondo::inline v0 {

/// Which engine to make.
enum class engine_kind : std::uint8_t {
    automatic,  ///< what RONDO_ENGINE says: auto (the default), uring or epoll
    uring,
    epoll,
};

/// Makes an engine for the calling thread. `automatic` without RONDO_ENGINE takes the ring, and
/// epoll where this process has no usable ring (EPERM, EACCES, ENOSYS: forbidden, absent, too
/// old), which is logged once; the choice is made once per process and holds for all its threads.
/// Any engine made here does without what RONDO_WITHOUT names (see parse_features), which is read
/// once per process: RONDO_WITHOUT=multishot_recv,buffer_ring.
/// Throws std::system_error when the engine cannot be made (a lack of memory or descriptors is
/// never a reason to fall back), std::invalid_argument for a RONDO_ENGINE that is none of these
/// and for a RONDO_WITHOUT that names something else.
std::unique_ptr<engine> make_engine(engine_kind kind, const engine_options& options = {});

}  // namespace rondo::inline v0
