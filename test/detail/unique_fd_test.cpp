// The owner of a descriptor.
#include <rondo/detail/unique_fd.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <type_traits>
#include <utility>

namespace {

using rondo::detail::unique_fd;

int open_null() {
    const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    return fd;
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

static_assert(!std::is_copy_constructible_v<unique_fd>);
static_assert(!std::is_convertible_v<int, unique_fd>);
static_assert(std::is_nothrow_move_constructible_v<unique_fd>);
static_assert(std::is_nothrow_move_assignable_v<unique_fd>);
static_assert(sizeof(unique_fd) == sizeof(int));

}  // namespace

TEST_CASE("a descriptor is closed with its owner", "[detail][unique_fd]") {
    const int fd = open_null();
    {
        const unique_fd owner(fd);
        CHECK(owner);
        CHECK(owner.get() == fd);
        CHECK(is_open(fd));
    }
    CHECK_FALSE(is_open(fd));
}

TEST_CASE("an owner without a descriptor is false and closes nothing", "[detail][unique_fd]") {
    unique_fd owner;
    CHECK_FALSE(owner);
    CHECK(owner.get() == -1);
    errno = 0;
    owner.reset();
    CHECK(errno == 0);
    CHECK(unique_fd(::dup(STDERR_FILENO)));
}

TEST_CASE("moving an owner moves the duty to close", "[detail][unique_fd]") {
    const int first = open_null();
    const int second = open_null();
    unique_fd a(first);
    unique_fd b(std::move(a));
    CHECK(b.get() == first);
    CHECK_FALSE(a);
    CHECK(is_open(first));
    a.reset(second);
    b = std::move(a);
    CHECK(b.get() == second);
    CHECK_FALSE(is_open(first));
    unique_fd& same = b;
    b = std::move(same);
    CHECK(b.get() == second);
    CHECK(is_open(second));
}

TEST_CASE("a released descriptor stays open", "[detail][unique_fd]") {
    const int fd = open_null();
    {
        unique_fd owner(fd);
        CHECK(owner.release() == fd);
        CHECK_FALSE(owner);
    }
    REQUIRE(is_open(fd));
    ::close(fd);
}

TEST_CASE("closing leaves errno as it was", "[detail][unique_fd]") {
    const int fd = open_null();
    unique_fd owner(fd);
    ::close(fd);
    errno = ECONNRESET;
    owner.reset();
    CHECK(errno == ECONNRESET);
}
