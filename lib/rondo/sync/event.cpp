#include <rondo/detail/misuse.hpp>
#include <rondo/sync/event.hpp>

namespace rondo::inline v0 {

event::~event() {
    detail::require(waiting_.empty(), "an event is destroyed while a task waits for it");
}

void event::set() noexcept {
    set_ = true;
    while (auto* first = waiting_.pop_front()) first->end(detail::wait_outcome::done);
}

namespace detail {

bool event_wait_operation::start(std::coroutine_handle<> awaiting, context& where) noexcept {
    if (where.cancelled()) return end_by_loop(wait_outcome::canceled, awaiting, where);
    if (event_->set_) return end_at_once(awaiting, where);
    where.wait_for(*this, awaiting);
    event_->waiting_.push_back(*this);
    return true;
}

}  // namespace detail

}  // namespace rondo::inline v0
