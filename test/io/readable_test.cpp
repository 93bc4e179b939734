#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/io/readable.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/when_all.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

using namespace rondo;
using rondo::detail::unique_fd;
using rondo::test::some_turns;
using rondo::test::thrown_by;

namespace {

struct pipe_ends {
    unique_fd out;
    unique_fd in;
};

pipe_ends make_pipe() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}

task<ssize_t> read_when_readable(int descriptor) {
    std::array<char, 8> buffer;
    for (;;) {
        co_await readable(descriptor);
        const ssize_t n = ::read(descriptor, buffer.data(), buffer.size());
        if (n >= 0) co_return n;
        // Woken early, as a kernel may, and as only faults do here.
        CHECK(errno == EAGAIN);
        CHECK(test::faulty());
    }
}

task<> bytes_and_end() {
    pipe_ends pipe = make_pipe();
    bool woken = false;
    const auto reader = [&]() -> task<> {
        const ssize_t first = co_await read_when_readable(pipe.out.get());
        CHECK(first == 3);
        woken = true;
        const ssize_t last = co_await read_when_readable(pipe.out.get());
        CHECK(last == 0);
    };
    const auto writer = [&]() -> task<> {
        co_await some_turns();
        CHECK_FALSE(woken);
        CHECK(::write(pipe.in.get(), "abc", 3) == 3);
        const bool seen = co_await test::eventually([&] { return woken; });
        CHECK(seen);
        pipe.in.reset();
    };
    co_await when_all(reader(), writer());
}

TEST_CASE("readable() waits for bytes and for the end", "[io][readable]") {
    test::run(bytes_and_end);
}

task<> regular_files() {
    const unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    REQUIRE(file);
    co_await readable(file.get());
}

TEST_CASE("A regular file can always be read", "[io][readable]") { test::run(regular_files); }

task<> cancelled() {
    const pipe_ends pipe = make_pipe();
    cancel_scope scope;
    const auto reader = [&]() -> task<> {
        const std::error_code first = co_await thrown_by(readable(pipe.out.get()));
        CHECK(first == std::errc::operation_canceled);
        const std::error_code second = co_await thrown_by(readable(pipe.out.get()));
        CHECK(second == std::errc::operation_canceled);
    };
    const auto canceller = [&]() -> task<> {
        co_await some_turns();
        scope.cancel();
    };
    co_await when_all(scope.run(reader()), canceller());
}

TEST_CASE("A cancelled readable() ends", "[io][readable][cancellation]") {
    test::run(cancelled);
}

/// A caller closes its descriptor without a word.
task<> numbers_used_again() {
    int number = -1;
    for (int i = 0; i != 3; ++i) {
        const pipe_ends pipe = make_pipe();
        if (i == 0) number = pipe.out.get();
        CHECK(pipe.out.get() == number);
        const auto reader = [&]() -> task<> {
            const ssize_t n = co_await read_when_readable(pipe.out.get());
            CHECK(n == 3);
        };
        const auto writer = [&]() -> task<> {
            co_await some_turns();
            CHECK(::write(pipe.in.get(), "abc", 3) == 3);
        };
        co_await when_all(reader(), writer());
    }
    unix_listener door = unix_listener::listen("*");
    CHECK(::fcntl(number, F_GETFD) >= 0);  // it has the number now
    const auto acceptor = [&]() -> task<> {
        const unix_socket peer = co_await door.accept();
        CHECK(peer.is_open());
    };
    const auto client = [&]() -> task<> {
        co_await some_turns();
        unix_socket knocking = unix_socket::create();
        co_await knocking.connect(door.local_address());
    };
    co_await when_all(acceptor(), client());
}

TEST_CASE("readable() remembers nothing of a number that was closed", "[io][readable]") {
    test::run(numbers_used_again);
}

task<> no_descriptor() {
    const std::error_code e = co_await thrown_by(readable(-1));
    CHECK(e == std::errc::bad_file_descriptor);
}

TEST_CASE("readable() of no descriptor fails", "[io][readable]") { test::run(no_descriptor); }

}  // namespace
