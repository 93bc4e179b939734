#include <rondo/detail/misuse.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/connect_operation.hpp>
#include <rondo/net/socket_error.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <liburing.h>

#include <cerrno>

namespace rondo::inline v0::detail {

void connect_operation::begin(std::coroutine_handle<> awaiting, context& where) {
    state_->use_on(scheduler::of(where));
    require(state_->sender == nullptr, "connect while the socket is sending or connecting");
    start(awaiting, where);
    state_->sender = this;
}

void connect_operation::prepare(io_uring_sqe& entry) noexcept {
    entry = {};
    entry.opcode = IORING_OP_CONNECT;
    entry.fd = state_->descriptor();
    entry.addr = reinterpret_cast<std::uint64_t>(address_.data());
    entry.off = address_.size();
}

void connect_operation::fell_short() noexcept {
    finish();
    state_->wake_closer();
}

std::error_code connect_operation::error() noexcept {
    state_->sender = nullptr;
    return operation::error();
}

void connect_operation::await_resume() {
    state_->sender = nullptr;
    if (result_ == -ECANCELED) throw_canceled();
    if (result_ < 0) throw_socket_error("connect", -result_, &remote_);
    remember_peer(*state_, address_);
}

}  // namespace rondo::inline v0::detail
