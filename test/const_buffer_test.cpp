#include <rondo/const_buffer.hpp>
#include <rondo/io/chunk.hpp>

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <span>
#include <string>
#include <string_view>

using namespace rondo;

namespace {

std::string_view text(const const_buffer& buffer) {
    return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

}  // namespace

TEST_CASE("a const_buffer views whatever holds bytes, without a literal's NUL",
          "[const_buffer]") {
    CHECK(text("literal") == "literal");
    CHECK(text("") == "");
    CHECK(text(std::string_view("view")) == "view");
    const std::string string = "string";
    CHECK(text(string) == "string");
    CHECK(const_buffer(string).data() == reinterpret_cast<const std::byte*>(string.data()));
    std::array<std::byte, 2> bytes = {std::byte{'h'}, std::byte{'i'}};
    CHECK(text(std::span<std::byte>(bytes)) == "hi");
    CHECK(text(std::span<const std::byte>(bytes)) == "hi");
    const chunk nothing;
    CHECK(const_buffer(nothing).empty());
}

TEST_CASE("a const_buffer keeps a NUL inside a string", "[const_buffer]") {
    const std::string with_nul("a\0b", 3);
    CHECK(const_buffer(with_nul).size() == 3);
    CHECK(const_buffer(std::string_view(with_nul)).size() == 3);
    CHECK(const_buffer("a\0b").size() == 1);  // a C string ends at its NUL
}

TEST_CASE("an empty const_buffer has no bytes", "[const_buffer]") {
    CHECK(const_buffer().empty());
    CHECK(const_buffer().size() == 0);
    CHECK(const_buffer(std::span<const std::byte>()).empty());
    CHECK_FALSE(const_buffer("x").empty());
}
