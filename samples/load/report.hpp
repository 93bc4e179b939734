// What was measured, for people and for programs.
#pragma once

#include "figures.hpp"
#include "options.hpp"

#include <string>
#include <string_view>

namespace load {

std::string text_report(const options& chosen, const figures& measured, std::string_view engine);
// One line.
std::string json_report(const options& chosen, const figures& measured, std::string_view engine);

}  // namespace load
