#include <rondo/io/blocking.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/task/operation_canceled.hpp>

namespace rondo::inline v0::detail {

void blocking_call::release() noexcept {
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

// On the helper.
void blocking_call::carry_out() noexcept {
    try {
        invoke();
    } catch (...) {
        failure_ = std::current_exception();
    }
    if (phase_.exchange(phase::finished, std::memory_order_acq_rel) == phase::abandoned) {
        release();
    } else {
        // The loop lives: it waits for helpers that were not abandoned. This call may not, once it
        // is posted.
        loop_->post(*this);
    }
}

// Back on the loop's thread.
void blocking_call::run() noexcept {
    loop_->make_ready(*awaiting_);
    release();
}

void blocking_wait::start(std::coroutine_handle<> awaiting, context& where) {
    if (!where.cancelled()) {
        scheduler& loop = scheduler::of(where);
        call_->awaiting_ = this;
        call_->loop_ = &loop;
        loop.helpers().submit(call_->job_);
        // Not sooner: where that throws, nobody waits. What the helper posts meanwhile is taken up
        // after this task has suspended.
        call_->owners_.fetch_add(1, std::memory_order_relaxed);
        where.wait_for(*this, awaiting);
    } else {
        cancelled_ = true;
        where.wait_for(*this, awaiting);
        where.loop().make_ready(*this);
    }
}

void blocking_wait::cancel() noexcept {
    helper_pool& helpers = scheduler::of(where()).helpers();
    if (helpers.withdraw(call_->job_)) {
        call_->release();  // for the helper that will not come
    } else if (call_->phase_.exchange(blocking_call::phase::abandoned,
                                      std::memory_order_acq_rel) == blocking_call::phase::waiting) {
        helpers.abandon(call_->job_);
    } else {
        return;  // it has finished, and what happened wins: its result is on the way
    }
    cancelled_ = true;
    where().loop().make_ready(*this);
}

void blocking_wait::throw_if_failed() const {
    if (cancelled_) throw_canceled();
    if (call_->failure_) std::rethrow_exception(call_->failure_);
}

}  // namespace rondo::inline v0::detail
