#include <rondo/testing/kernel_errors.hpp>

#include <cerrno>

#include <linux/io_uring.h>

namespace rondo::inline v0::testing {

namespace {

// accept(2): those from ENETDOWN on are errors of the connection that waited, not of the listener.
constexpr int accepting[] = {EAGAIN,     EBADF,    ECONNABORTED, EFAULT,  EINTR,       EINVAL,
                             EMFILE,     ENFILE,   ENOBUFS,      ENOMEM,  ENOTSOCK,    EPERM,
                             EOPNOTSUPP, ECANCELED, ENETDOWN,    EPROTO,  ENOPROTOOPT, EHOSTDOWN,
                             ENONET,     EHOSTUNREACH, ENETUNREACH};

// connect(2), tcp(7), unix(7)
constexpr int connecting[] = {EACCES,  EPERM,     EADDRINUSE,   EADDRNOTAVAIL, EAFNOSUPPORT,
                              EAGAIN,  EALREADY,  EBADF,        ECONNREFUSED,  EFAULT,
                              EINTR,   EISCONN,   ENETUNREACH,  ENOTSOCK,      EPROTOTYPE,
                              EINVAL,  ETIMEDOUT, EHOSTUNREACH, ECONNRESET,    ENOMEM,
                              ENOBUFS, ENOENT,    EHOSTDOWN,    ENETDOWN,      ECANCELED};

// recv(2), tcp(7), udp(7)
constexpr int receiving[] = {EAGAIN,    EBADF,      ECONNREFUSED, ECONNRESET, EFAULT,
                             EINTR,     EINVAL,     ENOMEM,       ENOTCONN,   ENOTSOCK,
                             ETIMEDOUT, ECANCELED,  EHOSTUNREACH, ENETDOWN,   EPIPE,
                             ENOBUFS,   EPERM};

// send(2), tcp(7), udp(7)
constexpr int sending[] = {EACCES,   EAGAIN,       EALREADY,  EBADF,     ECONNRESET, EDESTADDRREQ,
                           EFAULT,   EINTR,        EINVAL,    EISCONN,   EMSGSIZE,   ENOBUFS,
                           ENOMEM,   ENOTCONN,     ENOTSOCK,  EOPNOTSUPP, EPIPE,     ETIMEDOUT,
                           ENETDOWN, ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, EPERM, EHOSTDOWN,
                           ETOOMANYREFS, ECANCELED};

constexpr int polling[] = {EBADF, EFAULT, EINVAL, ENOMEM, ECANCELED};

constexpr int reading[] = {EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR, ENOMEM, ECANCELED};

constexpr int writing[] = {EAGAIN, EBADF,  EDESTADDRREQ, EDQUOT, EFAULT, EFBIG,  EINTR,
                           EINVAL, EIO,    ENOSPC,       EPERM,  EPIPE,  ENOMEM, ECANCELED};

constexpr int opening[] = {EACCES, EAGAIN, EBUSY,  EDQUOT,       EEXIST,     EFAULT,    EFBIG,
                           EINTR,  EINVAL, EISDIR, ELOOP,        EMFILE,     ENAMETOOLONG,
                           ENFILE, ENODEV, ENOENT, ENOMEM,       ENOSPC,     ENOTDIR,   ENXIO,
                           EOPNOTSUPP, EOVERFLOW,  EPERM,        EROFS,      ETXTBSY,   ECANCELED};

constexpr int syncing[] = {EBADF, EDQUOT, EINTR, EINVAL, EIO, ENOSPC, EROFS, ENOMEM, ECANCELED};

constexpr int closing[] = {EBADF, EDQUOT, EINTR, EIO, ENOSPC, ECANCELED};

constexpr int advising[] = {EBADF, EINVAL, ESPIPE, ENOMEM, ECANCELED};

constexpr int nothing[] = {ENOMEM, ECANCELED};

}  // namespace

std::span<const int> kernel_errors(std::uint8_t opcode) noexcept {
    switch (opcode) {
        case IORING_OP_ACCEPT: return accepting;
        case IORING_OP_CONNECT: return connecting;
        case IORING_OP_RECV:
        case IORING_OP_RECVMSG: return receiving;
        case IORING_OP_SEND:
        case IORING_OP_SENDMSG:
        case IORING_OP_SEND_ZC: return sending;
        case IORING_OP_POLL_ADD: return polling;
        case IORING_OP_READ: return reading;
        case IORING_OP_WRITE: return writing;
        case IORING_OP_OPENAT: return opening;
        case IORING_OP_FSYNC: return syncing;
        case IORING_OP_CLOSE: return closing;
        case IORING_OP_FADVISE: return advising;
        case IORING_OP_NOP: return nothing;
        default: return {};
    }
}

}  // namespace rondo::inline v0::testing
