#include <rondo/detail/control_message.hpp>
#include <rondo/detail/misuse.hpp>
#include <rondo/engine/message_entry.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/descriptor_operation.hpp>
#include <rondo/net/socket_name.hpp>

#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace rondo::inline v0::detail {

namespace {

constexpr std::size_t most_descriptors = 253;  // SCM_MAX_FD of the kernel
constexpr auto send_verb = "send descriptors";
// A completion's result has 31 bits.
constexpr std::size_t most_at_once = std::size_t{1} << 30;

}  // namespace

// --- sending ---------------------------------------------------------------------------------

// What the kernel would refuse, or take without sending the descriptors, is not sent at all.
send_descriptors_operation::send_descriptors_operation(receive_state& state,
                                                       std::span<const int> descriptors,
                                                       const_buffer data)
    : send_base(state, data.size()),
      valid_(!data.empty() && !descriptors.empty() && descriptors.size() <= most_descriptors),
      data_(data.data()) {
    if (!valid_) {
        size_ = 0;
        return;
    }
    control_.resize(CMSG_SPACE(descriptors.size_bytes()));
    cmsghdr header{};
    header.cmsg_level = SOL_SOCKET;
    header.cmsg_type = SCM_RIGHTS;
    header.cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(control_.data(), &header, sizeof header);
    std::memcpy(control_.data() + CMSG_LEN(0), descriptors.data(), descriptors.size_bytes());
}

void send_descriptors_operation::prepare(io_uring_sqe& entry) noexcept {
    const std::size_t size = std::min(size_ - sent_, most_at_once);
    expect(size);
    vector_.iov_base = const_cast<std::byte*>(data_ + sent_);
    vector_.iov_len = size;
    message_ = {};
    message_.msg_iov = &vector_;
    message_.msg_iovlen = 1;
    fill_entry(entry, IORING_OP_SENDMSG, state_->descriptor(), message_, MSG_NOSIGNAL);
    if (sent_ == 0) {
        // Without MSG_WAITALL: going on after a short count, older kernels send them once more.
        message_.msg_control = control_.data();
        message_.msg_controllen = control_.size();
    } else {
        entry.msg_flags |= MSG_WAITALL;
    }
}

void send_descriptors_operation::settle() noexcept {
    leave();
    if (!valid_ && result_ >= 0) result_ = -EINVAL;
}

void send_descriptors_operation::await_resume() {
    settle();
    if (result_ < 0) throw_failed(send_verb, *state_, -result_, sent_);
}

std::error_code send_descriptors_operation::error() noexcept {
    settle();
    return operation::error();
}

// --- receiving -------------------------------------------------------------------------------

receive_descriptors_operation::receive_descriptors_operation(receive_state& state,
                                                             std::span<std::byte> buffer,
                                                             std::size_t most)
    : state_(&state), buffer_(buffer.first(std::min(buffer.size(), most_at_once))) {
    require(!buffer.empty(), "recv_descriptors() without room for a byte");
    const std::size_t asked = std::min(most, most_descriptors);
    // Exactly as many: in what CMSG_SPACE() rounds up to there could be room for one more.
    if (asked != 0) control_.resize(CMSG_LEN(asked * sizeof(int)));
    received_.descriptors.reserve(asked);
}

void receive_descriptors_operation::begin(std::coroutine_handle<> awaiting, context& where) {
    scheduler& on = scheduler::of(where);
    state_->use_on(on);
    require(!state_->reading(), "two receives at once on one socket");
    state_->keep_descriptors();
    state_->set_reading();
    if (!where.cancelled() && !state_->has_news()) {
        start(awaiting, where);
        state_->direct_reader = this;
        return;
    }
    where.wait_for(*this, awaiting);
    result_ = where.cancelled() ? -ECANCELED : 0;
    on.make_ready(*this);
}

void receive_descriptors_operation::prepare(io_uring_sqe& entry) noexcept {
    vector_.iov_base = buffer_.data();
    vector_.iov_len = buffer_.size();
    message_ = {};
    message_.msg_iov = &vector_;
    message_.msg_iovlen = 1;
    message_.msg_control = control_.empty() ? nullptr : control_.data();
    message_.msg_controllen = control_.size();
    fill_entry(entry, IORING_OP_RECVMSG, state_->descriptor(), message_, MSG_CMSG_CLOEXEC);
    enough_ = 0;
}

void receive_descriptors_operation::fell_short() noexcept {
    if (asks_again() && !cancel_requested_) {
        unfinished_ = true;
        loop().attend_to(*state_);
        return;
    }
    if (asks_again()) result_ = -ECANCELED;
    finish();
    state_->wake_closer();
}

void receive_descriptors_operation::collect() noexcept {
    if (collected_) return;
    collected_ = true;
    state_->clear_reading();
    if (std::exchange(state_->direct_reader, nullptr) == nullptr) {
        // What an earlier receive has left to say.
        if (result_ == 0) result_ = static_cast<std::int32_t>(state_->take_bytes({}));
        return;
    }
    if (result_ == -ECONNRESET) {
        result_ = state_->lost_result();
        state_->note_lost();
    }
    if (result_ <= 0) return;
    received_.size = static_cast<std::size_t>(result_);
    received_.truncated = (message_.msg_flags & MSG_CTRUNC) != 0;
    const std::size_t filled = std::min<std::size_t>(message_.msg_controllen, control_.size());
    const auto control = std::as_bytes(std::span(control_)).first(filled);
    each_descriptor(control, [this](int each) { received_.descriptors.emplace_back(each); });
}

received_descriptors receive_descriptors_operation::await_resume() {
    collect();
    if (result_ < 0) throw_failed("recv descriptors", *state_, -result_);
    return std::move(received_);
}

std::error_code receive_descriptors_operation::error() {
    collect();
    return operation::error();
}

}  // namespace rondo::inline v0::detail
