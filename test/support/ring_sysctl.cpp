#include <support/ring_sysctl.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>

namespace rondo::test {

namespace {

constexpr const char* path = "/proc/sys/kernel/io_uring_disabled";

[[noreturn]] void keep(int descriptor, int guard, char before) {
    // Ctrl-C and what ends a group of processes must not end this one before its work is done.
    ::setsid();
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::signal(number, SIG_IGN);
    const bool set = ::pwrite(descriptor, "1\n", 2, 0) == 2;
    const char answer = set ? 's' : 'f';
    if (::send(guard, &answer, 1, MSG_NOSIGNAL) == 1) {
        char end;
        while (::recv(guard, &end, 1, 0) < 0 && errno == EINTR) {
        }
    }
    const std::array<char, 2> text{before, '\n'};
    ::_exit(!set || ::pwrite(descriptor, text.data(), text.size(), 0) == 2 ? 0 : 1);
}

}  // namespace

ring_sysctl::ring_sysctl() {
    const int descriptor = ::open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) {
        why_not_ = std::string(path) + ": " + std::generic_category().message(errno);
        return;
    }
    // The lock is the open file's, so the keeper has it to its end.
    char before = 0;
    std::array<int, 2> ends{};
    if (::flock(descriptor, LOCK_EX) != 0 || ::pread(descriptor, &before, 1, 0) != 1 ||
        ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        why_not_ = std::string(path) + " cannot be locked and read";
    } else if (before != '0') {
        why_not_ = std::string(path) + " is not 0";
        ::close(ends[0]);
        ::close(ends[1]);
    } else {
        keeper_ = ::fork();
        if (keeper_ == 0) {
            ::close(ends[0]);
            keep(descriptor, ends[1], before);
        }
        ::close(ends[1]);
        guard_ = ends[0];
        char answer = 0;
        if (keeper_ < 0 || ::recv(guard_, &answer, 1, 0) != 1 || answer != 's')
            why_not_ = std::string(path) + " cannot be written";
    }
    ::close(descriptor);
}

ring_sysctl::~ring_sysctl() {
    if (guard_ >= 0) ::close(guard_);
    while (keeper_ > 0 && ::waitpid(keeper_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace rondo::test
