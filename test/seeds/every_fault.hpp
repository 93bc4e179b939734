// What a kernel may answer to each operation the library submits, played one by one.
#pragma once

#include <seeds/play.hpp>

#include <rondo/testing/fault_plan.hpp>

#include <cstdint>
#include <string_view>
#include <vector>

namespace rondo::test {

struct operation_kind {
    std::uint8_t opcode;
    const char* name;
    const scenario* used_by;
    std::vector<testing::fault> kinds;
};

/// An operation more than once, where several scenarios are needed for it.
const std::vector<operation_kind>& operation_kinds();
/// The first of that opcode; null where there is none.
const operation_kind* find_operation(std::uint8_t opcode) noexcept;
/// The first of that name; null where there is none.
const operation_kind* find_operation(std::string_view name) noexcept;

/// Plays each operation with each of its faults and errors until that has struck. The exit code.
int every_fault(bool uring);

}  // namespace rondo::test
