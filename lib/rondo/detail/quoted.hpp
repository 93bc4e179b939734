// Text that somebody else wrote, as a message may hold it.
#pragma once

#include <string>
#include <string_view>

namespace rondo::inline v0::detail {

/// In double quotes. A line stays a line: what is not plain ASCII is escaped, and of a long text
/// the first 80 bytes and `...` remain.
std::string quoted(std::string_view text);

}  // namespace rondo::inline v0::detail
