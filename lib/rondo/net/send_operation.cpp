#include <rondo/detail/misuse.hpp>
#include <rondo/engine/message_entry.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/send_operation.hpp>
#include <rondo/net/socket_name.hpp>

#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <limits>

namespace rondo::inline v0::detail {

namespace {

// A completion's result has 31 bits.
constexpr std::size_t most_at_once = std::size_t{1} << 30;

std::size_t total(std::span<const const_buffer> buffers) noexcept {
    std::size_t sum = 0;
    for (const const_buffer& b : buffers) sum += b.size();
    return sum;
}

inline void prepare_send(io_uring_sqe& entry, int descriptor, const std::byte* data,
                         std::size_t size, unsigned flags) noexcept {
    entry = {};
    entry.opcode = IORING_OP_SEND;
    entry.fd = descriptor;
    entry.addr = reinterpret_cast<std::uint64_t>(data);
    entry.len = static_cast<std::uint32_t>(size);
    entry.msg_flags = flags | MSG_NOSIGNAL;
}

}  // namespace

void send_base::begin(std::coroutine_handle<> awaiting, context& where) {
    enough_ = std::numeric_limits<std::int32_t>::min();
    scheduler& on = scheduler::of(where);
    state_->use_on(on);
    require(state_->sender == nullptr, "two sends at once on one socket");
    where.wait_for(*this, awaiting);
    state_->sender = this;
    result_ = where.cancelled() ? -ECANCELED : 0;
    if (result_ < 0 || size_ == 0) {
        finish();
    } else {
        submit(on);
    }
}

void send_base::expect(std::size_t bytes) noexcept {
    enough_ = sent_ + bytes == size_ ? static_cast<std::int32_t>(bytes)
                                     : std::numeric_limits<std::int32_t>::max();
}

void send_base::fell_short() noexcept {
    if (result_ > 0) {
        sent_ += static_cast<std::size_t>(result_);
        result_ = 0;
    }
    const bool again = result_ == 0 || asks_again();
    if (sent_ != size_ && again && !cancel_requested_) {
        unfinished_ = true;
        loop().attend_to(*state_);
        return;
    }
    if (sent_ != size_ && again) result_ = -ECANCELED;
    finish();
    state_->wake_closer();
}

// The same as send_base::begin() for the usual case: one send that takes it all in one entry.
void send_operation::begin(std::coroutine_handle<> awaiting, context& where) {
    scheduler& on = scheduler::of(where);
    receive_state& state = *state_;
    const std::size_t size = size_;
    const bool usual = state.owner() == &on && state.sender == nullptr && !where.cancelled() &&
                       size - 1 < most_at_once && on.has_entry();
    if (!usual) [[unlikely]] return send_base::begin(awaiting, where);
    io_uring_sqe& entry = on.take_entry();
    prepare_send(entry, state.descriptor(), data_, size, MSG_WAITALL);
    entry.user_data = scheduler::tag(*this);
    enough_ = static_cast<std::int32_t>(size);
    where.wait_for(*this, awaiting);
    state.sender = this;
}

void send_base::fail() const {
    throw_failed("send", *state_, -result_, sent_);
}

void send_operation::prepare(io_uring_sqe& entry) noexcept {
    const std::size_t size = std::min(size_ - sent_, most_at_once);
    expect(size);
    prepare_send(entry, state_->descriptor(), data_ + sent_, size, MSG_WAITALL);
}

void send_some_operation::fell_short() noexcept {
    if (asks_again()) return send_base::fell_short();
    finish();
    state_->wake_closer();
}

void send_some_operation::prepare(io_uring_sqe& entry) noexcept {
    prepare_send(entry, state_->descriptor(), data_, std::min(size_, most_at_once), 0);
    enough_ = 0;
}

gather_operation::gather_operation(receive_state& state,
                                   std::span<const const_buffer> buffers) noexcept
    : send_base(state, total(buffers)), buffers_(buffers) {}

// The window starts where the bytes sent so far end.
void gather_operation::prepare(io_uring_sqe& entry) noexcept {
    std::size_t skip = sent_;
    std::size_t count = 0;
    std::size_t bytes = 0;
    for (const const_buffer& b : buffers_) {
        if (skip >= b.size()) {
            skip -= b.size();
            continue;
        }
        const std::size_t n = std::min(b.size() - skip, most_at_once - bytes);
        vectors_[count].iov_base = const_cast<std::byte*>(b.data() + skip);
        vectors_[count].iov_len = n;
        skip = 0;
        bytes += n;
        if (++count == window || bytes == most_at_once) break;
    }
    expect(bytes);
    message_ = {};
    message_.msg_iov = vectors_.data();
    message_.msg_iovlen = count;
    fill_entry(entry, IORING_OP_SENDMSG, state_->descriptor(), message_,
               MSG_NOSIGNAL | MSG_WAITALL);
}

}  // namespace rondo::inline v0::detail
