// One hook for the library's warnings.
#pragma once

#include <functional>
#include <string_view>

namespace rondo::inline v0 {

/// Receives one warning: a line without its end. Called on any thread, possibly on several at
/// once; what it throws is dropped.
using log_function = std::function<void(std::string_view message)>;

/// Makes `function` the hook and returns the previous one; an empty function stands for the
/// default, a line "rondo: MESSAGE" on standard error. A call of the previous hook that has begun
/// on another thread may outlast this.
log_function set_log(log_function function);

/// Hands `message` to the hook.
void log(std::string_view message) noexcept;

}  // namespace rondo::inline v0
