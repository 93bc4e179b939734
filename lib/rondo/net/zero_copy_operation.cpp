#include <rondo/detail/misuse.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/net/zero_copy_operation.hpp>

#include <liburing.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <new>
#include <tuple>
#include <utility>

namespace rondo::inline v0::detail {

namespace {

// After a cancellation, for the acknowledgment of what was sent.
constexpr std::chrono::seconds patience(1);

// A completion's result has 31 bits.
constexpr std::size_t most_at_once = std::size_t{1} << 30;

/// The socket's family has no such send, the kernel neither, or the memory a user may lock, which
/// it counts against, is used up: copying needs none of them.
bool refused(std::int32_t result) noexcept {
    return result == -EOPNOTSUPP || result == -EINVAL || result == -ENOMEM || result == -ENOBUFS;
}

/// SO_LINGER says how long what is unsent is worth waiting for.
std::chrono::seconds patience_with(int socket) noexcept {
    ::linger asked{};
    socklen_t size = sizeof asked;
    const bool known = ::getsockopt(socket, SOL_SOCKET, SO_LINGER, &asked, &size) == 0;
    return known && asked.l_onoff != 0 ? std::chrono::seconds(asked.l_linger) : patience;
}

}  // namespace

void zero_copy_operation::begin(std::coroutine_handle<> awaiting, context& where) {
    scheduler& on = scheduler::of(where);
    state_->use_on(on);
    require(state_->sender == nullptr, "two sends at once on one socket");
    where.wait_for(*this, awaiting);
    state_->sender = this;
    copies_ = !on.carrier().has(feature::send_zero_copy);
    result_ = where.cancelled() ? -ECANCELED : 0;
    if (result_ < 0 || size_ == 0) {
        finish();
    } else {
        submit_rest();
    }
}

void zero_copy_operation::prepare(io_uring_sqe& entry) noexcept {
    entry = {};
    entry.opcode = copies_ ? IORING_OP_SEND : IORING_OP_SEND_ZC;
    entry.fd = state_->descriptor();
    entry.addr = reinterpret_cast<std::uint64_t>(data_ + sent_);
    entry.len = static_cast<std::uint32_t>(std::min(size_ - sent_, most_at_once));
    entry.msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
}

void zero_copy_operation::submit_rest() {
    scheduler& on = loop();
    io_uring_sqe& entry = on.next_entry();
    prepare(entry);
    entry.user_data = scheduler::tag(static_cast<completion_target&>(target_));
}

void zero_copy_operation::arrived(std::int32_t result, std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_NOTIF) != 0) return settle();
    outcome_ = result;
    // Failed or not: with this flag the kernel has not let go yet.
    if ((flags & IORING_CQE_F_MORE) == 0) settle();
}

void zero_copy_operation::settle() noexcept {
    if (armed()) loop().disarm(*this);
    if (outcome_ > 0) sent_ += static_cast<std::size_t>(outcome_);
    bool again = outcome_ >= 0 || outcome_ == -EINTR || outcome_ == -EAGAIN;
    if (!copies_ && refused(outcome_)) copies_ = again = true;
    if (sent_ != size_ && again && !cancel_requested_) {
        rest_waits_ = true;
        loop().attend_to(target_);
        return;
    }
    result_ = again || dropped_ ? -ECANCELED : outcome_;
    if (sent_ == size_ && !dropped_) result_ = 0;
    settled_ = true;
    if (!gives_up_) end();
}

void zero_copy_operation::end() noexcept {
    finish();
    state_->wake_closer();
}

void zero_copy_operation::send_rest() noexcept {
    rest_waits_ = false;
    if (!cancel_requested_) return submit_rest();
    result_ = -ECANCELED;
    end();
}

void zero_copy_operation::attended() noexcept {
    if (rest_waits_) return send_rest();
    gives_up_ = false;
    if (settled_) return end();
    drop_unsent();
}

void zero_copy_operation::cancel() noexcept {
    // Asked again: abort() has shortened the wait.
    if (std::exchange(cancel_requested_, true)) {
        if (armed()) bound_wait();
        return;
    }
    if (rest_waits_) return;  // nothing in the kernel; send_rest() ends it
    scheduler& on = loop();
    on.cancel_request(scheduler::tag(static_cast<completion_target&>(target_)));
    // Making room for that entry may have ended this.
    if (!copies_ && !made_ready()) bound_wait();
}

/// What the kernel has taken lies in the caller's memory until the peer acknowledges it, which one
/// that reads nothing never does.
void zero_copy_operation::bound_wait() noexcept {
    const auto longest = patience_with(state_->descriptor());
    if (armed()) loop().disarm(*this);
    if (longest == std::chrono::seconds(0)) return expire();
    try {
        loop().arm(*this, deadline_after(loop().now(), longest));
    } catch (const std::bad_alloc&) {
        expire();
    }
}

/// Not before what the kernel has to tell by now was looked at.
void zero_copy_operation::expire() noexcept {
    gives_up_ = true;
    loop().attend_to(target_);
}

/// A connect(2) to no address resets the connection, and the kernel drops what it has not sent.
void zero_copy_operation::drop_unsent() noexcept {
    dropped_ = true;
    ::sockaddr nobody{};
    nobody.sa_family = AF_UNSPEC;
    std::ignore = ::connect(state_->descriptor(), &nobody, sizeof nobody);
}

void zero_copy_operation::await_resume() {
    state_->sender = nullptr;
    if (result_ < 0) throw_failed("send", *state_, -result_, sent_);
}

std::error_code zero_copy_operation::error() noexcept {
    state_->sender = nullptr;
    return operation::error();
}

}  // namespace rondo::inline v0::detail
