#include <rondo/task/sleep.hpp>

namespace rondo::inline v0::detail {

void sleep_operation::start(std::coroutine_handle<> awaiting, context& where) {
    where.wait_for(*this, awaiting);
    if (where.cancelled()) {
        cancelled_ = true;
        where.loop().make_ready(*this);
        return;
    }
    where.loop().arm(*this, relative_ ? deadline_after(where.loop().now(), duration_) : deadline_);
}

void sleep_operation::expire() noexcept { where().loop().make_ready(*this); }

void sleep_operation::cancel() noexcept {
    cancelled_ = true;
    where().loop().disarm(*this);
    where().loop().make_ready(*this);
}

}  // namespace rondo::inline v0::detail
