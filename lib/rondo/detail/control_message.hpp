// Descriptors and credentials in what recvmsg(2) wrote beside the bytes.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>

namespace rondo::inline v0::detail {

/// Calls `take` with the header and the payload of each control message, cmsg(3), in their order.
/// Nothing beyond the end is looked at, whatever a length says.
template <typename Take>
void each_control_message(std::span<const std::byte> control, Take take) {
    while (control.size() >= CMSG_LEN(0)) {
        cmsghdr header;
        std::memcpy(&header, control.data(), sizeof header);
        if (header.cmsg_len < CMSG_LEN(0)) return;
        const std::size_t end = std::min<std::size_t>(header.cmsg_len, control.size());
        take(header, control.first(end).subspan(CMSG_LEN(0)));
        if (end == control.size()) return;
        control = control.subspan(std::min(CMSG_ALIGN(end), control.size()));
    }
}

/// Calls `take` with each descriptor. One that is cut off at the end is not there.
template <typename Take>
void each_descriptor(std::span<const std::byte> control, Take take) {
    each_control_message(control, [&take](const cmsghdr& header, auto payload) {
        if (header.cmsg_level != SOL_SOCKET || header.cmsg_type != SCM_RIGHTS) return;
        for (; payload.size() >= sizeof(int); payload = payload.subspan(sizeof(int))) {
            int descriptor = -1;
            std::memcpy(&descriptor, payload.data(), sizeof descriptor);
            take(descriptor);
        }
    });
}

/// The sender's credentials; none where they are cut off.
inline std::optional<ucred> find_credentials(std::span<const std::byte> control) {
    std::optional<ucred> found;
    each_control_message(control, [&found](const cmsghdr& header, auto payload) {
        if (header.cmsg_level != SOL_SOCKET || header.cmsg_type != SCM_CREDENTIALS) return;
        if (payload.size() < sizeof(ucred)) return;
        std::memcpy(&found.emplace(), payload.data(), sizeof(ucred));
    });
    return found;
}

}  // namespace rondo::inline v0::detail
