// Unix addresses as values, as text, and as the kernel has them.
#include <rondo/net/unix_address.hpp>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/socket_error.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <vector>

using namespace std::string_literals;
using rondo::argument_error;
using rondo::socket_error;
using rondo::unix_address;
using rondo::unix_socket_address;

namespace {

static_assert(std::is_trivially_copyable_v<unix_address>);
static_assert(unix_address().is_unnamed());
static_assert(unix_address::parse("/run/app.sock")->is_path());
static_assert(unix_address::parse("@app")->is_abstract());
static_assert(unix_address::parse("@app")->name() == "app");
static_assert(unix_address::parse("*")->is_unnamed());
static_assert(*unix_address::abstract("a") != *unix_address::parse("a"));

std::string refusal(std::string_view text) {
    try {
        const unix_address address(text);
    } catch (const argument_error& error) {
        CHECK(error.code() == std::errc::invalid_argument);
        return error.what();
    }
    return "accepted";
}

}  // namespace

TEST_CASE("a unix address is read from its text and written as it", "[net][unix]") {
    for (const std::string text : {"/run/app.sock", "app.sock", "./@app", "./*", "@app", "@@", "*",
                                   "a b", "/tmp/\xc3\xa4", "@*"}) {
        const auto parsed = unix_address::parse(text);
        REQUIRE(parsed);
        CHECK(parsed->to_string() == text);
        CHECK(unix_address(text) == *parsed);
        CHECK(fmt::format("{:>20}", *parsed) == fmt::format("{:>20}", text));
    }
}

TEST_CASE("a text that stays one line stands for a unix address of any bytes", "[net][unix]") {
    CHECK(unix_address::abstract("a\0b\n"s)->to_string() == "@a\\x00b\\x0a");
    CHECK(unix_address::abstract("")->to_string() == "@");
    CHECK(unix_address("/tmp/a\\b\x7f").to_string() == "/tmp/a\\x5cb\\x7f");
}

TEST_CASE("what is no unix address is refused with a sentence", "[net][unix]") {
    const std::string longest(unix_address::max_size, 'p');
    CHECK(unix_address::parse(longest)->name() == longest);
    CHECK(unix_address::parse("@" + longest)->name() == longest);
    CHECK(unix_address::abstract(longest)->name() == longest);
    for (const std::string& text :
         {""s, "@"s, longest + "p", "@" + longest + "p", "a\0b"s, "@a\0b"s}) {
        CHECK_FALSE(unix_address::parse(text));
    }
    CHECK_FALSE(unix_address::abstract(longest + "p"));
    const std::string nothing = "a unix address is a path, or @ and a name, not nothing";
    CHECK(refusal("") == nothing);
    CHECK(refusal("@") == nothing);
    const std::string shown(40, 'p');
    CHECK(refusal(longest + "p") ==
          "unix address \"" + shown + "...\": a path of 108 bytes, at most 107");
    CHECK(refusal("@" + longest + "p") ==
          "unix address \"@" + shown.substr(1) + "...\": a name of 108 bytes, at most 107");
    CHECK(refusal("a\0b"s) == "unix address \"a\\x00b\": a path with a NUL in it");
}

TEST_CASE("unix addresses compare and hash as their bytes", "[net][unix]") {
    std::vector<unix_address> all = {"b", "@a", unix_address(), "a", "ab"};
    std::ranges::sort(all);
    const std::vector<unix_address> sorted = {unix_address(), "@a", "a", "ab", "b"};
    CHECK(all == sorted);
    std::unordered_set<unix_address> set(all.begin(), all.end());
    CHECK(set.size() == 5);
    CHECK(set.contains("@a"));
    CHECK_FALSE(set.contains("@b"));
}

TEST_CASE("the kernel gives a unix address back as it took it", "[net][unix]") {
    const auto there_and_back = [](const unix_address& address) {
        const rondo::detail::unique_fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (!address.is_unnamed()) {
            const unix_socket_address name(address);
            REQUIRE(::bind(socket.get(), name.data(), name.size()) == 0);
        }
        unix_socket_address name;
        REQUIRE(::getsockname(socket.get(), name.data(), name.size_pointer()) == 0);
        return name.to_address();
    };
    const std::string unique = fmt::format("rondo-{}", ::getpid());
    const std::string filler(unix_address::max_size - unique.size(), '\0');
    CHECK(there_and_back({}) == unix_address());
    CHECK(there_and_back("@" + unique) == unix_address("@" + unique));
    const auto longest = unix_address::abstract(unique + filler);
    CHECK(there_and_back(*longest) == longest);
    const unix_socket_address path("/run/app.sock");
    CHECK(path.size() == 16);
    CHECK(path.to_address() == unix_address("/run/app.sock"));
}

TEST_CASE("an error on a unix socket names its address and what to check",
          "[net][unix][socket_error]") {
    const auto text = [](const char* verb, int error, const unix_address& where) {
        return std::string(socket_error(verb, error, where).what());
    };
    CHECK(text("connect", ECONNREFUSED, "/run/a") ==
          "connect /run/a: Connection refused (nobody listens there: its server has ended and "
          "left the file behind, or it is no socket; see ss -xl)");
    CHECK(text("connect", ECONNREFUSED, "@a") ==
          "connect @a: Connection refused (nobody listens there; see ss -xl)");
    CHECK(text("connect", ENOENT, "/run/a") ==
          "connect /run/a: No such file or directory (there is no such socket: its server does "
          "not run, or listens elsewhere; see ss -xl)");
    CHECK(text("bind", ENOENT, "/a/b") ==
          "bind /a/b: No such file or directory (there is no such directory)");
    CHECK(text("connect", EACCES, "/run/a") ==
          "connect /run/a: Permission denied (it takes the right to write to the socket's file, "
          "and to search its directories; see ls -l)");
    CHECK(text("bind", EACCES, "/run/a") ==
          "bind /run/a: Permission denied (it takes the right to write in the directory; see "
          "ls -ld)");
    CHECK(text("bind", EADDRINUSE, "@a") ==
          "bind @a: Address already in use (another socket has this address; see ss -xlp)");
    CHECK(text("bind", EEXIST, "/run/a") ==
          "bind /run/a: File exists (this file is no socket, and is left alone)");
    CHECK(text("accept", EMFILE, "/run/a") ==
          "accept /run/a: Too many open files (this process has no descriptor left; see "
          "ulimit -n)");
    const socket_error cut("send", EPIPE, unix_address("/run/a"), 3);
    CHECK(std::string(cut.what()).starts_with("send /run/a: Broken pipe after 3 bytes ("));
}
