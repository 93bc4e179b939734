// Descriptors in what recvmsg(2) wrote beside the bytes.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

namespace rondo::inline v0::detail {

/// Calls `take` with each descriptor of the control messages, cmsg(3), in their order. One that is
/// cut off at the end is not there; nothing beyond the end is looked at, whatever a length says.
template <typename Take>
void each_descriptor(std::span<const std::byte> control, Take take) {
    while (control.size() >= CMSG_LEN(0)) {
        cmsghdr header;
        std::memcpy(&header, control.data(), sizeof header);
        if (header.cmsg_len < CMSG_LEN(0)) return;
        const std::size_t end = std::min<std::size_t>(header.cmsg_len, control.size());
        if (header.cmsg_level == SOL_SOCKET && header.cmsg_type == SCM_RIGHTS) {
            for (std::size_t at = CMSG_LEN(0); at + sizeof(int) <= end; at += sizeof(int)) {
                int descriptor = -1;
                std::memcpy(&descriptor, control.data() + at, sizeof descriptor);
                take(descriptor);
            }
        }
        if (end == control.size()) return;
        control = control.subspan(std::min(CMSG_ALIGN(end), control.size()));
    }
}

}  // namespace rondo::inline v0::detail
