// Stops the program where it breaks a contract that cannot be reported as an error.
#pragma once

namespace rondo::inline v0::detail {

/// Writes "rondo: misuse: SENTENCE" to standard error and aborts.
[[noreturn]] void misuse(const char* sentence) noexcept;

/// Always checked, also in release builds: only for conditions that cost a compare.
inline void require(bool kept, const char* sentence) noexcept {
    if (!kept) [[unlikely]] misuse(sentence);
}

}  // namespace rondo::inline v0::detail
