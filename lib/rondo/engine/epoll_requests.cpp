#include <rondo/engine/epoll_requests.hpp>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <climits>
#include <cstring>
#include <limits>
#include <new>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <liburing.h>

namespace rondo::inline v0::detail {

namespace {

constexpr std::uint32_t any_failure = EPOLLERR | EPOLLHUP;
constexpr std::uint32_t transfer_events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI;
constexpr std::uint32_t all_poll_bits = 0x7fff;

std::uint64_t tag_of(int number, const epoll_descriptor& descriptor) noexcept {
    return std::uint64_t{descriptor.generation} << 32 | static_cast<std::uint32_t>(number);
}

template <class Pointee>
Pointee* pointer(std::uint64_t address) noexcept {
    return reinterpret_cast<Pointee*>(static_cast<std::uintptr_t>(address));
}

int message_flags(const epoll_operation& operation, int add) noexcept {
    return (static_cast<int>(operation.flags) & ~MSG_WAITALL) | MSG_DONTWAIT | add;
}

bool has_flag(const epoll_operation& operation, int flag) noexcept {
    return (operation.flags & static_cast<std::uint32_t>(flag)) != 0;
}

bool is_transfer(std::uint8_t opcode) noexcept {
    return opcode == IORING_OP_RECV || opcode == IORING_OP_SEND || opcode == IORING_OP_RECVMSG ||
           opcode == IORING_OP_SENDMSG;
}

std::size_t total_of(const ::msghdr& message) noexcept {
    std::size_t total = 0;
    for (std::size_t i = 0; i < message.msg_iovlen; ++i) total += message.msg_iov[i].iov_len;
    return total;
}

int check_receive(epoll_operation& operation, const io_uring_sqe& entry) noexcept {
    if (entry.ioprio & ~(IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT)) return EINVAL;
    const bool selects = (entry.flags & IOSQE_BUFFER_SELECT) != 0;
    const bool all = has_flag(operation, MSG_WAITALL);
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
    operation.flags = (events & all_poll_bits) | any_failure | EPOLLRDHUP;
    return 0;
}

/// Copies what is needed of the entry; an errno for one that makes no sense.
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

}  // namespace

// Beginning and ending

void epoll_requests::carry_out(const io_uring_sqe& entry) {
    if (is_refused(entry)) return completions_.post(entry.user_data, -EINVAL, 0);
    switch (entry.opcode) {
        case IORING_OP_RECV:
        case IORING_OP_SEND:
        case IORING_OP_ACCEPT:
        case IORING_OP_CONNECT:
        case IORING_OP_RECVMSG:
        case IORING_OP_SENDMSG:
        case IORING_OP_POLL_ADD: return start(entry);
        case IORING_OP_READ:
        case IORING_OP_WRITE: {
            const int takes = epoll_files::takes(entry.fd);
            called = true;
            if (takes < 0) return complete(entry, takes);
            return takes != 0 ? files_.start(entry) : start(entry);
        }
        case IORING_OP_OPENAT:
        case IORING_OP_FSYNC:
        case IORING_OP_FADVISE: called = true; return files_.start(entry);
        case IORING_OP_ASYNC_CANCEL: return cancel(entry);
        case IORING_OP_CLOSE: return close(entry);
        case IORING_OP_NOP: return complete(entry, 0);
        default: return complete(entry, -EINVAL);
    }
}

/// By what is true of every opcode, or for want of a feature.
bool epoll_requests::is_refused(const io_uring_sqe& entry) const noexcept {
    // Asking for a worker thread asks for nothing that could be seen.
    constexpr unsigned understood = IOSQE_ASYNC | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
    if ((entry.flags & ~understood) != 0) return true;
    if ((entry.flags & IOSQE_CQE_SKIP_SUCCESS) != 0 && !features_.has(feature::skip_success)) {
        return true;
    }
    switch (entry.opcode) {
        case IORING_OP_RECV:
        case IORING_OP_RECVMSG:
            if ((entry.ioprio & IORING_RECV_MULTISHOT) == 0) return false;
            if (!features_.has(feature::multishot_recv)) return true;
            return entry.file_index != 0 && !features_.has(feature::receive_limit);
        case IORING_OP_ACCEPT:
            return (entry.ioprio & IORING_ACCEPT_MULTISHOT) != 0 &&
                   !features_.has(feature::multishot_accept);
        case IORING_OP_POLL_ADD:
            return (entry.len & IORING_POLL_ADD_MULTI) != 0 &&
                   !features_.has(feature::multishot_poll);
        default: return false;
    }
}

void epoll_requests::start(const io_uring_sqe& entry) {
    epoll_descriptor* descriptor = descriptors_.find(entry.fd);
    epoll_operation* operation = nullptr;
    try {
        if (descriptor == nullptr) {
            // A number that means nothing must not size the table.
            called = true;
            if (::fcntl(entry.fd, F_GETFD) < 0) return complete(entry, -EBADF);
            descriptor = &descriptors_.make(entry.fd);
        }
        operation = &store_.acquire();
    } catch (const std::bad_alloc&) {
        return complete(entry, -ENOMEM);
    }
    if (const int error = fill(*operation, entry); error != 0) {
        fail(*operation, error);
        return store_.release(*operation);
    }
    // Who does not expect anything yet is spared a call in vain: to be added to epoll's set tells
    // of what is there all the same.
    const bool waits_first = is_transfer(entry.opcode) && descriptor->registered == 0 &&
                             (entry.ioprio & IORING_RECVSEND_POLL_FIRST) != 0 &&
                             !has_flag(*operation, MSG_DONTWAIT);
    const outcome result = waits_first || must_wait(*descriptor, *operation)
                               ? outcome::waiting
                               : attempt(*descriptor, *operation);
    if (result == outcome::finished) {
        store_.release(*operation);
        return forget_stream(*descriptor, entry.fd, entry.opcode);
    }
    if (result == outcome::interrupted) interrupt(*descriptor, entry.fd);
    park(*descriptor, *operation);
}

void epoll_requests::cancel(const io_uring_sqe& entry) {
    if ((entry.cancel_flags & ~IORING_ASYNC_CANCEL_ALL) != 0) return complete(entry, -EINVAL);
    const bool all = (entry.cancel_flags & IORING_ASYNC_CANCEL_ALL) != 0;
    int count = 0;
    while (epoll_operation* operation = store_.find(entry.addr)) {
        const int number = operation->descriptor;
        const std::uint8_t opcode = operation->opcode;
        epoll_descriptor& descriptor = *descriptors_.find(number);
        list_of(descriptor, *operation).remove(*operation);
        fail(*operation, ECANCELED);
        store_.release(*operation);
        forget_stream(descriptor, number, opcode);
        ++count;
        if (!all) return complete(entry, 0);
    }
    const int files = files_.cancel(entry.addr, all);
    if (all) return complete(entry, count + std::max(files, 0));
    complete(entry, std::min(files, 0));
}

void epoll_requests::close(const io_uring_sqe& entry) {
    if (entry.file_index != 0) return complete(entry, -EINVAL);
    if (epoll_descriptor* descriptor = descriptors_.find(entry.fd)) abandon(*descriptor, false);
    called = true;
    complete(entry, ::close(entry.fd) < 0 ? -errno : 0);
}

void epoll_requests::complete(const io_uring_sqe& entry, int result) {
    if (result >= 0 && (entry.flags & IOSQE_CQE_SKIP_SUCCESS) != 0) return;
    completions_.post(entry.user_data, result, 0);
}

void epoll_requests::complete(const epoll_operation& operation, std::int64_t result,
                              std::uint32_t flags) {
    if (result >= 0 && (operation.entry_flags & IOSQE_CQE_SKIP_SUCCESS) != 0) return;
    completions_.post(operation.user_data, static_cast<std::int32_t>(result), flags);
}

/// Bytes moved before the error are reported instead of it, as the kernel does; being short they
/// count as a failure, which IOSQE_CQE_SKIP_SUCCESS does not hide.
epoll_requests::outcome epoll_requests::fail(const epoll_operation& operation, int error) {
    const std::int32_t result =
        operation.done != 0 ? static_cast<std::int32_t>(operation.done) : -error;
    completions_.post(operation.user_data, result, 0);
    return outcome::finished;
}

/// One completion of many. False when it had to be the last: with a full queue a multishot
/// would fill the backlog without bound.
bool epoll_requests::deliver(const epoll_operation& operation, int result, std::uint32_t flags) {
    const bool more = completions_.room();
    completions_.post(operation.user_data, result, flags | (more ? IORING_CQE_F_MORE : 0));
    return more;
}

// Waiting

epoll_operation_list& epoll_requests::list_of(epoll_descriptor& descriptor,
                                              const epoll_operation& operation) noexcept {
    switch (operation.opcode) {
        case IORING_OP_POLL_ADD: return descriptor.pollers;
        case IORING_OP_READ:
        case IORING_OP_RECV:
        case IORING_OP_RECVMSG:
        case IORING_OP_ACCEPT: return descriptor.readers;
        default: return descriptor.writers;
    }
}

/// Whether trying now would be in vain or out of turn.
bool epoll_requests::must_wait(const epoll_descriptor& descriptor,
                               const epoll_operation& operation) noexcept {
    switch (operation.opcode) {
        case IORING_OP_POLL_ADD:
        case IORING_OP_CONNECT: return false;
        case IORING_OP_SEND:
        case IORING_OP_SENDMSG:
            if (has_flag(operation, MSG_DONTWAIT)) return false;
            return !descriptor.writable || !descriptor.writers.empty();
        case IORING_OP_WRITE: return !descriptor.writable || !descriptor.writers.empty();
        default:
            if (is_transfer(operation.opcode) && has_flag(operation, MSG_DONTWAIT)) return false;
            return !descriptor.readable || descriptor.interrupted || !descriptor.readers.empty();
    }
}

void epoll_requests::park(epoll_descriptor& descriptor, epoll_operation& operation) {
    // What epoll refuses, a regular file, never changes: it waits for what will not come, as the
    // kernel's own poll does.
    if (const int error = watch(descriptor, operation); error != 0 && error != EPERM) {
        fail(operation, error);
        return store_.release(operation);
    }
    list_of(descriptor, operation).push_back(operation);
    store_.add_to_index(operation);
}

/// Sees to it that epoll tells of what the operation waits for. What is ready already when a
/// descriptor is added comes as an event: nothing is missed between EAGAIN and here.
int epoll_requests::watch(epoll_descriptor& descriptor, const epoll_operation& operation) {
    std::uint32_t wanted = transfer_events | any_failure;
    if (operation.opcode == IORING_OP_POLL_ADD) wanted = operation.flags | any_failure;
    if (operation.opcode == IORING_OP_ACCEPT) wanted = EPOLLIN | any_failure;
    if ((descriptor.registered & wanted) == wanted) return 0;

    const std::uint32_t events = descriptor.registered | wanted;
    ::epoll_event event{};
    event.events = events | EPOLLET;
    event.data.u64 = tag_of(operation.descriptor, descriptor);
    // A duplicate elsewhere can keep a registration alive past the close of its number, and a
    // caller can close a number without a word: either way the other call is the right one.
    const int first = descriptor.registered == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    called = true;
    ++control_calls;
    if (::epoll_ctl(epoll_, first, operation.descriptor, &event) < 0) {
        if (errno != EEXIST && errno != ENOENT) return errno;
        ++control_calls;
        const int second = first == EPOLL_CTL_ADD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
        if (::epoll_ctl(epoll_, second, operation.descriptor, &event) < 0) return errno;
    }
    descriptor.registered = events;
    return 0;
}

void epoll_requests::run(epoll_descriptor& descriptor, epoll_operation_list& list) {
    while (epoll_operation* operation = list.front()) {
        switch (attempt(descriptor, *operation)) {
            case outcome::finished: {
                const int number = operation->descriptor;
                const std::uint8_t opcode = operation->opcode;
                list.remove(*operation);
                store_.release(*operation);
                forget_stream(descriptor, number, opcode);
                break;
            }
            case outcome::interrupted: return interrupt(descriptor, operation->descriptor);
            case outcome::waiting: return;
        }
    }
}

void epoll_requests::run_pollers(epoll_descriptor& descriptor, std::uint32_t events) {
    for (epoll_operation* operation = descriptor.pollers.front(); operation != nullptr;) {
        epoll_operation& current = *operation;
        operation = current.next;
        const std::uint32_t mask = events & current.flags;
        if (mask == 0) continue;
        if (current.multishot) {
            if (deliver(current, static_cast<int>(mask), 0)) continue;
        } else {
            complete(current, mask);
        }
        descriptor.pollers.remove(current);
        store_.release(current);
    }
}

void epoll_requests::ready(std::uint64_t tag, std::uint32_t events) {
    if (tag == epoll_files::tag) return files_.reap();
    epoll_descriptor* descriptor = descriptors_.find(static_cast<int>(tag & 0xffffffffu));
    // An event of a number that has been closed since, from a duplicate that lives on.
    if (descriptor == nullptr || descriptor->generation != tag >> 32) return;
    constexpr std::uint32_t ends = EPOLLRDHUP | EPOLLPRI | any_failure;
    if ((events & ends) != 0) descriptor->eager = true;
    if ((events & (EPOLLIN | ends)) != 0) {
        descriptor->readable = true;
        // What was interrupted has had its share of this turn.
        if (!descriptor->interrupted) run(*descriptor, descriptor->readers);
    }
    if ((events & (EPOLLOUT | any_failure)) != 0) {
        descriptor->writable = true;
        run(*descriptor, descriptor->writers);
    }
    run_pollers(*descriptor, events);
}

void epoll_requests::interrupt(epoll_descriptor& descriptor, int number) {
    if (descriptor.interrupted) return;
    interrupted_.push_back(tag_of(number, descriptor));
    descriptor.interrupted = true;
}

void epoll_requests::resume() {
    for (const std::uint64_t tag : resuming_) {
        epoll_descriptor* descriptor = descriptors_.find(static_cast<int>(tag & 0xffffffffu));
        if (descriptor->generation != tag >> 32) continue;
        descriptor->interrupted = false;
        run(*descriptor, descriptor->readers);
    }
    resuming_.clear();
}

void epoll_requests::forget(int number) noexcept {
    epoll_descriptor* descriptor = descriptors_.find(number);
    if (descriptor == nullptr) return;
    assert(descriptor->readers.empty() && descriptor->writers.empty() &&
           descriptor->pollers.empty() && "a descriptor is forgotten while a request names it");
    if (descriptor->registered != 0) {
        ++control_calls;
        ::epoll_event unused{};
        static_cast<void>(::epoll_ctl(epoll_, EPOLL_CTL_DEL, number, &unused));
    }
    abandon(*descriptor, true);
}

/// The number is about to mean something else: its requests end, its knowledge goes.
void epoll_requests::abandon(epoll_descriptor& descriptor, bool later) {
    for (epoll_operation_list* list :
         {&descriptor.readers, &descriptor.writers, &descriptor.pollers}) {
        while (epoll_operation* operation = list->front()) {
            list->remove(*operation);
            if (later) {
                completions_.post_later(operation->user_data, -ECANCELED);
            } else {
                fail(*operation, ECANCELED);
            }
            store_.release(*operation);
        }
    }
    const std::uint32_t generation = descriptor.generation + 1;
    descriptor = epoll_descriptor{};
    descriptor.generation = generation;
}

// Carrying out

epoll_requests::outcome epoll_requests::attempt(epoll_descriptor& descriptor,
                                                epoll_operation& operation) {
    called = true;
    if ((operation.entry_flags & IOSQE_BUFFER_SELECT) != 0) {
        return receive_selected(descriptor, operation);
    }
    switch (operation.opcode) {
        case IORING_OP_RECV: return receive(descriptor, operation);
        case IORING_OP_SEND: return send(descriptor, operation);
        case IORING_OP_ACCEPT: return accept(descriptor, operation);
        case IORING_OP_CONNECT: return connect(descriptor, operation);
        case IORING_OP_POLL_ADD: return poll(descriptor, operation);
        case IORING_OP_READ:
        case IORING_OP_WRITE: return stream(descriptor, operation);
        default: return message(descriptor, operation);
    }
}

epoll_requests::outcome epoll_requests::accept(epoll_descriptor& descriptor,
                                               epoll_operation& operation) {
    for (unsigned count = 0; count < budget; ++count) {
        const int number = accept_one(descriptor, operation);
        if (number == -EAGAIN) {
            descriptor.readable = false;
            return outcome::waiting;
        }
        if (number < 0 || !operation.multishot) {
            complete(operation, number);
            return outcome::finished;
        }
        if (!deliver(operation, number, 0)) return outcome::finished;
    }
    return outcome::interrupted;
}

int epoll_requests::accept_one(epoll_descriptor& descriptor, const epoll_operation& operation) {
    using mode = epoll_descriptor::mode;
    if (descriptor.accepting == mode::unknown) {
        const int flags = ::fcntl(operation.descriptor, F_GETFL);
        if (flags < 0) return -errno;
        descriptor.accepting = (flags & O_NONBLOCK) != 0 ? mode::nonblocking : mode::blocking;
    }
    if (descriptor.accepting == mode::blocking) {
        ::pollfd waiting{operation.descriptor, POLLIN, 0};
        if (::poll(&waiting, 1, 0) == 0) return -EAGAIN;
    }
    const int number =
        ::accept4(operation.descriptor, pointer<::sockaddr>(operation.address),
                  pointer<::socklen_t>(operation.address2), static_cast<int>(operation.flags));
    if (number < 0) return -errno;
    // The number is new: whatever is known under it is not about this connection.
    if (epoll_descriptor* child = descriptors_.find(number)) {
        abandon(*child, false);
        child->kind = kind_of(descriptor, operation.descriptor);
    }
    return number;
}

epoll_requests::outcome epoll_requests::connect(epoll_descriptor& descriptor,
                                                epoll_operation& operation) {
    const int number = operation.descriptor;
    const int flags = ::fcntl(number, F_GETFL);
    if (flags < 0) return fail(operation, errno);
    const bool blocking = (flags & O_NONBLOCK) == 0;
    if (blocking) ::fcntl(number, F_SETFL, flags | O_NONBLOCK);
    const int result = ::connect(number, pointer<const ::sockaddr>(operation.address),
                                 static_cast<::socklen_t>(operation.address2));
    const int error = result < 0 ? errno : 0;
    if (blocking) ::fcntl(number, F_SETFL, flags);
    // The second call asks how the first one went; unlike SO_ERROR it also tells the kernel that
    // the outcome is known.
    if (error == EINPROGRESS || (error == EALREADY && operation.started)) {
        operation.started = true;
        descriptor.writable = false;
        return outcome::waiting;
    }
    complete(operation, -error);
    return outcome::finished;
}

epoll_requests::outcome epoll_requests::receive(epoll_descriptor& descriptor,
                                                epoll_operation& operation) {
    const bool all = has_flag(operation, MSG_WAITALL) && !has_flag(operation, MSG_PEEK);
    for (;;) {
        const std::size_t wanted = operation.length - operation.done;
        const ::ssize_t count =
            ::recv(operation.descriptor, pointer<std::byte>(operation.address) + operation.done,
                   wanted, message_flags(operation, 0));
        if (count < 0) return receive_failed(descriptor, operation, errno);
        const auto got = static_cast<std::size_t>(count);
        operation.done += static_cast<std::uint32_t>(got);
        const bool is_short = got < wanted;
        if (is_short && got != 0 && drained(descriptor, operation)) descriptor.readable = false;
        if (!all || !is_short) {
            complete(operation, operation.done);
            return outcome::finished;
        }
        if (got == 0 ||
            kind_of(descriptor, operation.descriptor) == epoll_descriptor::type::other) {
            return fail(operation, 0);
        }
        if (!descriptor.readable) return receive_failed(descriptor, operation, EAGAIN);
    }
}

epoll_requests::outcome epoll_requests::receive_selected(epoll_descriptor& descriptor,
                                                         epoll_operation& operation) {
    epoll_buffer_group* group = buffers_.find(operation.group);
    if (group == nullptr) return fail(operation, ENOBUFS);
    for (unsigned count = 0; count < budget; ++count) {
        const abi::buffer_slot* slot = group->front();
        if (slot == nullptr) return receive_without_buffer(descriptor, operation);
        bool last = !operation.multishot;
        const std::int64_t result =
            operation.opcode == IORING_OP_RECV ? fill_buffer(descriptor, operation, *slot, last)
            : operation.multishot              ? fill_framed(operation, *slot, last)
                                               : fill_message(operation, *slot);
        if (result < 0) return receive_failed(descriptor, operation, static_cast<int>(-result));
        if (result == 0) {
            complete(operation, 0);
            return outcome::finished;
        }
        const std::uint32_t flags = IORING_CQE_F_BUFFER | std::uint32_t{slot->id}
                                                              << IORING_CQE_BUFFER_SHIFT;
        group->pop_front();
        if (last) {
            complete(operation, result, flags);
            return outcome::finished;
        }
        if (!deliver(operation, static_cast<int>(result), flags)) return outcome::finished;
        if (!descriptor.readable) return outcome::waiting;
    }
    return outcome::interrupted;
}

/// One recv(2) into a buffer: the count, or a negated errno.
std::int64_t epoll_requests::fill_buffer(epoll_descriptor& descriptor, epoll_operation& operation,
                                         const abi::buffer_slot& slot, bool& last) {
    std::size_t wanted = slot.length;
    if (operation.length != 0) wanted = std::min<std::size_t>(wanted, operation.length);
    const ::ssize_t result = ::recv(operation.descriptor, pointer<void>(slot.address), wanted,
                                    message_flags(operation, 0));
    if (result < 0) return -errno;
    const auto got = static_cast<std::size_t>(result);
    if (got != 0 && got < wanted && drained(descriptor, operation)) descriptor.readable = false;
    if (operation.limit != 0) {
        // Reached, not cut: what the kernel has begun to receive it delivers.
        last = last || got >= operation.limit;
        operation.limit -= static_cast<std::uint32_t>(std::min<std::size_t>(got, operation.limit));
    }
    return result;
}

/// One recvmsg(2) with its payload in a buffer; name and control data go to the caller's.
std::int64_t epoll_requests::fill_message(const epoll_operation& operation,
                                          const abi::buffer_slot& slot) {
    std::size_t size = slot.length;
    if (operation.length != 0) size = std::min<std::size_t>(size, operation.length);
    ::iovec payload{pointer<void>(slot.address), size};
    ::msghdr& whole = *pointer<::msghdr>(operation.address);
    ::msghdr message = whole;
    message.msg_iov = &payload;
    message.msg_iovlen = 1;
    const ::ssize_t got = ::recvmsg(operation.descriptor, &message, message_flags(operation, 0));
    if (got < 0) return -errno;
    whole.msg_namelen = message.msg_namelen;
    whole.msg_controllen = message.msg_controllen;
    whole.msg_flags = message.msg_flags;
    return got;
}

/// The same for a multishot: header, name, control data and payload lie in the buffer one behind
/// the other (io_uring_prep_recvmsg_multishot(3)), and the result counts them all.
std::int64_t epoll_requests::fill_framed(const epoll_operation& operation,
                                         const abi::buffer_slot& slot, bool& last) {
    std::size_t size = slot.length;
    if (operation.length != 0) size = std::min<std::size_t>(size, operation.length);
    const auto name_size = static_cast<::socklen_t>(operation.address2 >> 32);
    const std::size_t control_size = operation.address2 & 0xffffffffu;
    const std::size_t head = sizeof(io_uring_recvmsg_out) + name_size + control_size;
    if (size < head) return -EFAULT;
    auto* const begin = pointer<std::byte>(slot.address);
    ::iovec payload{begin + head, size - head};
    ::msghdr message{};
    message.msg_name = name_size != 0 ? begin + sizeof(io_uring_recvmsg_out) : nullptr;
    message.msg_namelen = name_size;
    message.msg_control = control_size != 0 ? begin + head - control_size : nullptr;
    message.msg_controllen = control_size;
    message.msg_iov = &payload;
    message.msg_iovlen = 1;
    const ::ssize_t got = ::recvmsg(operation.descriptor, &message, message_flags(operation, 0));
    if (got < 0) return -errno;
    const io_uring_recvmsg_out header{
        .namelen = message.msg_namelen,
        .controllen = static_cast<std::uint32_t>(message.msg_controllen),
        .payloadlen = static_cast<std::uint32_t>(got),
        .flags = static_cast<std::uint32_t>(message.msg_flags),
    };
    std::memcpy(begin, &header, sizeof header);
    // The kernel ends the request after a message of no bytes, be it a datagram.
    last = got == 0;
    return static_cast<std::int64_t>(head + std::min(static_cast<std::size_t>(got), size - head));
}

/// An empty ring is an error only to someone who has data: who waits may go on waiting.
epoll_requests::outcome epoll_requests::receive_without_buffer(epoll_descriptor& descriptor,
                                                               epoll_operation& operation) {
    std::byte first{};
    const ::ssize_t count =
        ::recv(operation.descriptor, &first, sizeof first, MSG_PEEK | MSG_DONTWAIT);
    if (count < 0) return receive_failed(descriptor, operation, errno);
    // To a datagram socket nothing is an empty datagram, which takes a buffer too.
    // A multishot of messages tells of the end in a buffer, too.
    const bool end =
        count == 0 && (operation.opcode == IORING_OP_RECV || !operation.multishot) &&
        kind_of(descriptor, operation.descriptor) != epoll_descriptor::type::other;
    if (!end) return fail(operation, ENOBUFS);
    complete(operation, 0);
    return outcome::finished;
}

epoll_requests::outcome epoll_requests::receive_failed(epoll_descriptor& descriptor,
                                                       epoll_operation& operation, int error) {
    if (error != EAGAIN) return fail(operation, error);
    // Those two ask for something else than what makes a socket readable.
    if (!has_flag(operation, MSG_OOB | MSG_ERRQUEUE)) descriptor.readable = false;
    return has_flag(operation, MSG_DONTWAIT) ? fail(operation, EAGAIN) : outcome::waiting;
}

epoll_requests::outcome epoll_requests::send(epoll_descriptor& descriptor,
                                             epoll_operation& operation) {
    for (;;) {
        const ::ssize_t count = ::sendto(
            operation.descriptor, pointer<const std::byte>(operation.address) + operation.done,
            operation.length - operation.done, message_flags(operation, MSG_NOSIGNAL),
            pointer<const ::sockaddr>(operation.address2), operation.limit);
        if (count < 0) {
            if (errno != EAGAIN) return fail(operation, errno);
            descriptor.writable = false;
            return has_flag(operation, MSG_DONTWAIT) ? fail(operation, EAGAIN) : outcome::waiting;
        }
        operation.done += static_cast<std::uint32_t>(count);
        if (operation.done == operation.length || !has_flag(operation, MSG_WAITALL)) {
            complete(operation, operation.done);
            return outcome::finished;
        }
    }
}

epoll_requests::outcome epoll_requests::message(epoll_descriptor& descriptor,
                                                epoll_operation& operation) {
    ::msghdr& whole = *pointer<::msghdr>(operation.address);
    const bool sends = operation.opcode == IORING_OP_SENDMSG;
    // What comes with control data is not added to: there would be more of that, unseen.
    const bool all = has_flag(operation, MSG_WAITALL) && !has_flag(operation, MSG_PEEK) &&
                     (sends || whole.msg_controllen == 0);
    const std::size_t total = all ? total_of(whole) : 0;
    for (;;) {
        ::msghdr rest{};
        const bool begun = operation.done != 0;
        if (begun) rest = remainder(whole, operation.done);
        ::msghdr& header = begun ? rest : whole;
        const int flags = message_flags(operation, sends ? MSG_NOSIGNAL : 0);
        const ::ssize_t count = sends ? ::sendmsg(operation.descriptor, &header, flags)
                                      : ::recvmsg(operation.descriptor, &header, flags);
        if (count < 0) {
            if (!sends) return receive_failed(descriptor, operation, errno);
            if (errno != EAGAIN) return fail(operation, errno);
            descriptor.writable = false;
            return has_flag(operation, MSG_DONTWAIT) ? fail(operation, EAGAIN) : outcome::waiting;
        }
        if (begun && !sends) whole.msg_flags = rest.msg_flags;
        operation.done += static_cast<std::uint32_t>(count);
        if (!all || operation.done >= total) {
            complete(operation, operation.done);
            return outcome::finished;
        }
        if (count == 0 ||
            kind_of(descriptor, operation.descriptor) == epoll_descriptor::type::other) {
            return fail(operation, 0);
        }
    }
}

/// The message without its first `skip` bytes. Name and control data went with the first part.
::msghdr epoll_requests::remainder(const ::msghdr& whole, std::size_t skip) {
    vectors_.clear();
    for (std::size_t i = 0; i < whole.msg_iovlen; ++i) {
        const ::iovec& from = whole.msg_iov[i];
        const std::size_t used = std::min(skip, from.iov_len);
        skip -= used;
        if (used == from.iov_len) continue;
        vectors_.push_back({static_cast<std::byte*>(from.iov_base) + used, from.iov_len - used});
    }
    ::msghdr rest{};
    rest.msg_iov = vectors_.data();
    rest.msg_iovlen = vectors_.size();
    return rest;
}

/// READ and WRITE on what is no file, a pipe or a terminal. Its other users may need it blocking,
/// so it is asked not to wait each time.
epoll_requests::outcome epoll_requests::stream(epoll_descriptor& descriptor,
                                               epoll_operation& operation) {
    const int number = operation.descriptor;
    const bool reads = operation.opcode == IORING_OP_READ;
    const ::iovec data{pointer<std::byte>(operation.address), operation.length};
    ::ssize_t count = reads ? ::preadv2(number, &data, 1, -1, RWF_NOWAIT)
                            : ::pwritev2(number, &data, 1, -1, RWF_NOWAIT);
    if (count < 0 && errno == EOPNOTSUPP) {
        ::pollfd state{number, static_cast<short>(reads ? POLLIN : POLLOUT), 0};
        if (::poll(&state, 1, 0) == 0) {
            errno = EAGAIN;
        } else if (reads) {
            count = ::read(number, data.iov_base, data.iov_len);
        } else {
            // What is writable takes this much without waiting (pipe(7)).
            count = ::write(number, data.iov_base, std::min<std::size_t>(data.iov_len, PIPE_BUF));
        }
    }
    if (count < 0) {
        if (errno != EAGAIN) return fail(operation, errno);
        (reads ? descriptor.readable : descriptor.writable) = false;
        return outcome::waiting;
    }
    complete(operation, count);
    return outcome::finished;
}

/// Who opens files closes them without a word: nothing is remembered of a descriptor past the last
/// READ or WRITE, or it would be held against the number's next owner.
void epoll_requests::forget_stream(const epoll_descriptor& descriptor, int number,
                                   std::uint8_t opcode) noexcept {
    if (opcode != IORING_OP_READ && opcode != IORING_OP_WRITE) return;
    const bool idle = descriptor.readers.empty() && descriptor.writers.empty() &&
                      descriptor.pollers.empty();
    if (idle) forget(number);
}

epoll_requests::outcome epoll_requests::poll(epoll_descriptor& descriptor,
                                             epoll_operation& operation) {
    // A multishot that will be added to epoll's set is told of what is ready by that.
    if (operation.multishot) {
        const std::uint32_t before = descriptor.registered;
        const int error = watch(descriptor, operation);
        if (error == 0 && descriptor.registered != before) return outcome::waiting;
        if (error != 0 && error != EPERM) return fail(operation, error);
    }
    ::pollfd state{operation.descriptor, static_cast<short>(operation.flags), 0};
    if (::poll(&state, 1, 0) < 0) return fail(operation, errno);
    if ((state.revents & POLLNVAL) != 0) return fail(operation, EBADF);
    if (state.revents == 0) return outcome::waiting;
    if (!operation.multishot) {
        complete(operation, state.revents);
        return outcome::finished;
    }
    return deliver(operation, state.revents, 0) ? outcome::waiting : outcome::finished;
}

epoll_descriptor::type epoll_requests::kind_of(epoll_descriptor& descriptor, int number) noexcept {
    using type = epoll_descriptor::type;
    if (descriptor.kind != type::unknown) return descriptor.kind;
    int value = 0;
    ::socklen_t size = sizeof value;
    descriptor.kind = type::other;
    if (::getsockopt(number, SOL_SOCKET, SO_TYPE, &value, &size) == 0 &&
        (value == SOCK_STREAM || value == SOCK_SEQPACKET)) {
        descriptor.kind = type::stream;
        if (::getsockopt(number, SOL_SOCKET, SO_PROTOCOL, &value, &size) == 0 &&
            value == IPPROTO_TCP) {
            descriptor.kind = type::tcp;
        }
    }
    return descriptor.kind;
}

/// Whether a short receive means that nothing is left (epoll(7)): the next byte is an edge then.
bool epoll_requests::drained(epoll_descriptor& descriptor,
                             const epoll_operation& operation) noexcept {
    return !descriptor.eager && !has_flag(operation, MSG_PEEK | MSG_OOB) &&
           kind_of(descriptor, operation.descriptor) == epoll_descriptor::type::tcp;
}

}  // namespace rondo::inline v0::detail
