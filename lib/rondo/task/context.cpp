#include <rondo/task/context.hpp>
#include <rondo/task/event_loop.hpp>

namespace rondo::inline v0 {

context::context(event_loop& loop) noexcept
    : loop_(&loop),
      parent_(nullptr),
      stop_(nullptr),
      shielded_(false),
      cancelled_(false),
      since_(loop.turn_began_) {
    loop_->roots_.push_back(*this);
    ++loop_->live_contexts_;
}

context::context(context& parent, shielding shield) noexcept
    : loop_(parent.loop_),
      parent_(&parent),
      stop_(parent.stop_),
      shielded_(shield == shielding::on),
      cancelled_(parent.cancelled_ && !shielded_),
      since_(loop_->turn_began_) {
    parent.children_.push_back(*this);
    ++loop_->live_contexts_;
}

context::~context() { --loop_->live_contexts_; }

void context::cancel() noexcept {
    if (cancelled_) return;
    cancelled_ = true;
    if (waiting_ != nullptr) waiting_->cancel();
    for (context& child : children_) {
        if (!child.shielded_) child.cancel();
    }
}

}  // namespace rondo::inline v0
