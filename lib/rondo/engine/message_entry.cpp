#include <rondo/engine/message_entry.hpp>

#include <liburing.h>

namespace rondo::inline v0::detail {

void fill_entry(io_uring_sqe& entry, std::uint8_t opcode, int descriptor, const ::msghdr& message,
                int flags) noexcept {
    entry = {};
    entry.opcode = opcode;
    entry.fd = descriptor;
    entry.addr = reinterpret_cast<std::uint64_t>(&message);
    entry.len = 1;
    entry.msg_flags = static_cast<std::uint32_t>(flags);
}

}  // namespace rondo::inline v0::detail
