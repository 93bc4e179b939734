// The entry of sendmsg(2) and recvmsg(2).
#pragma once

#include <cstdint>

struct io_uring_sqe;  // <linux/io_uring.h>
struct msghdr;        // <sys/socket.h>

namespace rondo::inline v0::detail {

/// `opcode` is IORING_OP_SENDMSG or _RECVMSG, `flags` are MSG_*. The message must live until the
/// request has completed.
void fill_entry(io_uring_sqe& entry, std::uint8_t opcode, int descriptor, const ::msghdr& message,
                int flags) noexcept;

}  // namespace rondo::inline v0::detail
