#include <rondo/task/dump_tasks.hpp>
#include <rondo/task/event_loop.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string_view>
#include <vector>

namespace rondo::inline v0 {

namespace detail {

namespace {

// Where the parenthesis that closes at `close` opens; npos where it does not.
std::size_t opening(std::string_view text, std::size_t close) {
    std::size_t depth = 0;
    for (std::size_t i = close + 1; i-- > 0;) {
        if (text[i] == ')') ++depth;
        if (text[i] == '(' && --depth == 0) return i;
    }
    return std::string_view::npos;
}

// Cuts off a last list of parameters, and what stands behind it.
void cut_parameters(std::string& text) {
    const std::size_t close = text.rfind(')');
    if (close == std::string::npos || text.find('>', close) != std::string::npos) return;
    const std::size_t open = opening(text, close);
    if (open != std::string::npos) text.resize(open);
}

// Cuts off what GCC writes as " [with T = int]", and clang, always last, as " [T = int]".
void cut_template_arguments(std::string& text) {
    if (const std::size_t with = text.find(" [with "); with != std::string::npos) {
        text.resize(with);
    }
    if (!text.ends_with(']')) return;
    int depth = 0;
    for (std::size_t i = text.size(); i-- > 0;) {
        if (text[i] == ']') ++depth;
        if (text[i] == '[' && --depth == 0) {
            const bool named = text.find(" = ", i) != std::string::npos;
            if (named && i > 0 && text[i - 1] == ' ') text.resize(i - 1);
            return;
        }
    }
}

// Where the last word outside of all brackets begins: what is before it is the type returned.
std::size_t last_word(std::string_view text) {
    int depth = 0;
    for (std::size_t i = text.size(); i-- > 0;) {
        const char c = text[i];
        if (c == ')' || c == '>' || c == ']') ++depth;
        if (c == '(' || c == '<' || c == '[') --depth;
        if (c == ' ' && depth == 0) return i + 1;
    }
    return 0;
}

}  // namespace

std::string function_of(std::string text) {
    cut_template_arguments(text);
    constexpr std::string_view call = "::operator()";
    cut_parameters(text);
    if (text.ends_with(call)) text.resize(text.size() - call.size());
    text.erase(0, last_word(text));
    return text;
}

// By its last names, rondo/FOLDER/FILE: how the path begins is up to who compiles, and a program
// finds the headers elsewhere than the library was built.
bool in_library(std::string_view file) {
    constexpr std::string_view folders[] = {"detail", "engine", "io",   "net",
                                            "stream", "sync",   "task", "testing"};
    const std::size_t name = file.rfind('/');
    if (name == std::string_view::npos) return false;
    const std::string_view path = file.substr(0, name);
    return std::ranges::any_of(folders, [path](std::string_view folder) {
        if (!path.ends_with(folder)) return false;
        const std::string_view above = path.substr(0, path.size() - folder.size());
        return above == "rondo/" || above.ends_with("/rondo/");
    });
}

}  // namespace detail

namespace {

// The co_awaits that led to where the context waits, innermost first, the library's left out.
std::vector<std::source_location> trace(const context& task) {
    std::vector<std::source_location> places;
    const auto add = [&](std::source_location place) {
        if (place.line() != 0 && !detail::in_library(place.file_name())) places.push_back(place);
    };
    // Where it waits for contexts below, the note of the last wait is out of date.
    if (task.waiting() != nullptr) add(task.waits_at());
    for (const await_site* site = task.innermost(); site != nullptr; site = site->outer()) {
        add(site->place());
    }
    return places;
}

std::string state_of(const context& task) {
    std::string text;
    if (task.waiting() != nullptr) {
        const std::chrono::duration<double> waited = clock::now() - task.since();
        text = fmt::format("{}, for {:.3f} s", task.waiting()->awaits(), waited.count());
    } else {
        bool below = false;
        task.each_child([&](const context&) { below = true; });
        text = below                         ? "what is below"
               : task.innermost() != nullptr ? "ready or running"
                                             : "no task in it now";
    }
    if (task.cancelled()) text += ", cancelled";
    return text;
}

/// `led_here`: a line of the program stands above.
void dump(const context& task, std::size_t depth, bool led_here, std::string& text) {
    std::vector<std::source_location> places = trace(task);
    led_here = led_here || !places.empty();
    // A task of the library alone: better its own line than none.
    if (!led_here && task.waiting() != nullptr && task.waits_at().line() != 0) {
        places.push_back(task.waits_at());
    }
    std::string name = task.name();
    if (name.empty()) {
        name = places.empty() ? "task" : detail::function_of(places.back().function_name());
    }
    auto out = std::back_inserter(text);
    fmt::format_to(out, "{:{}}{}: {}\n", "", depth * 2, name, state_of(task));
    for (const std::source_location& place : places) {
        fmt::format_to(out, "{:{}}{} at {}:{}\n", "", depth * 2 + 4,
                       detail::function_of(place.function_name()), place.file_name(), place.line());
    }
    task.each_child([&](const context& child) { dump(child, depth + 1, led_here, text); });
}

}  // namespace

std::string dump_tasks(const event_loop& loop) {
    std::string text;
    loop.each_root([&](const context& root) { dump(root, 0, false, text); });
    return text;
}

}  // namespace rondo::inline v0
