// Files of the kernel's, as /proc/self/status: a plain reading by lines and words finds the same.
#include <fuzz/fuzz.hpp>

#include <rondo/detail/status_word.hpp>

#include <sstream>
#include <string>

namespace rondo::fuzz {

namespace {

std::string read_plainly(const std::string& text, const std::string& key) {
    std::istringstream lines(text);
    std::string line;
    while (std::getline(lines, line)) {
        if (line.compare(0, key.size(), key) != 0) continue;
        std::string word;
        for (const char c : line.substr(key.size())) {
            const bool is_blank = c == ' ' || c == '\t';
            if (is_blank && !word.empty()) break;
            if (!is_blank) word += c;
        }
        return word;
    }
    return {};
}

}  // namespace

void feed_status_word(input in) {
    constexpr std::string_view keys[] = {"", "Seccomp:", "CapEff:", "\t"};
    const std::string_view key = keys[in.below(4)];
    const exact_copy text(in.rest());
    const std::string_view found = rondo::detail::status_word(text.text(), key);
    check(found == read_plainly(std::string(text.text()), std::string(key)),
          "not the word behind the key");
}

}  // namespace rondo::fuzz
