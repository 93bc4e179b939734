#include <rondo/engine/epoll_requests.hpp>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <new>

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <liburing.h>

#include <rondo/engine/epoll_entry.hpp>

namespace rondo::inline v0::detail {

namespace {

constexpr std::uint32_t any_failure = EPOLLERR | EPOLLHUP;
constexpr std::uint32_t transfer_events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI;

std::uint64_t tag_of(int number, const epoll_descriptor& descriptor) noexcept {
    return std::uint64_t{descriptor.generation} << 32 | static_cast<std::uint32_t>(number);
}

bool is_transfer(std::uint8_t opcode) noexcept {
    return opcode == IORING_OP_RECV || opcode == IORING_OP_SEND || opcode == IORING_OP_RECVMSG ||
           opcode == IORING_OP_SENDMSG;
}

}  // namespace

// Beginning and ending

void epoll_requests::carry_out(const io_uring_sqe& entry) {
    if (is_refused(entry, features_)) return completions_.post(entry.user_data, -EINVAL, 0);
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
        completions_.fail(*operation, error);
        return store_.release(*operation);
    }
    // Who does not expect anything yet is spared a call in vain: to be added to epoll's set tells
    // of what is there all the same.
    const bool waits_first = is_transfer(entry.opcode) && descriptor->registered == 0 &&
                             (entry.ioprio & IORING_RECVSEND_POLL_FIRST) != 0 &&
                             !operation->has_flag(MSG_DONTWAIT);
    const outcome result = waits_first || must_wait(*descriptor, *operation)
                               ? outcome::waiting
                               : attempt(*descriptor, *operation);
    if (result == outcome::finished) {
        store_.release(*operation);
        return forget_unowned(*descriptor, entry.fd, entry.opcode);
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
        completions_.fail(*operation, ECANCELED);
        store_.release(*operation);
        forget_unowned(descriptor, number, opcode);
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
            if (operation.has_flag(MSG_DONTWAIT)) return false;
            return !descriptor.writable || !descriptor.writers.empty();
        case IORING_OP_WRITE: return !descriptor.writable || !descriptor.writers.empty();
        default:
            if (is_transfer(operation.opcode) && operation.has_flag(MSG_DONTWAIT)) return false;
            return !descriptor.readable || descriptor.interrupted || !descriptor.readers.empty();
    }
}

void epoll_requests::park(epoll_descriptor& descriptor, epoll_operation& operation) {
    // What epoll refuses, a regular file, never changes: it waits for what will not come, as the
    // kernel's own poll does.
    if (const int error = watch(descriptor, operation); error != 0 && error != EPERM) {
        completions_.fail(operation, error);
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
        // If the second call fails there is nothing to rely on.
        descriptor.registered = 0;
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
                forget_unowned(descriptor, number, opcode);
                break;
            }
            case outcome::interrupted: return interrupt(descriptor, operation->descriptor);
            case outcome::waiting: return;
        }
    }
}

void epoll_requests::run_pollers(epoll_descriptor& descriptor, int number,
                                 std::uint32_t events) {
    bool ended = false;
    for (epoll_operation* operation = descriptor.pollers.front(); operation != nullptr;) {
        epoll_operation& current = *operation;
        operation = current.next;
        const std::uint32_t mask = events & current.flags;
        if (mask == 0) continue;
        if (current.multishot) {
            if (completions_.deliver(current, static_cast<int>(mask), 0)) continue;
        } else {
            completions_.complete(current, mask);
        }
        descriptor.pollers.remove(current);
        store_.release(current);
        ended = true;
    }
    if (ended) forget_unowned(descriptor, number, IORING_OP_POLL_ADD);
}

void epoll_requests::ready(std::uint64_t tag, std::uint32_t events) {
    if (tag == epoll_files::tag) return files_.reap();
    const int number = static_cast<int>(tag & 0xffffffffu);
    epoll_descriptor* descriptor = descriptors_.find(number);
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
    run_pollers(*descriptor, number, events);
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
                completions_.fail(*operation, ECANCELED);
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
    switch (operation.opcode) {
        case IORING_OP_ACCEPT: return accept(descriptor, operation);
        case IORING_OP_CONNECT: return connect(descriptor, operation);
        case IORING_OP_POLL_ADD: return poll(descriptor, operation);
        default: return transfers_.attempt(descriptor, operation);
    }
}

epoll_requests::outcome epoll_requests::accept(epoll_descriptor& descriptor,
                                               epoll_operation& operation) {
    for (unsigned count = 0; count < epoll_budget; ++count) {
        const int number = accept_one(descriptor, operation);
        if (number == -EAGAIN) {
            descriptor.readable = false;
            return outcome::waiting;
        }
        if (number < 0 || !operation.multishot) {
            completions_.complete(operation, number);
            return outcome::finished;
        }
        if (!completions_.deliver(operation, number, 0)) return outcome::finished;
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
    // The number is new: whatever is known under it is not about this connection. Nor is anything
    // noted: a connection that is closed unused is closed without a word.
    if (epoll_descriptor* child = descriptors_.find(number)) abandon(*child, false);
    return number;
}

epoll_requests::outcome epoll_requests::connect(epoll_descriptor& descriptor,
                                                epoll_operation& operation) {
    const int number = operation.descriptor;
    const int flags = ::fcntl(number, F_GETFL);
    if (flags < 0) return completions_.fail(operation, errno);
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
    completions_.complete(operation, -error);
    return outcome::finished;
}

/// What is no socket is closed without a word: nothing is remembered of a descriptor past the last
/// request that may be on any kind, or it would be held against the number's next owner.
void epoll_requests::forget_unowned(const epoll_descriptor& descriptor, int number,
                                    std::uint8_t opcode) noexcept {
    const bool any_kind = opcode == IORING_OP_READ || opcode == IORING_OP_WRITE ||
                          opcode == IORING_OP_POLL_ADD;
    if (!any_kind) return;
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
        if (error != 0 && error != EPERM) return completions_.fail(operation, error);
    }
    ::pollfd state{operation.descriptor, static_cast<short>(operation.flags), 0};
    if (::poll(&state, 1, 0) < 0) return completions_.fail(operation, errno);
    if ((state.revents & POLLNVAL) != 0) return completions_.fail(operation, EBADF);
    if (state.revents == 0) return outcome::waiting;
    if (!operation.multishot) {
        completions_.complete(operation, state.revents);
        return outcome::finished;
    }
    return completions_.deliver(operation, state.revents, 0) ? outcome::waiting : outcome::finished;
}

}  // namespace rondo::inline v0::detail
