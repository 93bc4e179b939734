#include <rondo/net/resolver.hpp>

#include <rondo/net/socket_error.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/when_all.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/private_network.hpp>
#include <support/thrown_by.hpp>

#include <catch2/catch_test_macros.hpp>

#include <dirent.h>
#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

std::string text_of(const std::vector<endpoint>& found) {
    std::string text;
    for (const endpoint& each : found) text += (text.empty() ? "" : " ") + each.to_string();
    return text;
}

bool services_are_known() { return ::getservbyname("domain", "tcp") != nullptr; }

// What resolve() returns or throws, as one line.
template <typename... Arguments>
std::string resolved(const Arguments&... arguments) {
    return test::run([&]() -> task<std::string> {
        try {
            const auto found = co_await resolve(arguments...);
            co_return text_of(found);
        } catch (const std::system_error& error) {
            co_return std::string(error.what());
        }
    });
}
std::string resolved(const std::string& host_port, resolve_options options) {
    return resolved<std::string, resolve_options>(host_port, options);
}

std::size_t threads_of_this_process() {
    std::size_t count = 0;
    DIR* tasks = ::opendir("/proc/self/task");
    while (const dirent* entry = ::readdir(tasks)) count += entry->d_name[0] != '.';
    ::closedir(tasks);
    return count;
}

}  // namespace

TEST_CASE("Addresses and localhost are resolved without a thread", "[net][resolver]") {
    const std::size_t before = threads_of_this_process();
    std::size_t during = 0;
    test::run([&]() -> task<> {
        const auto loopback = co_await resolve("localhost:80");
        CHECK(text_of(loopback) == "[::1]:80 127.0.0.1:80");
        const auto v4 = co_await resolve("192.0.2.1:80");
        CHECK(text_of(v4) == "192.0.2.1:80");
        const auto v6 = co_await resolve("[2001:db8::1]:80");
        CHECK(text_of(v6) == "[2001:db8::1]:80");
        const auto any = co_await resolve(":80");
        CHECK(text_of(any) == "[::]:80 0.0.0.0:80");
        const auto apart = co_await resolve("2001:db8::1", 80);
        CHECK(text_of(apart) == "[2001:db8::1]:80");
        const auto service = co_await resolve("localhost", "80");
        CHECK(text_of(service) == "[::1]:80 127.0.0.1:80");
        during = threads_of_this_process();
    });
    CHECK(during == before);
}

TEST_CASE("A service may be given by its name", "[net][resolver]") {
    if (!services_are_known()) SKIP("needs /etc/services");
    CHECK(resolved("localhost:http") == "[::1]:80 127.0.0.1:80");
    CHECK(resolved("[::1]:https") == "[::1]:443");
    CHECK(resolved("192.0.2.1", "tftp") == "192.0.2.1:69");  // one of UDP alone
    CHECK(resolved("localhost:http", {.version = ip_version::v6}) == "[::1]:80");
}

TEST_CASE("Only addresses of the wanted version are returned", "[net][resolver]") {
    CHECK(resolved("localhost:80", {.version = ip_version::v4}) == "127.0.0.1:80");
    CHECK(resolved("localhost:80", {.version = ip_version::v6}) == "[::1]:80");
    CHECK(resolved("192.0.2.1:80", {.version = ip_version::v6}) ==
          "resolve \"192.0.2.1\": Address family for hostname not supported (the name exists, but "
          "not with such an address; see getent ahostsv6 \"192.0.2.1\")");
}

TEST_CASE("What can be no name is refused with a sentence, by whom it is asked for",
          "[net][resolver]") {
    CHECK(resolved("") == "resolve \"\": nothing where HOST:PORT is expected");
    CHECK(resolved("example.com") ==
          "resolve \"example.com\": the port is missing, as in localhost:80");
    CHECK(resolved("example.com:") ==
          "resolve \"example.com:\": the port is missing behind the colon");
    CHECK(resolved("example.com:65536") ==
          "resolve \"example.com:65536\": port 65536 is not between 0 and 65535");
    CHECK(resolved("1.2.3:80").starts_with("resolve \"1.2.3:80\": \"1.2.3\" is not an IPv4"));
    CHECK(resolved("::1:80").find("written in brackets") != std::string::npos);
    CHECK(resolved("[localhost]:80").find("is not an IPv6 address") != std::string::npos);
    CHECK(resolved("1.2.3", "80").starts_with("resolve \"1.2.3\": \"1.2.3\" is not an IPv4"));
    CHECK(resolved("::g", "80") ==
          "resolve \"::g\": a name has no colon, and it is no IPv6 address");
    CHECK(resolved("example.com", "080") ==
          "resolve \"example.com\": port \"080\" has a leading zero");
    const std::string cut("localhost\0.example.com", 22);
    CHECK(resolved(cut, "80").ends_with("a zero byte is part of no name"));
    CHECK(resolved("localhost", std::string("80\0", 3)).ends_with("is part of no name"));
}

TEST_CASE("A name that does not exist is an error of the resolver's own", "[net][resolver]") {
    // Such names are in no database, so that nobody is asked.
    test::run([]() -> task<> {
        const auto code = co_await thrown_by(resolve("a..b:80"));
        CHECK(code == resolver_errc::not_found);
        CHECK(code.category() == resolver_category());
        CHECK(code.category().name() == std::string("resolver"));
        CHECK(code != std::errc::resource_unavailable_try_again);
    });
    CHECK(resolved("a..b:80") == "resolve \"a..b\": Name or service not known (check the spelling; "
                                 "see getent ahosts \"a..b\")");
    CHECK(resolved("two\nlines", "80").starts_with("resolve \"two\\nlines\": Name or service"));
}

TEST_CASE("A service that does not exist is told from a name that does not", "[net][resolver]") {
    CHECK(resolved("localhost:nonesuch") ==
          "resolve \"localhost:nonesuch\": Servname not supported for ai_socktype (no such "
          "service; see /etc/services, or give the port's number)");
}

TEST_CASE("Errors of the resolver compare with those of errno that mean the same",
          "[net][resolver]") {
    CHECK(make_error_code(resolver_errc::try_again) ==
          std::errc::resource_unavailable_try_again);
    CHECK(make_error_code(resolver_errc::other_family) ==
          std::errc::address_family_not_supported);
    CHECK(make_error_code(resolver_errc::no_such_family) ==
          std::errc::address_family_not_supported);
    CHECK(make_error_code(resolver_errc::not_enough_memory) == std::errc::not_enough_memory);
    CHECK(make_error_code(resolver_errc::failed).message() ==
          "Non-recoverable failure in name resolution");
}

TEST_CASE("Names come in the order to try them, without doubles", "[net][resolver]") {
    if (!may_have_private_network()) SKIP(no_private_network);
    if (!may_change_routes()) SKIP("needs ip(8)");
    const std::string said = in_private_network([] {
        replace_file("/etc/hosts", "192.0.2.1 two.example\n2001:db8::1 two.example\n");
        replace_file("/etc/nsswitch.conf", "hosts: files\nservices: files\n");
        // Without a route the IPv6 address comes first: the precedence of RFC 6724, section 2.1.
        say(resolved("two.example:80"));
        // A service of TCP and of UDP would be there twice.
        say(services_are_known() ? resolved("two.example:domain") : resolved("two.example:53"));
        say(resolved("two.example:80", {.version = ip_version::v4}));
        // An address with a route comes before one without (rule 1).
        shell("ip route add 192.0.2.0/24 dev lo");
        say(resolved("two.example:80"));
        return 0;
    });
    CHECK(said == "[2001:db8::1]:80 192.0.2.1:80\n"
                  "[2001:db8::1]:53 192.0.2.1:53\n"
                  "192.0.2.1:80\n"
                  "192.0.2.1:80 [2001:db8::1]:80\n");
}

TEST_CASE("Each failure of a lookup has its own text and hint", "[net][resolver]") {
    if (!may_have_private_network()) SKIP(no_private_network);
    const std::string said = in_private_network([] {
        replace_file("/etc/hosts", "192.0.2.1 four.example\n");
        replace_file("/etc/resolv.conf", "nameserver 192.0.2.53\n");
        replace_file("/etc/nsswitch.conf", "hosts: files dns\n");
        say(resolved("nonesuch.example:80"));
        replace_file("/etc/nsswitch.conf", "hosts: files\n");
        say(resolved("nonesuch.example:80"));
        return 0;
    });
    CHECK(said == "resolve \"nonesuch.example\": Temporary failure in name resolution (no name "
                  "server has answered; see /etc/resolv.conf, or try again later)\n"
                  "resolve \"nonesuch.example\": Name or service not known (check the spelling; "
                  "see getent ahosts \"nonesuch.example\")\n");
}

TEST_CASE("A lookup that hangs is abandoned when it is cancelled, and run() returns",
          "[net][resolver][cancellation]") {
    if (!may_have_private_network()) SKIP(no_private_network);
    const std::string said = in_private_network([] {
        // A name server that is there and never answers.
        replace_file("/etc/hosts", "\n");
        replace_file("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:30\n");
        replace_file("/etc/nsswitch.conf", "hosts: dns\n");
        const detail::unique_fd deaf(::socket(AF_INET, SOCK_DGRAM, 0));
        const socket_address name(*endpoint::parse("127.0.0.1:53"));
        if (::bind(deaf.get(), name.data(), name.size()) != 0) return 2;
        const auto begun = std::chrono::steady_clock::now();
        test::run([&]() -> task<> {
            cancel_scope scope;
            std::error_code code;
            auto wait = [&]() -> task<> {
                code = co_await thrown_by(scope.run(resolve("slow.example:80")));
            };
            auto stop = [&]() -> task<> {
                // The question has come: getaddrinfo() waits for the answer.
                std::array<char, 512> question;
                co_await eventually([&] {
                    return ::recv(deaf.get(), question.data(), question.size(), MSG_DONTWAIT) > 0;
                });
                scope.cancel();
            };
            co_await when_all(wait(), stop());
            say(code.message());
        });
        say(std::chrono::steady_clock::now() - begun < std::chrono::seconds(10) ? "soon" : "late");
        return 0;
    });
    CHECK(said == std::make_error_code(std::errc::operation_canceled).message() + "\nsoon\n");
}
