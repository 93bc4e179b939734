#include <rondo/detail/control_message.hpp>
#include <rondo/engine/message_entry.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/datagram_descriptor_operation.hpp>
#include <rondo/net/unix_datagram.hpp>

#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace rondo::inline v0::detail {

namespace {

constexpr std::size_t most_descriptors = 253;  // SCM_MAX_FD of the kernel
constexpr int receive_flags = MSG_TRUNC | MSG_CMSG_CLOEXEC;  // MSG_TRUNC tells the true size
constexpr int send_flags = MSG_NOSIGNAL | MSG_DONTWAIT;

std::int32_t result_of(ssize_t returned) noexcept {
    return returned < 0 ? -errno : static_cast<std::int32_t>(returned);
}

}  // namespace

// --- sending ---------------------------------------------------------------------------------

send_datagram_descriptors::send_datagram_descriptors(datagram_state& state,
                                                     std::span<const int> descriptors,
                                                     const_buffer data, const unix_address* to)
    : send_datagram_base(state),
      part_{const_cast<std::byte*>(data.data()), data.size()} {
    if (to != nullptr) {
        to_ = *to;
        wire_ = unix_socket_address(*to);
        set_name(wire_.data(), wire_.size());
    }
    const bool valid = !descriptors.empty() && descriptors.size() <= most_descriptors;
    if (!valid) descriptors = {};
    control_.resize(CMSG_SPACE(descriptors.size_bytes()));
    cmsghdr header{};
    header.cmsg_level = SOL_SOCKET;
    header.cmsg_type = SCM_RIGHTS;
    // The kernel would send a datagram with none of them; by a length of 0 it is made to refuse.
    header.cmsg_len = valid ? CMSG_LEN(descriptors.size_bytes()) : 0;
    std::memcpy(control_.data(), &header, sizeof header);
    if (!valid) return;
    std::memcpy(control_.data() + CMSG_LEN(0), descriptors.data(), descriptors.size_bytes());
}

void send_datagram_descriptors::fill_message() noexcept {
    message_ = {};
    message_.msg_name = const_cast<sockaddr*>(name_);
    message_.msg_namelen = name_size_;
    message_.msg_iov = &part_;
    message_.msg_iovlen = 1;
    message_.msg_control = control_.data();
    message_.msg_controllen = control_.size();
}

std::int32_t send_datagram_descriptors::send_now() noexcept {
    fill_message();
    return result_of(::sendmsg(state_->descriptor(), &message_, send_flags));
}

void send_datagram_descriptors::prepare_send(io_uring_sqe& entry) noexcept {
    fill_message();
    fill_entry(entry, IORING_OP_SENDMSG, state_->descriptor(), message_, send_flags);
}

void send_datagram_descriptors::await_resume() {
    resumed();
    if (result_ >= 0) return;
    fail_datagram<unix_address>("send descriptors", -result_, state_->descriptor(),
                                to_ ? &*to_ : nullptr);
}

// --- receiving -------------------------------------------------------------------------------

receive_datagram_descriptors::receive_datagram_descriptors(datagram_state& state,
                                                           std::span<std::byte> buffer,
                                                           std::size_t most)
    : datagram_request(state),
      most_(std::min(most, most_descriptors)),
      part_{buffer.data(), buffer.size()} {
    control_.resize(CMSG_SPACE(sizeof(ucred)) + CMSG_LEN(most_ * sizeof(int)));
    received_.descriptors.reserve(most_);
}

void receive_datagram_descriptors::begin(std::coroutine_handle<> awaiting, context& where) {
    state_->use_on(scheduler::of(where));
    state_->keep_descriptors();
    if (!where.cancelled() && !state_->finished()) return begin_receive(awaiting, where);
    result_ = where.cancelled() ? -ECANCELED : receive_now();
    begin_ended(awaiting, where);
}

void receive_datagram_descriptors::fill_message() noexcept {
    message_ = {};
    message_.msg_name = name_.data();
    message_.msg_namelen = static_cast<socklen_t>(name_.size());
    message_.msg_iov = &part_;
    message_.msg_iovlen = 1;
    message_.msg_control = control_.data();
    message_.msg_controllen = control_.size();
}

void receive_datagram_descriptors::prepare(io_uring_sqe& entry) noexcept {
    fill_message();
    fill_entry(entry, IORING_OP_RECVMSG, state_->descriptor(), message_, receive_flags);
    enough_ = 0;
}

// What had come when finish_receiving() was called is still in the kernel.
std::int32_t receive_datagram_descriptors::receive_now() noexcept {
    while (state_->may_take_after_finish()) {
        fill_message();
        const std::int32_t n =
            result_of(::recvmsg(state_->descriptor(), &message_, receive_flags | MSG_DONTWAIT));
        if (n >= 0) return n;
        if (n == -EAGAIN) break;
    }
    return -ECANCELED;
}

void receive_datagram_descriptors::collect() {
    resumed();
    if (std::exchange(collected_, true) || result_ < 0) return;
    received_.true_size = static_cast<std::size_t>(result_);
    received_.size = std::min(received_.true_size, part_.iov_len);
    take_control();
    const std::size_t named = std::min<std::size_t>(message_.msg_namelen, name_.size());
    received_.from = datagram_address<unix_address>::from_wire(std::span(name_).first(named));
}

// Without credentials there is room for more descriptors than were asked for.
void receive_datagram_descriptors::take_control() {
    received_.descriptors_truncated = (message_.msg_flags & MSG_CTRUNC) != 0;
    const std::size_t filled = std::min<std::size_t>(message_.msg_controllen, control_.size());
    const auto control = std::as_bytes(std::span(control_)).first(filled);
    each_descriptor(control, [this](int each) {
        unique_fd mine(each);
        if (received_.descriptors.size() == most_) {
            received_.descriptors_truncated = true;
        } else {
            received_.descriptors.push_back(std::move(mine));
        }
    });
    if (const auto known = find_credentials(control)) {
        received_.credentials = unix_credentials{known->pid, known->uid, known->gid};
    }
}

received_descriptors_from receive_datagram_descriptors::await_resume() {
    collect();
    if (result_ < 0) {
        fail_datagram<unix_address>("recv descriptors", -result_, state_->descriptor());
    }
    return std::move(received_);
}

std::error_code receive_datagram_descriptors::error() {
    collect();
    return operation::error();
}

}  // namespace rondo::inline v0::detail
