#include <rondo/sync/posted_operation.hpp>

namespace rondo::inline v0::detail {

void posted_operation::run() noexcept {
    // Who posted this may still be in post(), with the lock held: the loop must not end before.
    { const std::lock_guard left(*lock_); }
    where().loop().make_ready(*this);
}

void posted_operation::cancel() noexcept {
    {
        const std::lock_guard guard(*lock_);
        if (outcome_ != wait_outcome::none) return;
        leave_list();
    }
    sync_operation::end(wait_outcome::canceled);
}

}  // namespace rondo::inline v0::detail
