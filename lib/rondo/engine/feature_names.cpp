#include <rondo/detail/quoted.hpp>
#include <rondo/engine/feature_names.hpp>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>

namespace rondo::inline v0 {

namespace {

struct named_feature {
    feature value;
    std::string_view name;
};

constexpr named_feature names[] = {
    {feature::multishot_accept, "multishot_accept"},
    {feature::multishot_recv, "multishot_recv"},
    {feature::buffer_ring, "buffer_ring"},
    {feature::receive_limit, "receive_limit"},
    {feature::send_zero_copy, "send_zero_copy"},
    {feature::multishot_poll, "multishot_poll"},
    {feature::skip_success, "skip_success"},
    {feature::registered_ring, "registered_ring"},
    {feature::single_issuer, "single_issuer"},
    {feature::deferred_taskrun, "deferred_taskrun"},
    {feature::cooperative_taskrun, "cooperative_taskrun"},
    {feature::submit_all, "submit_all"},
    {feature::no_iowait, "no_iowait"},
    {feature::unix_end, "unix_end"},
};

constexpr feature_set named() noexcept {
    feature_set all;
    for (const named_feature& each : names) all = all | each.value;
    return all;
}
static_assert(named() == feature_set::all());

[[noreturn]] void refuse(std::string_view word, std::string_view what) {
    std::string text(what);
    text += " names " + detail::quoted(word) + ", it may be all, or some of ";
    for (const named_feature& each : names) {
        if (&each != names) text += ',';
        text += each.name;
    }
    throw std::invalid_argument(text);
}

}  // namespace

std::string_view to_string(feature one) noexcept {
    const auto* const found =
        std::find_if(std::begin(names), std::end(names),
                     [one](const named_feature& each) { return each.value == one; });
    return found != std::end(names) ? found->name : "unknown feature";
}

feature_set parse_features(std::string_view text, std::string_view what) {
    feature_set parsed;
    if (text.empty()) return parsed;
    for (;;) {
        const std::size_t comma = text.find(',');
        const std::string_view word = text.substr(0, comma);
        const auto* const found =
            std::find_if(std::begin(names), std::end(names),
                         [word](const named_feature& each) { return each.name == word; });
        if (word == "all") {
            parsed = feature_set::all();
        } else if (found != std::end(names)) {
            parsed = parsed | found->value;
        } else {
            refuse(word, what);
        }
        if (comma == std::string_view::npos) return parsed;
        text.remove_prefix(comma + 1);
    }
}

}  // namespace rondo::inline v0
