// Runs a command where this process may use io_uring as rondo does; elsewhere says why not and ends
// with the code ctest reports as skipped. Shortage (ENOMEM, EMFILE) is no excuse: the command runs.
#include <liburing.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace {

constexpr int skipped = 77;

const char* why_unavailable(int error) {
    switch (error) {
        case EPERM:
        case EACCES: return "forbidden by seccomp or kernel.io_uring_disabled";
        case ENOSYS: return "the kernel has none";
        case EINVAL: return "the kernel is older than 6.1";
        default: return nullptr;
    }
}

}  // namespace

int main(int, char** argv) {
    io_uring ring;
    // The youngest flags the engine cannot do without (6.1).
    const unsigned flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    const int result = io_uring_queue_init(4, &ring, flags);
    if (result == 0) {
        io_uring_queue_exit(&ring);
    } else if (const char* reason = why_unavailable(-result)) {
        std::printf("skipped: io_uring is unavailable: %s (%s)\n", reason, std::strerror(-result));
        return skipped;
    }
    execv(argv[1], argv + 1);
    std::perror(argv[1]);
    return 1;
}
