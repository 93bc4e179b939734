// What the kernel may refuse a request with, by operation.
#pragma once

#include <cstdint>
#include <span>

namespace rondo::inline v0::testing {

/// The errors that the manual page of an IORING_OP_* tells, and what io_uring adds: ECANCELED when
/// the request was withdrawn, ENOMEM. Empty for operations that rondo does not know, and for
/// ASYNC_CANCEL, whose answers are tied to what its target does. Those that mean "again" are here,
/// too, faulty_engine has kinds of their own for them.
std::span<const int> kernel_errors(std::uint8_t opcode) noexcept;

}  // namespace rondo::inline v0::testing
