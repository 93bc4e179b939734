#include <rondo/net/accept_operation.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <cerrno>

namespace rondo::inline v0::detail {

void accept_base::collect() noexcept {
    if (collected_) return;
    collected_ = true;
    leave();
    if (result_ >= 0) result_ = state_->take();
}

unique_fd accept_base::take() {
    collect();
    if (result_ == -ECANCELED) throw_canceled();
    if (result_ < 0) throw_local_error("accept", state_->descriptor(), -result_);
    return unique_fd(result_);
}

std::string accept_base::awaits() const {
    return "accept on " + local_text(state_->descriptor());
}

std::error_code accept_base::error() noexcept {
    collect();
    return operation::error();
}

}  // namespace rondo::inline v0::detail
