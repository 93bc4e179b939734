#include <rondo/io/prometheus.hpp>

#include <fmt/format.h>

#include <array>
#include <iterator>

namespace rondo::inline v0 {

namespace {

struct metric {
    std::string_view name;
    std::string_view type;
    std::string_view help;
    double (*value)(const scheduler_stats&);
};

template <auto Member>
double value_of(const scheduler_stats& stats) {
    return static_cast<double>(stats.*Member);
}

using stats = scheduler_stats;
constexpr std::array metrics = {
    metric{"rondo_turns_total", "counter", "Turns of the loop.", value_of<&stats::turns>},
    metric{"rondo_enters_total", "counter", "System calls into the engine.",
           value_of<&stats::enters>},
    metric{"rondo_entries_total", "counter", "Requests prepared.", value_of<&stats::entries>},
    metric{"rondo_completions_total", "counter", "Completions reaped.",
           value_of<&stats::completions>},
    metric{"rondo_overflows_total", "counter", "Times the completion queue was found full.",
           value_of<&stats::overflows>},
    metric{"rondo_resumptions_total", "counter", "Tasks put into the ready queue.",
           value_of<&stats::resumptions>},
    metric{"rondo_starvations_total", "counter", "Receives that found no buffer.",
           value_of<&stats::starvations>},
    metric{"rondo_timers", "gauge", "Timers armed.", value_of<&stats::timers>},
    metric{"rondo_live_tasks", "gauge", "Threads of control: root, children, branches, scopes.",
           value_of<&stats::live_tasks>},
    metric{"rondo_buffers_held", "gauge", "Buffers with data not given back.",
           value_of<&stats::buffers_held>},
};

void head(std::string& text, std::string_view name, std::string_view type,
          std::string_view help) {
    fmt::format_to(std::back_inserter(text), "# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
}

}  // namespace

std::string prometheus_text(std::span<const scheduler_stats> threads) {
    std::string text;
    for (const metric& m : metrics) {
        head(text, m.name, m.type, m.help);
        std::size_t index = 0;
        for (const scheduler_stats& of_thread : threads) {
            fmt::format_to(std::back_inserter(text), "{}{{thread=\"{}\"}} {}\n", m.name, index++,
                           m.value(of_thread));
        }
    }
    return text;
}

void append_prometheus(std::string& text, std::string_view name, std::string_view type,
                       std::string_view help, std::string_view labels, double value) {
    head(text, name, type, help);
    const std::string_view open = labels.empty() ? "" : "{";
    const std::string_view close = labels.empty() ? "" : "}";
    fmt::format_to(std::back_inserter(text), "{}{}{}{} {}\n", name, open, labels, close, value);
}

}  // namespace rondo::inline v0
