#include <seeds/settings.hpp>

#include <seeds/every_fault.hpp>
#include <seeds/scenarios.hpp>

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <system_error>
#include <utility>

namespace rondo::test {

namespace {

using testing::fault;
using testing::fault_plan;

std::string program;

template <typename Number>
bool read_number(std::string_view text, Number& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

/// Up to the next comma, taken from the front of `text`.
std::string_view next_part(std::string_view& text) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    return part;
}

/// OPERATION,FAULT,NTH,ERRNO
std::optional<fault_plan::rule> read_rule(std::string_view text) {
    fault_plan::rule made{};
    const operation_kind* const on = find_operation(next_part(text));
    if (on == nullptr) return std::nullopt;
    made.opcode = on->opcode;
    const std::string_view name = next_part(text);
    std::size_t kind = 0;
    while (kind != testing::fault_count && to_string(static_cast<fault>(kind)) != name) ++kind;
    if (kind == testing::fault_count) return std::nullopt;
    made.kind = static_cast<fault>(kind);
    if (!read_number(next_part(text), made.nth)) return std::nullopt;
    if (!read_number(next_part(text), made.error) || !text.empty()) return std::nullopt;
    return made;
}

/// CALL,NTH,ERRNO
std::optional<plain_rule> read_plain_rule(std::string_view text) {
    plain_rule made{};
    const std::string_view name = next_part(text);
    std::size_t call = 0;
    while (call != plain_call_count && to_string(static_cast<plain_call>(call)) != name) ++call;
    if (call == plain_call_count) return std::nullopt;
    made.call = static_cast<plain_call>(call);
    if (!read_number(next_part(text), made.nth)) return std::nullopt;
    if (!read_number(next_part(text), made.error) || !text.empty()) return std::nullopt;
    return made;
}

std::string text_of(const plain_rule& rule) {
    return fmt::format("{},{},{}", to_string(rule.call), rule.nth, rule.error);
}

std::string text_of(const fault_plan::rule& rule) {
    return fmt::format("{},{},{},{}", find_operation(rule.opcode)->name, to_string(rule.kind),
                       rule.nth, rule.error);
}

/// Whether what was read asks for something, and for nothing that is not played.
bool can_be_played(const settings& read, bool has_seeds) {
    if (read.first > read.last) return false;
    const bool has_rule = read.rule || read.plain;
    if (read.wanted != settings::mode::seeds) {
        return read.only == nullptr && !has_seeds && !has_rule && !read.verbose;
    }
    if (read.rule && read.plain) return false;
    return !has_rule || (read.only != nullptr && has_seeds && read.first == read.last);
}

}  // namespace

std::optional<settings> read_settings(std::span<const std::string_view> arguments) {
    settings read;
    bool has_seeds = false;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string_view name = arguments[i];
        const auto value = [&] {
            return i + 1 < arguments.size() ? arguments[++i] : std::string_view();
        };
        bool understood = true;
        if (name == "--engine") {
            const std::string_view engine = value();
            read.uring = engine == "uring";
            understood = read.uring || engine == "epoll";
        } else if (name == "--scenario") {
            read.only = find_scenario(value());
            understood = read.only != nullptr;
        } else if (name == "--seed") {
            has_seeds = true;
            understood = read_number(value(), read.first);
            read.last = read.first;
        } else if (name == "--seeds") {
            has_seeds = true;
            understood = read_number(value(), read.first) && read_number(value(), read.last);
        } else if (name == "--rule") {
            read.rule = read_rule(value());
            understood = read.rule.has_value();
        } else if (name == "--plain") {
            read.plain = read_plain_rule(value());
            understood = read.plain.has_value();
        } else if (name == "--verbose") {
            read.verbose = true;
        } else if (name == "--planted") {
            read.wanted = settings::mode::planted;
        } else if (name == "--every-fault") {
            read.wanted = settings::mode::every_fault;
        } else {
            understood = false;
        }
        if (!understood) return std::nullopt;
    }
    if (!can_be_played(read, has_seeds)) return std::nullopt;
    return read;
}

std::vector<std::string> arguments_of(const settings& one) {
    std::vector<std::string> made{"--engine", one.uring ? "uring" : "epoll", "--scenario",
                                  one.only->name, "--seed", std::to_string(one.first)};
    if (one.rule) {
        made.emplace_back("--rule");
        made.push_back(text_of(*one.rule));
    }
    if (one.plain) {
        made.emplace_back("--plain");
        made.push_back(text_of(*one.plain));
    }
    return made;
}

std::string command_of(const settings& one) {
    std::string command = program;
    for (const std::string& each : arguments_of(one)) command += ' ' + each;
    return command;
}

void set_program(std::string name) { program = std::move(name); }

int usage() {
    fmt::print(stderr,
               "usage: {} [--engine uring|epoll] [--scenario NAME] [--seed N | --seeds FROM TO]\n"
               "       [--rule OPERATION,FAULT,NTH,ERRNO | --plain CALL,NTH,ERRNO] [--verbose]\n"
               "   or: {} [--engine uring|epoll] --planted|--every-fault\n"
               "--rule and --plain need one scenario and one seed.\n",
               program, program);
    return 2;
}

}  // namespace rondo::test
