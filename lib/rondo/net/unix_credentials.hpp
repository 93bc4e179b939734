// Who is at the other end of a Unix socket, and the option that has it told with each message.
#pragma once

#include <rondo/net/socket_option.hpp>

#include <sys/types.h>

#include <system_error>

namespace rondo::inline v0 {

/// Who was at the other end when the connection was made (SO_PEERCRED, unix(7)) or who sent a
/// datagram (SCM_CREDENTIALS), as this process sees them: a user or process of another namespace
/// may appear as nobody, or as process 0.
struct unix_credentials {
    pid_t pid;
    uid_t uid;
    gid_t gid;

    friend bool operator==(const unix_credentials&, const unix_credentials&) = default;
};

/// Has the kernel tell the sender's credentials with each datagram (SO_PASSCRED, unix(7)):
/// unix_datagram_socket::recv_descriptors() returns them. What was sent before is from process 0
/// and from nobody. A socket that has it on and no name gets an abstract one when it sends.
struct pass_credentials {
    static constexpr const char* title = "pass_credentials";
    bool enabled = true;

    [[nodiscard]] std::error_code apply(int fd) const noexcept;
    static pass_credentials read(int fd);
    friend bool operator==(const pass_credentials&, const pass_credentials&) = default;
};

}  // namespace rondo::inline v0
