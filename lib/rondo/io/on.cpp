#include <rondo/io/on.hpp>
#include <rondo/task/operation_canceled.hpp>

namespace rondo::inline v0::detail {

void journey::depart(std::coroutine_handle<> awaiting, context& where) {
    where.wait_for(*this, awaiting);
    if (where.cancelled()) {
        failure_ = std::make_exception_ptr(operation_canceled());
        where.loop().make_ready(*this);
        return;
    }
    reasons_to_stay_.store(1, std::memory_order_relaxed);  // the child
    there_->post(way_there_);
}

void journey::arrived() noexcept {
    context_.emplace(static_cast<event_loop&>(*there_));
    begin();
}

// Here. Where nothing holds it over there any more, it is on its way back, and what happened wins.
void journey::cancel() noexcept {
    unsigned reasons = reasons_to_stay_.load(std::memory_order_relaxed);
    do {
        if (reasons == 0) return;
    } while (!reasons_to_stay_.compare_exchange_weak(reasons, reasons + 1,
                                                     std::memory_order_acq_rel));
    there_->post(cancel_order_);
}

void journey::cancelled_there() noexcept {
    context_->cancel();
    leave();
}

// Over there.
void journey::leave() noexcept {
    if (reasons_to_stay_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    context_.reset();
    where().loop().post(way_back_);
}

}  // namespace rondo::inline v0::detail
