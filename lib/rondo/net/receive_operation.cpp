#include <rondo/detail/misuse.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/receive_operation.hpp>
#include <rondo/net/socket_error.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <liburing.h>

#include <algorithm>
#include <cerrno>

namespace rondo::inline v0::detail {

// Leaves the error in result_.
bool receive_chunk_operation::ended_in_error() noexcept {
    if (result_ == 0 && state_->fails()) state_->take_chunk(result_);
    return result_ < 0;
}

bool receive_chunk_operation::cancelled() const noexcept { return result_ == -ECANCELED; }
bool receive_chunk_operation::lost() const noexcept { return is_connection_lost(-result_); }
connection_lost receive_chunk_operation::lost_error() const {
    return detail::lost_error("recv", *state_, -result_, 0);
}
void receive_chunk_operation::fail() const { throw_peer_error("recv", *state_, -result_, 0); }

// What had arrived before, or nothing at the end of the stream.
chunk receive_chunk_operation::take() noexcept { return state_->take_chunk(result_); }

std::error_code receive_chunk_operation::error() {
    state_->clear_reading();
    if (!ended_in_error()) return {};
    return std::error_code(-result_, std::generic_category());
}

namespace {

// A completion's result has 31 bits.
constexpr std::size_t most_at_once = std::size_t{1} << 30;

}  // namespace

void direct_receive::begin(std::coroutine_handle<> awaiting, context& where) {
    require(!state_->keeps_descriptors(),
            "recv(buffer) after recv_descriptors() would lose descriptors that come; receive by "
            "recv_descriptors() alone");
    start(awaiting, where);
    state_->direct_reader = this;
}

void direct_receive::prepare(io_uring_sqe& entry) noexcept {
    entry = {};
    entry.opcode = IORING_OP_RECV;
    entry.fd = state_->descriptor();
    entry.addr = reinterpret_cast<std::uint64_t>(buffer_.data());
    entry.len = static_cast<std::uint32_t>(std::min(buffer_.size(), most_at_once));
    enough_ = 0;
}

void direct_receive::fell_short() noexcept {
    if (asks_again() && !cancel_requested_) {
        unfinished_ = true;
        loop().attend_to(*state_);
        return;
    }
    if (asks_again()) result_ = -ECANCELED;
    finish();
    state_->wake_closer();
}

bool receive_bytes_operation::begin(std::coroutine_handle<> awaiting, context& where) {
    scheduler& on = scheduler::of(where);
    result_ = 0;
    state_->use_on(on);
    // No room is filled at once, whatever has arrived, as recv(2) does it.
    const bool at_once = buffer_.empty() && !where.cancelled();
    if (!at_once && (state_->in_use() || where.cancelled())) return wait(awaiting, where, nullptr);
    require(!state_->reading(), "two receives at once on one socket");
    if (at_once && !on.must_yield()) return false;
    state_->set_reading();
    if (at_once) {
        where.wait_for(*this, awaiting);
        on.make_ready(*this);
    } else {
        direct_.begin(awaiting, where);
    }
    return true;
}

// A direct result is final; otherwise the state is asked, once.
void receive_bytes_operation::collect() noexcept {
    if (collected_) return;
    collected_ = true;
    state_->clear_reading();
    if (state_->direct_reader != nullptr) {
        state_->direct_reader = nullptr;
        result_ = direct_.result();
        if (result_ == -ECONNRESET) {
            result_ = state_->lost_result();
            state_->note_lost();
        }
    } else if (result_ == 0 && !buffer_.empty()) {
        const auto n = state_->take_bytes(buffer_.first(std::min(buffer_.size(), most_at_once)));
        result_ = static_cast<std::int32_t>(n);
    }
}

std::size_t receive_bytes_operation::await_resume() {
    collect();
    if (result_ < 0) throw_failed("recv", *state_, -result_);
    return static_cast<std::size_t>(result_);
}

std::error_code receive_bytes_operation::error() {
    collect();
    if (result_ >= 0) return {};
    return std::error_code(-result_, std::generic_category());
}

}  // namespace rondo::inline v0::detail
