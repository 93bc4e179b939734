// Which directions of a stream are ended.
#pragma once

#include <cstdint>

namespace rondo::inline v0 {

/// Which directions of a stream shutdown() ends.
enum class shutdown_mode : std::uint8_t { receive, send, both };  ///< shutdown(2)

}  // namespace rondo::inline v0
