// Lists of features, as RONDO_WITHOUT holds them: a plain reading finds the same; a refusal is one
// line.
#include <fuzz/fuzz.hpp>

#include <rondo/engine/feature_names.hpp>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace rondo::fuzz {

namespace {

std::vector<feature> every_feature() {
    std::vector<feature> all;
    for (std::uint32_t bit = 1; bit != 0; bit *= 2) {
        const auto one = static_cast<feature>(bit);
        if (feature_set::all().has(one)) all.push_back(one);
    }
    return all;
}

std::optional<feature_set> word_read(std::string_view word) {
    if (word == "all") return feature_set::all();
    for (const feature each : every_feature()) {
        if (to_string(each) == word) return each;
    }
    return {};
}

// Words between commas; nothing at all is no word.
std::optional<feature_set> read_plainly(std::string_view text) {
    feature_set found;
    if (text.empty()) return found;
    std::string word;
    for (const char c : std::string(text) + ',') {
        if (c != ',') {
            word += c;
            continue;
        }
        const auto one = word_read(word);
        if (!one) return {};
        found = found | *one;
        word.clear();
    }
    return found;
}

std::optional<feature_set> parsed(std::string_view text) {
    try {
        return parse_features(text, "RONDO_WITHOUT");
    } catch (const std::invalid_argument& error) {
        const std::string_view sentence = error.what();
        check(sentence.starts_with("RONDO_WITHOUT names "), "a refusal does not say whose it is");
        check(std::ranges::all_of(sentence, [](char c) { return c >= ' ' && c <= '~'; }),
              "a refusal is not one line of plain text");
        check(sentence.size() < 1000, "a refusal repeats a long input");
        return {};
    }
}

void check_text(std::string_view text) {
    check(parsed(text) == read_plainly(text), "a list and a plain reading of it differ");
}

// Names, mostly whole ones, and what may stand around them.
std::string composed(input in) {
    const std::vector<feature> all = every_feature();
    std::string text;
    while (!in.empty()) {
        const unsigned what = in.below(32);
        if (what < all.size()) {
            text += to_string(all[what]);
            if (in.below(8) != 0) text += ',';
        } else if (what < 24) {
            text += what % 2 == 0 ? "all" : ",";
        } else if (!text.empty()) {
            text.resize(text.size() - 1);
        }
    }
    return text;
}

}  // namespace

void feed_feature_names(input in) {
    if (in.below(2) == 0) {
        const std::string text = composed(in);
        return check_text(exact_copy(std::as_bytes(std::span(text))).text());
    }
    const exact_copy text(in.rest());
    check_text(text.text());
}

}  // namespace rondo::fuzz
