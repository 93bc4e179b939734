#include <rondo/io/operation.hpp>
#include <rondo/io/scheduler.hpp>

#include <liburing.h>

#include <cerrno>
#include <limits>

namespace rondo::inline v0 {

scheduler& operation::loop() const noexcept { return scheduler::of(where()); }

void operation::start(std::coroutine_handle<> awaiting, context& where) {
    where.wait_for(*this, awaiting);
    enough_ = std::numeric_limits<std::int32_t>::min();
    if (where.cancelled()) [[unlikely]] {
        result_ = -ECANCELED;
        return finish();
    }
    submit(scheduler::of(where));
}

void operation::proceed() {
    unfinished_ = false;
    if (!cancel_requested_) return submit(loop());
    result_ = -ECANCELED;
    finish();
}

void operation::fell_short() noexcept { finish(); }

void operation::cancel() noexcept {
    if (cancel_requested_) return;
    cancel_requested_ = true;
    enough_ = std::numeric_limits<std::int32_t>::max();
    if (unfinished_) return;  // nothing in the kernel; proceed() ends it
    scheduler& on = loop();
    on.cancel_request(on.tag(*this));
}

}  // namespace rondo::inline v0
