// Runs a command where this process may use io_uring and has all of it that uring_engine cannot do
// without; elsewhere says why not and ends with the code ctest reports as skipped. A shortage
// (ENOMEM, EMFILE) is no excuse: the command runs. It asks the kernel and not the engine, so that
// an engine which finds no ring where there is one fails its tests.
#include <liburing.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

namespace {

constexpr int skipped = 77;

/// What io_uring_get_probe() allocates.
struct free_probe {
    void operator()(io_uring_probe* probe) const noexcept { io_uring_free_probe(probe); }
};

bool knows_opcodes(io_uring& ring) {
    const std::unique_ptr<io_uring_probe, free_probe> probe(io_uring_get_probe_ring(&ring));
    if (!probe) return false;
    for (const int opcode : {IORING_OP_POLL_ADD, IORING_OP_ACCEPT, IORING_OP_ASYNC_CANCEL,
                             IORING_OP_CONNECT, IORING_OP_SEND, IORING_OP_RECV, IORING_OP_SENDMSG,
                             IORING_OP_RECVMSG, IORING_OP_READ, IORING_OP_WRITE, IORING_OP_OPENAT,
                             IORING_OP_FSYNC, IORING_OP_FADVISE, IORING_OP_CLOSE,
                             IORING_OP_SENDMSG_ZC}) {
        if (io_uring_opcode_supported(probe.get(), opcode) == 0) return false;
    }
    return true;
}

/// The error of one request that does nothing, or 0: io_uring_enter(2) may be forbidden alone.
int carry_out(io_uring& ring) {
    io_uring_prep_nop(io_uring_get_sqe(&ring));
    const int taken = io_uring_submit(&ring);
    return taken < 0 ? -taken : 0;
}

const char* why_unavailable(int error) {
    switch (error) {
        case EPERM:
        case EACCES: return "forbidden by seccomp or kernel.io_uring_disabled";
        case ENOSYS: return "the kernel has none, or a filter hides it";
        default: return nullptr;
    }
}

/// Null where the command may run.
const char* why_skipped() {
    io_uring ring;
    if (const int error = -io_uring_queue_init(4, &ring, 0); error != 0) {
        return why_unavailable(error);
    }
    const char* reason = nullptr;
    if ((ring.features & IORING_FEAT_EXT_ARG) == 0 || !knows_opcodes(ring)) {
        reason = "the kernel is too old, or a filter forbids io_uring_register";
    } else {
        reason = why_unavailable(carry_out(ring));
    }
    io_uring_queue_exit(&ring);
    return reason;
}

}  // namespace

int main(int, char** argv) {
    if (const char* const reason = why_skipped()) {
        std::printf("skipped: io_uring is unavailable: %s\n", reason);
        return skipped;
    }
    execv(argv[1], argv + 1);
    std::perror(argv[1]);
    return 1;
}
