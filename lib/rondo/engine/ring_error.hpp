// What is thrown where a ring cannot be had: the call, the cause and its remedy in one line.
#pragma once

#include <stdexcept>
#include <string>
#include <system_error>

namespace rondo::inline v0::detail {

/// std::system_error whose text ends with the remedy: "CALL: MESSAGE (REMEDY)".
class ring_error final : public std::system_error {
public:
    ring_error(int error, const std::string& call, const std::string& remedy)
        : std::system_error(error, std::system_category(), call),
          text_(call + ": " + code().message() + " (" + remedy + ")") {}

    const char* what() const noexcept override { return text_.what(); }

private:
    std::runtime_error text_;  // a string that copies without an exception
};

/// Looks for what stands behind `error` (an errno): a sysctl, a seccomp filter, a limit.
[[noreturn]] void fail_setup(int error, const std::string& call);
/// ENOSYS: `what` is missing in this kernel.
[[noreturn]] void fail_too_old(const std::string& what);

}  // namespace rondo::inline v0::detail
