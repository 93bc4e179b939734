// A scheduler's counters in the text format that Prometheus scrapes.
#pragma once

#include <rondo/io/scheduler.hpp>

#include <span>
#include <string>
#include <string_view>

namespace rondo::inline v0 {

/// One line of the exposition format, version 0.0.4, as often as there are threads, with its HELP
/// and TYPE in front: `rondo_turns_total{thread="0"} 17`. To be served as
/// `text/plain; version=0.0.4`.
std::string prometheus_text(std::span<const scheduler_stats> threads);

/// The same for counters of one's own: `name` without a unit as Prometheus has it, `labels` as
/// between the braces or empty, `help` one line.
void append_prometheus(std::string& text, std::string_view name, std::string_view type,
                       std::string_view help, std::string_view labels, double value);

}  // namespace rondo::inline v0
