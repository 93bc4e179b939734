#include "report.hpp"

#include <fmt/core.h>

#include <iterator>

namespace load {

namespace {

std::string json_string(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20) {
            quoted += fmt::format("\\u{:04x}", byte);
        } else {
            if (c == '"' || c == '\\') quoted += '\\';
            quoted += c;
        }
    }
    return quoted + '"';
}

double microseconds(double nanoseconds) { return nanoseconds / 1000; }

// An object, member by member.
class json_object {
public:
    json_object& add(std::string_view name, double value) { return raw(name, number(value)); }
    json_object& add(std::string_view name, std::uint64_t value) {
        return raw(name, fmt::format("{}", value));
    }
    json_object& add(std::string_view name, std::string_view text) {
        return raw(name, json_string(text));
    }
    json_object& add(std::string_view name, const json_object& inner) {
        return raw(name, inner.text());
    }
    std::string text() const { return text_ + '}'; }

private:
    static std::string number(double value) { return fmt::format("{:.6g}", value); }
    json_object& raw(std::string_view name, std::string_view value) {
        fmt::format_to(std::back_inserter(text_), "{}\"{}\": {}", text_.size() > 1 ? ", " : "",
                       name, value);
        return *this;
    }

    std::string text_ = "{";
};

json_object latency_json(const histogram& seen) {
    json_object latency;
    latency.add("min", microseconds(static_cast<double>(seen.least())))
        .add("p50", microseconds(seen.percentile(0.5)))
        .add("p90", microseconds(seen.percentile(0.9)))
        .add("p99", microseconds(seen.percentile(0.99)))
        .add("p99_9", microseconds(seen.percentile(0.999)))
        .add("max", microseconds(static_cast<double>(seen.greatest())))
        .add("mean", microseconds(seen.mean()));
    return latency;
}

double server_cpu(const figures& measured) {
    return measured.server_after().cpu_seconds - measured.server_before().cpu_seconds;
}

json_object server_json(const figures& measured) {
    const double cpu = server_cpu(measured);
    const switches switched = switches_between(measured.server_before(), measured.server_after());
    json_object server;
    server.add("cpu_seconds", cpu)
        .add("cpu", cpu / measured.seconds())
        .add("cpu_us_per_message", cpu * 1e6 / static_cast<double>(measured.messages))
        .add("voluntary_switches", switched.voluntary)
        .add("involuntary_switches", switched.involuntary)
        .add("rss_bytes", measured.server_bytes());
    if (measured.idle_bytes_per_connection)
        server.add("idle_bytes_per_connection", *measured.idle_bytes_per_connection);
    return server;
}

std::string milliseconds_text(double nanoseconds) {
    return fmt::format("{:.3f} ms", nanoseconds / 1e6);
}

void add_latency_text(std::string& text, const histogram& seen) {
    if (seen.total() == 0) {
        text += "latency: none, as nothing that came back was due in the measured time\n";
        return;
    }
    fmt::format_to(std::back_inserter(text),
                   "latency: half of them {}, 90 % {}, 99 % {}, 99.9 % {}, all {} at most\n",
                   milliseconds_text(seen.percentile(0.5)), milliseconds_text(seen.percentile(0.9)),
                   milliseconds_text(seen.percentile(0.99)),
                   milliseconds_text(seen.percentile(0.999)),
                   milliseconds_text(static_cast<double>(seen.greatest())));
}

void add_server_text(std::string& text, const figures& measured) {
    const double cpu = server_cpu(measured);
    const switches switched = switches_between(measured.server_before(), measured.server_after());
    fmt::format_to(std::back_inserter(text),
                   "the server: {:.2f} of a core, {:.2f} us for each message; {} voluntary and {} "
                   "involuntary switches; {:.1f} MiB resident\n",
                   cpu / measured.seconds(), cpu * 1e6 / static_cast<double>(measured.messages),
                   switched.voluntary, switched.involuntary,
                   static_cast<double>(measured.server_bytes()) / (1024 * 1024));
    if (measured.idle_bytes_per_connection)
        fmt::format_to(std::back_inserter(text), "an idle connection costs it {:.0f} bytes\n",
                       *measured.idle_bytes_per_connection);
}

}  // namespace

std::string json_report(const options& chosen, const figures& measured, std::string_view engine) {
    const auto messages = static_cast<double>(measured.messages);
    const double rate = messages / measured.seconds();
    json_object all;
    all.add("profile", chosen.profile_name)
        .add("target", chosen.target)
        .add("connections", std::uint64_t{chosen.connections})
        .add("size", std::uint64_t{chosen.size})
        .add("offered_rate", chosen.rate)
        .add("seconds", measured.seconds())
        .add("messages", measured.messages)
        .add("rate", rate)
        .add("bytes_per_second", rate * static_cast<double>(chosen.size));
    if (chosen.udp || chosen.what == profile::room) all.add("lost", measured.lost);
    if (chosen.rate > 0)
        all.add("due", measured.latencies.total()).add("behind", measured.behind);
    if (chosen.rate > 0) all.add("unanswered", measured.unanswered);
    if (measured.latencies.total() != 0)
        all.add("latency_us", latency_json(measured.latencies));
    all.add("load_cpu", measured.own_cpu() / measured.seconds());
    if (measured.server()) all.add("server", server_json(measured));
    all.add("engine", engine);
    return all.text();
}

std::string text_report(const options& chosen, const figures& measured, std::string_view engine) {
    const auto messages = static_cast<double>(measured.messages);
    const double rate = messages / measured.seconds();
    std::string text = fmt::format(
        "{}{} to {}: {} connections, {} bytes, {:.2f} s (load on {}, {:.2f} of a core)\n",
        chosen.profile_name, chosen.udp ? " of datagrams" : "", chosen.target, chosen.connections,
        chosen.size, measured.seconds(), engine, measured.own_cpu() / measured.seconds());
    const auto out = std::back_inserter(text);
    fmt::format_to(out, "{} messages, {:.0f} a second, {:.1f} MB/s each way; no byte wrong\n",
                   measured.messages, rate, rate * static_cast<double>(chosen.size) / 1e6);
    if (chosen.rate > 0)
        fmt::format_to(out, "{:.10g} a second were to come: {} went out more than 1 ms late\n",
                       chosen.rate, measured.behind);
    if (measured.unanswered != 0)
        fmt::format_to(out, "{} were not back at the end\n", measured.unanswered);
    if (measured.lost != 0) fmt::format_to(out, "{} lost\n", measured.lost);
    add_latency_text(text, measured.latencies);
    if (measured.server()) add_server_text(text, measured);
    return text;
}

}  // namespace load
