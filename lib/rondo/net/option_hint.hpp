// What to do when the kernel refuses a socket option.
#pragma once

#include <string>
#include <string_view>

namespace rondo::inline v0::detail {

/// For `verb`, an option's title or "get " and one, or a membership's "join" or "leave": the
/// remedy for `error`, an errno; empty for other verbs and where there is nothing to add.
std::string option_hint(std::string_view verb, int error);

}  // namespace rondo::inline v0::detail
