#include <rondo/detail/misuse.hpp>
#include <rondo/sync/mutex.hpp>

namespace rondo::inline v0 {

mutex::~mutex() { detail::require(!locked_, "a mutex is destroyed while it is locked"); }

mutex_guard mutex::try_lock() noexcept {
    if (locked_) return {};
    locked_ = true;
    return mutex_guard(*this);
}

void mutex::unlock() noexcept {
    // Handed over still locked: nobody who comes in between overtakes the first in the list.
    if (auto* const first = waiting_.pop_front()) {
        first->end(detail::wait_outcome::done);
    } else {
        locked_ = false;
    }
}

namespace detail {

bool mutex_lock_operation::start(std::coroutine_handle<> awaiting, context& where) noexcept {
    if (where.cancelled()) return end_by_loop(wait_outcome::canceled, awaiting, where);
    if (!mutex_->locked_) {
        mutex_->locked_ = true;
        return end_at_once(awaiting, where);
    }
    where.wait_for(*this, awaiting);
    mutex_->waiting_.push_back(*this);
    return true;
}

mutex_guard mutex_lock_operation::await_resume() {
    throw_if_canceled();
    return mutex_guard(*mutex_);
}

}  // namespace detail

}  // namespace rondo::inline v0
