#include <rondo/detail/misuse.hpp>
#include <rondo/sync/semaphore.hpp>

namespace rondo::inline v0 {

semaphore::~semaphore() {
    detail::require(waiting_.empty(), "a semaphore is destroyed while a task waits for it");
}

bool semaphore::try_acquire(std::size_t count) noexcept {
    if (!waiting_.empty() || available_ < count) return false;
    available_ -= count;
    return true;
}

void semaphore::release(std::size_t count) noexcept {
    available_ += count;
    serve();
}

void semaphore::serve() noexcept {
    while (!waiting_.empty() && waiting_.front()->count_ <= available_) {
        detail::semaphore_operation& first = *waiting_.pop_front();
        available_ -= first.count_;
        first.end(detail::wait_outcome::done);
    }
}

namespace detail {

bool semaphore_operation::start(std::coroutine_handle<> awaiting, context& where) noexcept {
    if (where.cancelled()) return end_by_loop(wait_outcome::canceled, awaiting, where);
    if (semaphore_->try_acquire(count_)) return end_at_once(awaiting, where);
    where.wait_for(*this, awaiting);
    semaphore_->waiting_.push_back(*this);
    return true;
}

void semaphore_operation::cancel() noexcept {
    sync_operation::cancel();
    // Those behind it may want less.
    semaphore_->serve();
}

}  // namespace detail

}  // namespace rondo::inline v0
