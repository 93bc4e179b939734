// A file descriptor that is closed when its owner ends.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace rondo::inline v0::detail {

/// Owns one descriptor or none (-1). close(2) is called once and its result ignored: on Linux the
/// descriptor is gone whatever it says, and a second call could close someone else's. `errno` is
/// preserved, so that a clean-up does not hide the error that led to it.
class unique_fd {
public:
    unique_fd() noexcept = default;
    explicit unique_fd(int fd) noexcept : fd_(fd) {}
    unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        reset(other.release());
        return *this;
    }
    ~unique_fd() { reset(); }

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

    /// Gives the descriptor away without closing it.
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

    /// Closes what is held and takes `fd`, which may be -1 but not the one already held.
    void reset(int fd = -1) noexcept {
        const int previous = std::exchange(fd_, fd);
        if (previous >= 0) {
            const int saved = errno;
            ::close(previous);
            errno = saved;
        }
    }

private:
    int fd_ = -1;
};

}  // namespace rondo::inline v0::detail
