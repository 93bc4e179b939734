// What rondo_seeds is asked for, and the command that asks for it.
#pragma once

#include <seeds/plain_calls.hpp>
#include <seeds/play.hpp>

#include <rondo/testing/fault_plan.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::test {

struct settings {
    enum class mode { seeds, planted, every_fault };

    mode wanted = mode::seeds;
    bool uring = true;
    std::uint64_t first = 1;  // of the seeds
    std::uint64_t last = 200;
    const scenario* only = nullptr;                 // null: all but the planted ones
    std::optional<testing::fault_plan::rule> rule;  // its fault and no other
    std::optional<plain_rule> plain;                // the same, past the engine
    bool verbose = false;
};

/// Nothing where the arguments cannot be understood, or together ask for nothing.
std::optional<settings> read_settings(std::span<const std::string_view> arguments);

/// Of one seed of one scenario: what read_settings() reads the same from.
std::vector<std::string> arguments_of(const settings& one);
/// The same behind the program's name.
std::string command_of(const settings& one);

/// As this program was called.
void set_program(std::string name);
int usage();

}  // namespace rondo::test
