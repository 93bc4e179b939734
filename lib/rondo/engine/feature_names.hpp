// Features by their names, for RONDO_WITHOUT and for messages.
#pragma once

#include <string_view>

#include <rondo/engine/engine.hpp>

namespace rondo::inline v0 {

/// The enumerator's own name.
std::string_view to_string(feature one) noexcept;

/// "multishot_recv,buffer_ring", or "all"; empty text is the empty set. Throws
/// std::invalid_argument with a sentence that begins with `what` and lists the names.
feature_set parse_features(std::string_view text, std::string_view what);

}  // namespace rondo::inline v0
