#include <rondo/io/readable.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/result.hpp>

#include <liburing.h>
#include <poll.h>

#include <bit>
#include <cerrno>
#include <system_error>

namespace rondo::inline v0 {

namespace detail {

void poll_operation::prepare(io_uring_sqe& entry) noexcept {
    entry = {};
    entry.opcode = IORING_OP_POLL_ADD;
    entry.fd = descriptor_;
    std::uint32_t events = POLLIN;
    // The kernel wants the halves in this order.
    if constexpr (std::endian::native == std::endian::big) events = std::rotl(events, 16);
    entry.poll32_events = events;
}

void poll_operation::await_resume() const {
    if (result_ >= 0) return;
    if (result_ == -ECANCELED) throw_canceled();
    throw std::system_error(error(), "poll");
}

std::string poll_operation::awaits() const {
    return "descriptor " + std::to_string(descriptor_) + " to be readable";
}

}  // namespace detail

task<> readable(int descriptor) {
    for (;;) {
        auto polled = co_await as_result(detail::poll_operation(descriptor));
        const int failed = polled.error().value();
        if (failed == EINTR || failed == EAGAIN) continue;
        polled.value();
        co_return;
    }
}

}  // namespace rondo::inline v0
