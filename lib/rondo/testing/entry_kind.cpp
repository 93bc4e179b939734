#include <rondo/testing/entry_kind.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <linux/io_uring.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace rondo::inline v0::testing::entry_kind {

namespace {

bool has_flag(const io_uring_sqe& entry, int flag) noexcept {
    return (entry.msg_flags & static_cast<unsigned>(flag)) != 0;
}

bool is_regular_file(int descriptor) noexcept {
    struct ::stat about {};
    return ::fstat(descriptor, &about) == 0 && S_ISREG(about.st_mode);
}

}  // namespace

bool is_receive(const io_uring_sqe& entry) noexcept {
    return entry.opcode == IORING_OP_RECV || entry.opcode == IORING_OP_RECVMSG;
}

bool is_send(const io_uring_sqe& entry) noexcept {
    return entry.opcode == IORING_OP_SEND || entry.opcode == IORING_OP_SENDMSG ||
           entry.opcode == IORING_OP_SEND_ZC;
}

bool is_file_transfer(const io_uring_sqe& entry) noexcept {
    return entry.opcode == IORING_OP_READ || entry.opcode == IORING_OP_WRITE;
}

bool is_multishot_receive(const io_uring_sqe& entry) noexcept {
    return is_receive(entry) && (entry.ioprio & IORING_RECV_MULTISHOT) != 0;
}

bool is_multishot_accept(const io_uring_sqe& entry) noexcept {
    return entry.opcode == IORING_OP_ACCEPT && (entry.ioprio & IORING_ACCEPT_MULTISHOT) != 0;
}

bool is_multishot_poll(const io_uring_sqe& entry) noexcept {
    return entry.opcode == IORING_OP_POLL_ADD && entry.len == IORING_POLL_ADD_MULTI;
}

bool is_linked(const io_uring_sqe& entry) noexcept {
    return (entry.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0;
}

bool skips_success(const io_uring_sqe& entry) noexcept {
    return (entry.flags & IOSQE_CQE_SKIP_SUCCESS) != 0;
}

bool is_message_multishot(const io_uring_sqe& entry) noexcept {
    return entry.opcode == IORING_OP_RECVMSG && is_multishot_receive(entry) &&
           !skips_success(entry);
}

bool is_convertible(const io_uring_sqe& entry) noexcept {
    if (skips_success(entry)) return false;
    return is_multishot_accept(entry) || is_multishot_poll(entry) ||
           (is_multishot_receive(entry) && entry.opcode == IORING_OP_RECV);
}

std::uint32_t& total_limit(io_uring_sqe& entry) noexcept { return entry.file_index; }

bool is_stream(const io_uring_sqe& entry) noexcept {
    if ((entry.flags & IOSQE_FIXED_FILE) != 0 || has_flag(entry, MSG_OOB)) {
        return false;
    }
    int type = 0;
    socklen_t length = sizeof(type);
    return ::getsockopt(entry.fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
           type == SOCK_STREAM;
}

bool is_unix_socket(const io_uring_sqe& entry) noexcept {
    int domain = 0;
    socklen_t length = sizeof(domain);
    return (entry.flags & IOSQE_FIXED_FILE) == 0 &&
           ::getsockopt(entry.fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
           domain == AF_UNIX;
}

bool can_be_sent_short(const io_uring_sqe& entry) noexcept {
    return (!skips_success(entry) || has_flag(entry, MSG_WAITALL)) &&
           is_stream(entry);
}

bool ends_by_itself(const io_uring_sqe& entry) noexcept {
    switch (entry.opcode) {
        case IORING_OP_READ:
        case IORING_OP_WRITE: return is_regular_file(entry.fd);
        case IORING_OP_OPENAT:
        case IORING_OP_FSYNC:
        case IORING_OP_FADVISE:
        case IORING_OP_CLOSE:
        case IORING_OP_NOP: return true;
        default: return false;
    }
}

bool is_carried_out_with(const io_uring_sqe& entry, int error) noexcept {
    return entry.opcode == IORING_OP_CLOSE && !skips_success(entry) && error != ECANCELED;
}

void make_one_shot(io_uring_sqe& entry) noexcept {
    if (entry.opcode == IORING_OP_ACCEPT) {
        entry.ioprio = static_cast<__u16>(entry.ioprio & ~IORING_ACCEPT_MULTISHOT);
    } else if (entry.opcode == IORING_OP_POLL_ADD) {
        entry.len &= ~IORING_POLL_ADD_MULTI;
    } else {
        entry.ioprio = static_cast<__u16>(entry.ioprio & ~IORING_RECV_MULTISHOT);
        if (const unsigned limit = std::exchange(total_limit(entry), 0); limit != 0) {
            entry.len = entry.len == 0 ? limit : std::min(entry.len, limit);
        }
    }
}

}  // namespace rondo::inline v0::testing::entry_kind
