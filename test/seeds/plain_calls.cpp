#include <seeds/plain_calls.hpp>

#include <algorithm>
#include <cerrno>

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace rondo::test {

namespace {

// send(2), tcp(7), udp(7), unix(7)
constexpr int sending[] = {EINTR,    EAGAIN,   EACCES,   EALREADY,   EBADF,        ECONNRESET,
                           EFAULT,   EINVAL,   EISCONN,  EMSGSIZE,   EDESTADDRREQ, ENOBUFS,
                           ENOMEM,   ENOTCONN, ENOTSOCK, EOPNOTSUPP, EPIPE,        ENETDOWN,
                           EPERM,    ETIMEDOUT, EHOSTDOWN, ECONNREFUSED, ENETUNREACH, EHOSTUNREACH,
                           ETOOMANYREFS};
// sendfile(2), and what the socket has to say
constexpr int sending_file[] = {EINTR, EAGAIN, EINVAL,    EBADF,  EFAULT, EIO,        ENOMEM,
                                EPIPE, ESPIPE, EOVERFLOW, ENOBUFS, EPERM, ECONNRESET, ETIMEDOUT};

thread_local plain_faults* faults_here = nullptr;

bool is_of_type(int descriptor, int wanted) noexcept {
    int type = 0;
    socklen_t length = sizeof(type);
    return ::getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == wanted;
}

plain_faults::verdict judge(plain_call call, int descriptor, int type, std::size_t size) noexcept {
    if (faults_here == nullptr || !is_of_type(descriptor, type)) return {0, size};
    return faults_here->judge(call, size);
}

long fail(int error) noexcept {
    errno = error;
    return -1;
}

}  // namespace

std::string_view to_string(plain_call call) noexcept {
    constexpr std::array<std::string_view, plain_call_count> names{"sendto", "sendmsg", "sendfile",
                                                                   "send"};
    return names[static_cast<std::size_t>(call)];
}

std::span<const int> errors_of(plain_call call) noexcept {
    return call == plain_call::sendfile ? std::span<const int>(sending_file)
                                        : std::span<const int>(sending);
}

bool goes_unnoticed(plain_call call, int error) noexcept {
    // What sendfile(2) refuses is read and sent.
    return error == 0 || error == EINTR || error == EAGAIN ||
           (error == EINVAL && call == plain_call::sendfile);
}

plain_faults::verdict plain_faults::part_of(std::size_t size) noexcept {
    const auto bound = static_cast<unsigned>(std::min<std::size_t>(size - 1, 4096));
    return {0, 1 + source_.below(bound)};
}

plain_faults::verdict plain_faults::judge_by_rule(plain_call call, std::size_t size) noexcept {
    if (rule_->call == plain_call::send && call == plain_call::sendfile) return {EINVAL, size};
    const bool meant =
        call == rule_->call && seen_[static_cast<std::size_t>(call)] == rule_->nth;
    if (!meant || (rule_->error == 0 && size < 2)) return {0, size};
    ++injected_;
    return rule_->error != 0 ? verdict{rule_->error, size} : part_of(size);
}

plain_faults::verdict plain_faults::judge(plain_call call, std::size_t size) noexcept {
    ++seen_[static_cast<std::size_t>(call)];
    if (rule_) return judge_by_rule(call, size);
    const auto strikes = [this](unsigned chance) {
        return chance != 0 && source_.below(1000) < chance;
    };
    if (strikes(noticed_)) {
        const std::span<const int> all = errors_of(call);
        ++injected_;
        return {all[source_.below(static_cast<unsigned>(all.size()))], size};
    }
    if (!strikes(unnoticed_)) return {0, size};
    // A datagram cannot be cut: a part of it would be lost.
    const bool cuts = (call == plain_call::sendfile || call == plain_call::send) && size > 1;
    ++injected_;
    if (cuts && source_.coin()) return part_of(size);
    return {source_.coin() ? EINTR : EAGAIN, size};
}

plain_faults_here::plain_faults_here(plain_faults& faults) noexcept { faults_here = &faults; }
plain_faults_here::~plain_faults_here() { faults_here = nullptr; }

}  // namespace rondo::test

// --- in place of the C library's -------------------------------------------------------------

using rondo::test::plain_call;

extern "C" ssize_t sendto(int descriptor, const void* data, std::size_t size, int flags,
                          const sockaddr* to, socklen_t length) {
    const auto ruled = rondo::test::judge(plain_call::sendto, descriptor, SOCK_DGRAM, size);
    if (ruled.error != 0) return rondo::test::fail(ruled.error);
    return ::syscall(SYS_sendto, descriptor, data, size, flags, to, length);
}

extern "C" ssize_t sendmsg(int descriptor, const msghdr* message, int flags) {
    const auto ruled = rondo::test::judge(plain_call::sendmsg, descriptor, SOCK_DGRAM, 0);
    if (ruled.error != 0) return rondo::test::fail(ruled.error);
    return ::syscall(SYS_sendmsg, descriptor, message, flags);
}

extern "C" ssize_t send(int descriptor, const void* data, std::size_t size, int flags) {
    const auto ruled = rondo::test::judge(plain_call::send, descriptor, SOCK_STREAM, size);
    if (ruled.error != 0) return rondo::test::fail(ruled.error);
    return ::syscall(SYS_sendto, descriptor, data, ruled.size, flags, nullptr, 0);
}

extern "C" ssize_t sendfile(int to, int from, off_t* offset, std::size_t size) noexcept {
    const auto ruled = rondo::test::judge(plain_call::sendfile, to, SOCK_STREAM, size);
    if (ruled.error != 0) return rondo::test::fail(ruled.error);
    return ::syscall(SYS_sendfile, to, from, offset, ruled.size);
}
