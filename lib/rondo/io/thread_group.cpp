#include <rondo/io/run.hpp>
#include <rondo/io/thread_group.hpp>
#include <rondo/task/operation_canceled.hpp>

namespace rondo::inline v0::detail {

void thread_group::wait_for_all(std::unique_lock<std::mutex>& lock) noexcept {
    const std::size_t gate = gate_;
    if (++here_ == size_) {
        here_ = 0;
        ++gate_;
        all_here_.notify_all();
        return;
    }
    all_here_.wait(lock, [&] { return gate_ != gate; });
}

bool thread_group::arrive(root& member, scheduler& loop) {
    std::unique_lock lock(lock_);
    if (members_.empty()) {
        members_.resize(size_);
        loops_.resize(size_);
    }
    members_[member.index()] = &member;
    loops_[member.index()] = &loop;
    wait_for_all(lock);
    return !incomplete_;
}

void thread_group::stay_away(std::exception_ptr failure) noexcept {
    std::unique_lock lock(lock_);
    incomplete_ = true;
    if (!failure_) failure_ = std::move(failure);
    wait_for_all(lock);
}

void thread_group::miss(std::size_t threads) noexcept {
    const std::lock_guard lock(lock_);
    here_ += threads;
}

void thread_group::failed(std::exception_ptr failure) noexcept {
    const std::lock_guard lock(lock_);
    // Those that were cancelled for another's failure fail by that.
    if (cancelling_) return;
    cancelling_ = true;
    failure_ = std::move(failure);
    for (root* member : members_) member->ask_to_cancel();
}

void thread_group::ended() noexcept {
    const std::lock_guard lock(lock_);
    if (++ended_ != size_) return;
    for (root* member : members_) member->ask_to_finish();
}

void thread_group::leave() noexcept {
    std::unique_lock lock(lock_);
    wait_for_all(lock);
}

}  // namespace rondo::inline v0::detail
