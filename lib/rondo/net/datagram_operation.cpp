#include <rondo/detail/misuse.hpp>
#include <rondo/engine/message_entry.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/datagram_operation.hpp>

#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>

namespace rondo::inline v0::detail {

// --- receiving -------------------------------------------------------------------------------

direct_datagram::direct_datagram(datagram_state& state, std::span<std::byte> buffer) noexcept
    : datagram_request(state), part_{buffer.data(), buffer.size()} {}

void direct_datagram::begin(std::coroutine_handle<> awaiting, context& where) {
    begin_receive(awaiting, where);
}

void direct_datagram::prepare(io_uring_sqe& entry) noexcept {
    message_ = {};
    message_.msg_name = name_.data();
    message_.msg_namelen = static_cast<socklen_t>(name_.size());
    message_.msg_iov = &part_;
    message_.msg_iovlen = 1;
    // MSG_TRUNC tells the true size.
    fill_entry(entry, IORING_OP_RECVMSG, state_->descriptor(), message_, MSG_TRUNC);
    enough_ = 0;
}

std::span<const std::byte> direct_datagram::name() const noexcept {
    return std::span(name_).first(std::min<std::size_t>(message_.msg_namelen, name_.size()));
}

bool receive_into_base::begin(std::coroutine_handle<> awaiting, context& where) {
    state_->use_on(scheduler::of(where));
    require(!state_->keeps_descriptors(),
            "recv_from(buffer) after recv_descriptors() would lose descriptors that come; receive "
            "by recv_descriptors() alone");
    if (state_->in_use() || where.cancelled()) return wait(awaiting, where);
    is_direct_ = true;
    direct_.begin(awaiting, where);
    return true;
}

void receive_into_base::collect() noexcept {
    if (collected_) return;
    collected_ = true;
    if (is_direct_) {
        result_ = direct_.finished();
        return;
    }
    resumed();
    if (result_ < 0) return;
    result_ = static_cast<std::int32_t>(taken_.true_size());
    const auto bytes = taken_.bytes();
    buffer_ = buffer_.first(std::min(buffer_.size(), bytes.size()));
    std::copy_n(bytes.begin(), buffer_.size(), buffer_.begin());
}

std::size_t receive_into_base::stored() const noexcept {
    return std::min(buffer_.size(), true_size());
}

std::span<const std::byte> receive_into_base::name() const noexcept {
    return is_direct_ ? direct_.name() : taken_.name();
}

// --- sending ---------------------------------------------------------------------------------

bool send_datagram_base::begin(std::coroutine_handle<> awaiting, context& where) {
    scheduler& on = scheduler::of(where);
    state_->use_on(on);
    if (!where.cancelled() && !state_->in_company()) {
        result_ = send_now();
        if (result_ != -EAGAIN && result_ != -EINTR) {
            if (!on.must_yield()) return false;
            begin_ended(awaiting, where);
            return true;
        }
        polling_ = result_ == -EAGAIN;
        refusals_ = polling_ ? 1 : 0;
    }
    begin_send(awaiting, where);
    return true;
}

void send_datagram_base::prepare(io_uring_sqe& entry) noexcept {
    if (!polling_) {
        prepare_send(entry);
        enough_ = 0;
        return;
    }
    entry = {};
    entry.opcode = IORING_OP_POLL_ADD;
    entry.fd = state_->descriptor();
    entry.poll32_events = POLLOUT;
    enough_ = std::numeric_limits<std::int32_t>::max();
}

void send_datagram_base::fell_short() noexcept {
    const bool sent = !polling_ && result_ >= 0;
    const bool may_go_on = polling_ ? result_ >= 0 || asks_again() : asks_again();
    if (sent || !may_go_on) return end();
    if (cancel_requested_) {
        result_ = -ECANCELED;
        return end();
    }
    if (!polling_ && result_ == -EAGAIN) return refused();
    polling_ = false;
    unfinished_ = true;
    loop().attend_to(*state_);
}

// A Unix socket that is not connected is ready to send whatever its peer's queue is: the second
// refusal is one that a poll does not end.
void send_datagram_base::refused() noexcept {
    constexpr std::chrono::milliseconds first_pause(1);
    constexpr unsigned most_doublings = 5;
    if (++refusals_ == 1) {
        polling_ = true;
        unfinished_ = true;
        loop().attend_to(*state_);
        return;
    }
    const unsigned doublings = std::min(refusals_ - 2, most_doublings);
    loop().arm(*this, loop().now() + first_pause * (1u << doublings));
}

void send_datagram_base::expire() noexcept { submit(loop()); }

void send_datagram_base::cancel() noexcept {
    if (!armed()) return operation::cancel();
    loop().disarm(*this);
    cancel_requested_ = true;
    result_ = -ECANCELED;
    end();
}

void send_datagram_base::end() noexcept {
    finish();
    state_->wake_closer();
}

namespace {

constexpr std::size_t most_parts = 1024;  // IOV_MAX of the kernel

std::int32_t result_of(ssize_t returned) noexcept {
    return returned < 0 ? -errno : static_cast<std::int32_t>(returned);
}

}  // namespace

std::int32_t send_single::send_now() noexcept {
    return result_of(::sendto(state_->descriptor(), data_.data(), data_.size(),
                              MSG_DONTWAIT | MSG_NOSIGNAL, name_, name_size_));
}

void send_single::prepare_send(io_uring_sqe& entry) noexcept {
    entry = {};
    entry.opcode = IORING_OP_SEND;
    entry.fd = state_->descriptor();
    entry.addr = reinterpret_cast<std::uint64_t>(data_.data());
    // What is longer than any datagram stays so.
    entry.len = static_cast<std::uint32_t>(std::min(data_.size(), std::size_t{1} << 30));
    entry.addr2 = reinterpret_cast<std::uint64_t>(name_);
    entry.addr_len = static_cast<std::uint16_t>(name_size_);
    entry.msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
}

// More than the kernel takes in one call would be an EMSGSIZE, whatever their size.
send_gathered::send_gathered(datagram_state& state, std::span<const const_buffer> buffers)
    : send_datagram_base(state), count_(std::min(buffers.size(), most_parts)) {
    if (count_ > few) many_.resize(count_);
    iovec* part = count_ > few ? many_.data() : few_.data();
    const std::size_t referred = buffers.size() > most_parts ? most_parts - 1 : count_;
    for (const const_buffer& each : buffers.first(referred)) {
        *part++ = {const_cast<std::byte*>(each.data()), each.size()};
    }
    if (referred == count_) return;
    for (const const_buffer& each : buffers.subspan(referred)) {
        rest_.insert(rest_.end(), each.data(), each.data() + each.size());
    }
    *part = {rest_.data(), rest_.size()};
}

void send_gathered::fill_message() noexcept {
    message_ = {};
    message_.msg_name = const_cast<sockaddr*>(name_);
    message_.msg_namelen = name_size_;
    message_.msg_iov = count_ > few ? many_.data() : few_.data();
    message_.msg_iovlen = count_;
}

std::int32_t send_gathered::send_now() noexcept {
    fill_message();
    return result_of(::sendmsg(state_->descriptor(), &message_, MSG_DONTWAIT | MSG_NOSIGNAL));
}

void send_gathered::prepare_send(io_uring_sqe& entry) noexcept {
    fill_message();
    fill_entry(entry, IORING_OP_SENDMSG, state_->descriptor(), message_,
               MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace rondo::inline v0::detail
