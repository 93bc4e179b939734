#include <rondo/detail/status_word.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <string>
#include <string_view>

using rondo::detail::status_word;

TEST_CASE("a value is the first word behind its key", "[detail]") {
    const std::string text = "Name:\tserver\nSeccomp:\t2\nSeccomp_filters:\t1\n";
    CHECK(status_word(text, "Seccomp:") == "2");
    CHECK(status_word(text, "Name:") == "server");
    CHECK(status_word(text, "Seccomp_filters:") == "1");
    CHECK(status_word("0 0 0\n") == "0");
    CHECK(status_word("a:  b c", "a:") == "b");
}

TEST_CASE("a value that is not there is empty", "[detail]") {
    CHECK(status_word("", "Seccomp:").empty());
    CHECK(status_word("Name:\tserver\n", "Seccomp:").empty());
    CHECK(status_word("Seccomp:\n2\n", "Seccomp:").empty());
    CHECK(status_word("Seccomp:\t", "Seccomp:").empty());
    CHECK(status_word("\n").empty());
}

TEST_CASE("a key within the name of a program is none", "[detail]") {
    const std::string text = "Name:\tx Seccomp: 2\nSeccomp:\t0\n";
    CHECK(status_word(text, "Seccomp:") == "0");
}

TEST_CASE("a key is found whatever the text is cut to", "[detail]") {
    const std::string text = "Name:\tserver\nSeccomp:\t21\n";
    const std::size_t value = text.find("21");
    for (std::size_t size = 0; size <= text.size(); ++size) {
        INFO(size);
        const std::string_view cut = std::string_view(text).substr(0, size);
        const std::size_t there = size > value ? std::min<std::size_t>(size - value, 2) : 0;
        CHECK(status_word(cut, "Seccomp:") == std::string_view("21").substr(0, there));
    }
}
