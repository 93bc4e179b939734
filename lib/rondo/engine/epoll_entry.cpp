#include <rondo/engine/epoll_entry.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <limits>

#include <sys/epoll.h>
#include <sys/socket.h>

#include <liburing.h>

namespace rondo::inline v0::detail {

namespace {

constexpr std::uint32_t all_poll_bits = 0x7fff;

int check_receive(epoll_operation& operation, const io_uring_sqe& entry) noexcept {
    if (entry.ioprio & ~(IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT)) return EINVAL;
    const bool selects = (entry.flags & IOSQE_BUFFER_SELECT) != 0;
    const bool all = operation.has_flag(MSG_WAITALL);
    operation.multishot = (entry.ioprio & IORING_RECV_MULTISHOT) != 0;
    if (operation.multishot && !selects) return EINVAL;
    if (selects && all) return EINVAL;
    // From 6.17 this field is `optlen`.
    operation.limit = entry.file_index;
    const bool limits = operation.multishot && entry.opcode == IORING_OP_RECV;
    return operation.limit != 0 && !limits ? EINVAL : 0;
}

/// Of a message that goes into a selected buffer: its length, 0 for all of the buffer, and for a
/// multishot how much of that name and control data get.
int check_message(epoll_operation& operation) noexcept {
    const ::msghdr& message = *pointer<const ::msghdr>(operation.address);
    if (message.msg_iovlen > 1) return EINVAL;
    const std::size_t length = message.msg_iovlen == 0 ? 0 : message.msg_iov[0].iov_len;
    constexpr std::size_t most = std::numeric_limits<std::int32_t>::max();
    operation.length = static_cast<std::uint32_t>(std::min(length, most));
    if (!operation.multishot) return 0;
    if (message.msg_namelen > most || message.msg_controllen > most) return EOVERFLOW;
    operation.address2 = std::uint64_t{message.msg_namelen} << 32 | message.msg_controllen;
    return 0;
}

int check_poll(epoll_operation& operation, const io_uring_sqe& entry) noexcept {
    if (entry.len & ~IORING_POLL_ADD_MULTI) return EINVAL;
    operation.multishot = (entry.len & IORING_POLL_ADD_MULTI) != 0;
    if (operation.multishot && (entry.flags & IOSQE_CQE_SKIP_SUCCESS) != 0) return EINVAL;
    std::uint32_t events = entry.poll32_events;
    if constexpr (std::endian::native == std::endian::big) events = std::rotl(events, 16);
    // A stream's end is told unasked, as the kernel does it.
    operation.flags = (events & all_poll_bits) | EPOLLERR | EPOLLHUP | EPOLLRDHUP;
    return 0;
}

}  // namespace

bool is_refused(const io_uring_sqe& entry, feature_set features) noexcept {
    // Asking for a worker thread asks for nothing that could be seen.
    constexpr unsigned understood = IOSQE_ASYNC | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
    if ((entry.flags & ~understood) != 0) return true;
    if ((entry.flags & IOSQE_CQE_SKIP_SUCCESS) != 0 && !features.has(feature::skip_success)) {
        return true;
    }
    switch (entry.opcode) {
        case IORING_OP_RECV:
        case IORING_OP_RECVMSG:
            if ((entry.ioprio & IORING_RECV_MULTISHOT) == 0) return false;
            if (!features.has(feature::multishot_recv)) return true;
            return entry.file_index != 0 && !features.has(feature::receive_limit);
        case IORING_OP_ACCEPT:
            return (entry.ioprio & IORING_ACCEPT_MULTISHOT) != 0 &&
                   !features.has(feature::multishot_accept);
        case IORING_OP_POLL_ADD:
            return (entry.len & IORING_POLL_ADD_MULTI) != 0 &&
                   !features.has(feature::multishot_poll);
        default: return false;
    }
}

int fill(epoll_operation& operation, const io_uring_sqe& entry) noexcept {
    operation.user_data = entry.user_data;
    operation.address = entry.addr;
    operation.address2 = entry.off;
    operation.descriptor = entry.fd;
    operation.length = entry.len;
    operation.flags = entry.msg_flags;
    operation.group = entry.buf_group;
    operation.opcode = entry.opcode;
    operation.entry_flags = entry.flags;
    const bool selects = (entry.flags & IOSQE_BUFFER_SELECT) != 0;
    const bool receives = entry.opcode == IORING_OP_RECV || entry.opcode == IORING_OP_RECVMSG;
    if (selects && !receives) return EOPNOTSUPP;
    switch (entry.opcode) {
        case IORING_OP_RECVMSG:
            if (const int error = check_receive(operation, entry); error != 0) return error;
            return selects ? check_message(operation) : 0;
        case IORING_OP_RECV: return check_receive(operation, entry);
        case IORING_OP_POLL_ADD: return check_poll(operation, entry);
        case IORING_OP_ACCEPT:
            operation.multishot = (entry.ioprio & IORING_ACCEPT_MULTISHOT) != 0;
            return entry.ioprio & ~IORING_ACCEPT_MULTISHOT || entry.file_index != 0 ? EINVAL : 0;
        case IORING_OP_CONNECT: return entry.ioprio != 0 ? EINVAL : 0;
        case IORING_OP_READ:
        case IORING_OP_WRITE: return entry.ioprio != 0 || entry.rw_flags != 0 ? EINVAL : 0;
        case IORING_OP_SEND:
            // Here the length of the destination, which itself is in addr2.
            operation.limit = entry.addr_len;
            [[fallthrough]];
        default: return entry.ioprio & ~IORING_RECVSEND_POLL_FIRST ? EINVAL : 0;
    }
}

}  // namespace rondo::inline v0::detail
