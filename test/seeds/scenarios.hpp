// Every scenario by its name.
#pragma once

#include <seeds/play.hpp>

#include <span>
#include <string_view>

namespace rondo::test {

/// Those played under seeds.
std::span<const scenario> scenarios() noexcept;
/// Those with a mistake, which seeds must find.
std::span<const scenario> planted_scenarios() noexcept;
/// Any, also those that neither of the two names; null where there is none such.
const scenario* find_scenario(std::string_view name) noexcept;

}  // namespace rondo::test
