#include <rondo/engine/epoll_transfers.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <liburing.h>

namespace rondo::inline v0::detail {

namespace {

int message_flags(const epoll_operation& operation, int add) noexcept {
    return (static_cast<int>(operation.flags) & ~MSG_WAITALL) | MSG_DONTWAIT | add;
}

std::size_t total_of(const ::msghdr& message) noexcept {
    std::size_t total = 0;
    for (std::size_t i = 0; i < message.msg_iovlen; ++i) total += message.msg_iov[i].iov_len;
    return total;
}

}  // namespace

epoll_outcome epoll_transfers::attempt(epoll_descriptor& descriptor, epoll_operation& operation) {
    if ((operation.entry_flags & IOSQE_BUFFER_SELECT) != 0) {
        return receive_selected(descriptor, operation);
    }
    switch (operation.opcode) {
        case IORING_OP_RECV: return receive(descriptor, operation);
        case IORING_OP_SEND: return send(descriptor, operation);
        case IORING_OP_READ:
        case IORING_OP_WRITE: return stream(descriptor, operation);
        default: return message(descriptor, operation);
    }
}

epoll_outcome epoll_transfers::receive(epoll_descriptor& descriptor,
                                                epoll_operation& operation) {
    const bool all = operation.has_flag(MSG_WAITALL) && !operation.has_flag(MSG_PEEK);
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
            completions_.complete(operation, operation.done);
            return outcome::finished;
        }
        if (got == 0 ||
            descriptor.kind_of(operation.descriptor) == epoll_descriptor::type::other) {
            return completions_.fail(operation, 0);
        }
        if (!descriptor.readable) return receive_failed(descriptor, operation, EAGAIN);
    }
}

epoll_outcome epoll_transfers::receive_selected(epoll_descriptor& descriptor,
                                                         epoll_operation& operation) {
    epoll_buffer_group* group = buffers_.find(operation.group);
    if (group == nullptr) return completions_.fail(operation, ENOBUFS);
    for (unsigned count = 0; count < epoll_budget; ++count) {
        const abi::buffer_slot* slot = group->front();
        if (slot == nullptr) return receive_without_buffer(descriptor, operation);
        bool last = !operation.multishot;
        const std::int64_t result =
            operation.opcode == IORING_OP_RECV ? fill_buffer(descriptor, operation, *slot, last)
            : operation.multishot              ? fill_framed(operation, *slot, last)
                                               : fill_message(operation, *slot);
        if (result < 0) return receive_failed(descriptor, operation, static_cast<int>(-result));
        if (result == 0) {
            completions_.complete(operation, 0);
            return outcome::finished;
        }
        const std::uint32_t flags = IORING_CQE_F_BUFFER | std::uint32_t{slot->id}
                                                              << IORING_CQE_BUFFER_SHIFT;
        group->pop_front();
        if (last) {
            completions_.complete(operation, result, flags);
            return outcome::finished;
        }
        if (!completions_.deliver(operation, static_cast<int>(result), flags)) {
            return outcome::finished;
        }
        if (!descriptor.readable) return outcome::waiting;
    }
    return outcome::interrupted;
}

/// One recv(2) into a buffer: the count, or a negated errno.
std::int64_t epoll_transfers::fill_buffer(epoll_descriptor& descriptor, epoll_operation& operation,
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
std::int64_t epoll_transfers::fill_message(const epoll_operation& operation,
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
std::int64_t epoll_transfers::fill_framed(const epoll_operation& operation,
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
epoll_outcome epoll_transfers::receive_without_buffer(epoll_descriptor& descriptor,
                                                               epoll_operation& operation) {
    std::byte first{};
    const ::ssize_t count =
        ::recv(operation.descriptor, &first, sizeof first, MSG_PEEK | MSG_DONTWAIT);
    if (count < 0) return receive_failed(descriptor, operation, errno);
    // To a datagram socket nothing is an empty datagram, which takes a buffer too.
    // A multishot of messages tells of the end in a buffer, too.
    const bool end =
        count == 0 && (operation.opcode == IORING_OP_RECV || !operation.multishot) &&
        descriptor.kind_of(operation.descriptor) != epoll_descriptor::type::other;
    if (!end) return completions_.fail(operation, ENOBUFS);
    completions_.complete(operation, 0);
    return outcome::finished;
}

epoll_outcome epoll_transfers::receive_failed(epoll_descriptor& descriptor,
                                                       epoll_operation& operation, int error) {
    if (error != EAGAIN) return completions_.fail(operation, error);
    // Those two ask for something else than what makes a socket readable.
    if (!operation.has_flag(MSG_OOB | MSG_ERRQUEUE)) descriptor.readable = false;
    return wait_or_fail(operation);
}

/// Nothing can be done now.
epoll_outcome epoll_transfers::wait_or_fail(const epoll_operation& operation) {
    return operation.has_flag(MSG_DONTWAIT) ? completions_.fail(operation, EAGAIN)
                                            : outcome::waiting;
}

epoll_outcome epoll_transfers::send(epoll_descriptor& descriptor,
                                             epoll_operation& operation) {
    for (;;) {
        const ::ssize_t count = ::sendto(
            operation.descriptor, pointer<const std::byte>(operation.address) + operation.done,
            operation.length - operation.done, message_flags(operation, MSG_NOSIGNAL),
            pointer<const ::sockaddr>(operation.address2), operation.limit);
        if (count < 0) {
            if (errno != EAGAIN) return completions_.fail(operation, errno);
            descriptor.writable = false;
            return wait_or_fail(operation);
        }
        operation.done += static_cast<std::uint32_t>(count);
        if (operation.done == operation.length || !operation.has_flag(MSG_WAITALL)) {
            completions_.complete(operation, operation.done);
            return outcome::finished;
        }
    }
}

epoll_outcome epoll_transfers::message(epoll_descriptor& descriptor,
                                                epoll_operation& operation) {
    ::msghdr& whole = *pointer<::msghdr>(operation.address);
    const bool sends = operation.opcode == IORING_OP_SENDMSG;
    // What comes with control data is not added to: there would be more of that, unseen.
    const bool all = operation.has_flag(MSG_WAITALL) && !operation.has_flag(MSG_PEEK) &&
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
            if (errno != EAGAIN) return completions_.fail(operation, errno);
            descriptor.writable = false;
            return wait_or_fail(operation);
        }
        if (begun && !sends) whole.msg_flags = rest.msg_flags;
        operation.done += static_cast<std::uint32_t>(count);
        if (!all || operation.done >= total) {
            completions_.complete(operation, operation.done);
            return outcome::finished;
        }
        if (count == 0 ||
            descriptor.kind_of(operation.descriptor) == epoll_descriptor::type::other) {
            return completions_.fail(operation, 0);
        }
    }
}

/// The message without its first `skip` bytes. Name and control data went with the first part.
::msghdr epoll_transfers::remainder(const ::msghdr& whole, std::size_t skip) {
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
epoll_outcome epoll_transfers::stream(epoll_descriptor& descriptor,
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
        if (errno != EAGAIN) return completions_.fail(operation, errno);
        (reads ? descriptor.readable : descriptor.writable) = false;
        return outcome::waiting;
    }
    completions_.complete(operation, count);
    return outcome::finished;
}

/// Whether a short receive means that nothing is left (epoll(7)): the next byte is an edge then.
bool epoll_transfers::drained(epoll_descriptor& descriptor,
                             const epoll_operation& operation) noexcept {
    return !descriptor.eager && !operation.has_flag(MSG_PEEK | MSG_OOB) &&
           descriptor.kind_of(operation.descriptor) == epoll_descriptor::type::tcp;
}

}  // namespace rondo::inline v0::detail
