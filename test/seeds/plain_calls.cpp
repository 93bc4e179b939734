#include <seeds/plain_calls.hpp>

#include <algorithm>
#include <cerrno>

#include <signal.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace rondo::test {

namespace {

constexpr int interrupted[] = {EINTR};
constexpr int interrupted_or_full[] = {EINTR, EAGAIN};
// What sendfile(2) refuses is read and sent.
constexpr int unnoticed_of_file[] = {EINTR, EAGAIN, EINVAL};
// It is a question; without an answer the bytes are read ahead.
constexpr int unanswered[] = {EINTR, EAGAIN, EOPNOTSUPP, EINVAL, EIO, ENOMEM, EBADF, EFAULT,
                              ESPIPE, ENXIO, EOVERFLOW, EISDIR};
// accept(2): of the connection and not of the listener.
constexpr int of_connection[] = {EINTR,     ECONNABORTED, EPROTO,       ENOPROTOOPT, ENETDOWN,
                                 EHOSTDOWN, ENONET,       EHOSTUNREACH, ENETUNREACH};

// send(2), tcp(7), udp(7), unix(7)
constexpr int sending[] = {EACCES,   EALREADY, EBADF,  ECONNRESET, EFAULT,    EINVAL,
                           EISCONN,  EMSGSIZE, EDESTADDRREQ, ENOBUFS, ENOMEM, ENOTCONN,
                           ENOTSOCK, EOPNOTSUPP, EPIPE, ENETDOWN,  EPERM,     ETIMEDOUT,
                           EHOSTDOWN, ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, ETOOMANYREFS};
// sendfile(2), and what the socket has to say
constexpr int sending_file[] = {EBADF,  EFAULT,    EIO,     ENOMEM, EPIPE,
                                ESPIPE, EOVERFLOW, ENOBUFS, EPERM,  ECONNRESET, ETIMEDOUT};
// read(2), pread(2)
constexpr int reading[] = {EBADF, EFAULT, EINVAL, EIO, EISDIR, ENXIO, EOVERFLOW, ESPIPE, ENOMEM};
// recv(2), tcp(7), udp(7). EAGAIN is left out here and below: it says that nothing is there, and
// an edge-triggered epoll tells no more of what is.
constexpr int receiving[] = {EBADF,     ECONNREFUSED, ECONNRESET, EFAULT,   EINVAL,
                             ENOMEM,    ENOTCONN,     ENOTSOCK,   ETIMEDOUT, EHOSTUNREACH,
                             ENETDOWN,  EPIPE,        ENOBUFS,    EPERM};
constexpr int accepting[] = {EBADF,  EFAULT, EINVAL,   EMFILE,     ENFILE,
                             ENOBUFS, ENOMEM, ENOTSOCK, EOPNOTSUPP, EPERM};
// epoll_ctl(2), of what can come of a right call
constexpr int watching[] = {ENOMEM, ENOSPC};

struct call_kind {
    std::string_view name;
    std::span<const int> unnoticed;
    std::span<const int> noticed;
    bool can_be_cut = false;
};

constexpr std::array<call_kind, plain_call_count> calls{{
    {"sendto", interrupted_or_full, sending},
    {"sendmsg", interrupted_or_full, sending},
    {"sendfile", unnoticed_of_file, sending_file, true},
    {"send", interrupted_or_full, sending, true},
    {"pread", interrupted_or_full, reading, true},
    {"preadv2", unanswered, {}},
    {"recvmsg", interrupted, receiving},
    {"recv", interrupted, receiving},
    {"accept4", of_connection, accepting},
    {"epoll_ctl", {}, watching},
    {"epoll_wait", interrupted, {}},
}};

const call_kind& kind_of(plain_call call) noexcept {
    return calls[static_cast<std::size_t>(call)];
}

thread_local plain_faults* faults_here = nullptr;

bool is_of_type(int descriptor, int wanted) noexcept {
    int type = 0;
    socklen_t length = sizeof(type);
    return ::getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == wanted;
}

plain_faults::verdict judge(plain_call call, std::size_t size) noexcept {
    return faults_here == nullptr ? plain_faults::verdict{0, size} : faults_here->judge(call, size);
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

std::string_view to_string(plain_call call) noexcept { return kind_of(call).name; }
std::span<const int> unnoticed_errors_of(plain_call call) noexcept {
    return kind_of(call).unnoticed;
}
std::span<const int> noticed_errors_of(plain_call call) noexcept { return kind_of(call).noticed; }
bool can_be_cut(plain_call call) noexcept { return kind_of(call).can_be_cut; }
bool is_made_by_epoll_alone(plain_call call) noexcept { return call >= plain_call::recv; }

bool goes_unnoticed(const plain_rule& rule, bool uring) noexcept {
    if (rule.error == 0 || (uring && rule.call == plain_call::recvmsg)) return true;
    return std::ranges::count(unnoticed_errors_of(rule.call), rule.error) != 0;
}

plain_faults::verdict plain_faults::part_of(std::size_t size) noexcept {
    const auto bound = static_cast<unsigned>(std::min<std::size_t>(size - 1, 4096));
    return {0, 1 + source_.below(bound)};
}

int plain_faults::one_of(std::span<const int> errors) noexcept {
    ++injected_;
    return errors[source_.below(static_cast<unsigned>(errors.size()))];
}

plain_faults::verdict plain_faults::judge_by_rule(plain_call call, std::size_t size) noexcept {
    const bool needs_refusal =
        rule_->call == plain_call::send || rule_->call == plain_call::pread;
    if (needs_refusal && call == plain_call::sendfile) return {EINVAL, size};
    const bool meant =
        call == rule_->call && seen_[static_cast<std::size_t>(call)] == rule_->nth;
    if (!meant || (rule_->error == 0 && size < 2)) return {0, size};
    ++injected_;
    return rule_->error != 0 ? verdict{rule_->error, size} : part_of(size);
}

plain_faults::verdict plain_faults::judge(plain_call call, std::size_t size) noexcept {
    ++seen_[static_cast<std::size_t>(call)];
    if (rule_) return judge_by_rule(call, size);
    // How often an engine looks depends on other threads: drawn, it would keep runs from repeating.
    if (call == plain_call::epoll_wait) return {0, size};
    const auto strikes = [this](unsigned chance) {
        return chance != 0 && source_.below(1000) < chance;
    };
    const call_kind& kind = kind_of(call);
    if (!kind.noticed.empty() && strikes(noticed_)) return {one_of(kind.noticed), size};
    if (kind.unnoticed.empty() || !strikes(unnoticed_)) return {0, size};
    // A datagram cannot be cut: a part of it would be lost.
    if (kind.can_be_cut && size > 1 && source_.coin()) {
        ++injected_;
        return part_of(size);
    }
    return {one_of(kind.unnoticed), size};
}

plain_faults_here::plain_faults_here(plain_faults& faults) noexcept { faults_here = &faults; }
plain_faults_here::~plain_faults_here() { faults_here = nullptr; }

}  // namespace rondo::test

// --- in place of the C library's -------------------------------------------------------------

using rondo::test::fail;
using rondo::test::judge;
using rondo::test::plain_call;

namespace {

constexpr std::size_t signal_set_size = 8;  // the kernel's own, not the C library's

}  // namespace

extern "C" ssize_t sendto(int descriptor, const void* data, std::size_t size, int flags,
                          const sockaddr* to, socklen_t length) {
    const auto ruled = judge(plain_call::sendto, descriptor, SOCK_DGRAM, size);
    if (ruled.error != 0) return fail(ruled.error);
    return ::syscall(SYS_sendto, descriptor, data, size, flags, to, length);
}

extern "C" ssize_t sendmsg(int descriptor, const msghdr* message, int flags) {
    const auto ruled = judge(plain_call::sendmsg, descriptor, SOCK_DGRAM, 0);
    if (ruled.error != 0) return fail(ruled.error);
    return ::syscall(SYS_sendmsg, descriptor, message, flags);
}

extern "C" ssize_t send(int descriptor, const void* data, std::size_t size, int flags) {
    const auto ruled = judge(plain_call::send, descriptor, SOCK_STREAM, size);
    if (ruled.error != 0) return fail(ruled.error);
    return ::syscall(SYS_sendto, descriptor, data, ruled.size, flags, nullptr, 0);
}

extern "C" ssize_t sendfile(int to, int from, off_t* offset, std::size_t size) noexcept {
    const auto ruled = judge(plain_call::sendfile, to, SOCK_STREAM, size);
    if (ruled.error != 0) return fail(ruled.error);
    return ::syscall(SYS_sendfile, to, from, offset, ruled.size);
}

extern "C" ssize_t pread(int descriptor, void* data, std::size_t size, off_t offset) {
    const auto ruled = judge(plain_call::pread, size);
    if (ruled.error != 0) return fail(ruled.error);
    return ::syscall(SYS_pread64, descriptor, data, ruled.size, offset);
}

// At the position of its own only a pipe or a terminal is read: that is the epoll engine's.
extern "C" ssize_t preadv2(int descriptor, const iovec* parts, int count, off_t offset,
                           int flags) {
    if (offset >= 0) {
        const auto ruled = judge(plain_call::preadv2, 0);
        if (ruled.error != 0) return fail(ruled.error);
    }
    return ::syscall(SYS_preadv2, descriptor, parts, count, offset, 0L, flags);
}

extern "C" ssize_t recvmsg(int descriptor, msghdr* message, int flags) {
    const auto ruled = judge(plain_call::recvmsg, 0);
    if (ruled.error != 0) return fail(ruled.error);
    return ::syscall(SYS_recvmsg, descriptor, message, flags);
}

extern "C" ssize_t recv(int descriptor, void* data, std::size_t size, int flags) {
    const auto ruled = judge(plain_call::recv, 0);
    if (ruled.error != 0) return fail(ruled.error);
    return ::syscall(SYS_recvfrom, descriptor, data, size, flags, nullptr, nullptr);
}

extern "C" int accept4(int descriptor, sockaddr* from, socklen_t* length, int flags) {
    const auto ruled = judge(plain_call::accept4, 0);
    if (ruled.error != 0) return static_cast<int>(fail(ruled.error));
    return static_cast<int>(::syscall(SYS_accept4, descriptor, from, length, flags));
}

extern "C" int epoll_ctl(int epoll, int what, int descriptor, epoll_event* event) noexcept {
    if (what != EPOLL_CTL_DEL) {
        const auto ruled = judge(plain_call::epoll_ctl, 0);
        if (ruled.error != 0) return static_cast<int>(fail(ruled.error));
    }
    return static_cast<int>(::syscall(SYS_epoll_ctl, epoll, what, descriptor, event));
}

extern "C" int epoll_wait(int epoll, epoll_event* events, int most, int timeout) {
    const auto ruled = judge(plain_call::epoll_wait, 0);
    if (ruled.error != 0) return static_cast<int>(fail(ruled.error));
    return static_cast<int>(
        ::syscall(SYS_epoll_pwait, epoll, events, most, timeout, nullptr, signal_set_size));
}

extern "C" int epoll_pwait2(int epoll, epoll_event* events, int most, const timespec* timeout,
                            const sigset_t* mask) {
    const auto ruled = judge(plain_call::epoll_wait, 0);
    if (ruled.error != 0) return static_cast<int>(fail(ruled.error));
    return static_cast<int>(
        ::syscall(SYS_epoll_pwait2, epoll, events, most, timeout, mask, signal_set_size));
}
