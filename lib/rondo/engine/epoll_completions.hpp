// The completion queue of epoll_engine and the backlog of what did not fit into it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <rondo/engine/engine.hpp>
#include <rondo/engine/epoll_operation.hpp>

namespace rondo::inline v0::detail {

/// The reader takes from the head, post() adds at the tail. What finds the queue full waits in
/// the backlog, and everything after it as well: the order is kept and nothing is lost.
class epoll_completions {
public:
    /// `capacity` is a power of two.
    explicit epoll_completions(unsigned capacity)
        : entries_(std::make_unique<completion[]>(capacity)), mask_(capacity - 1) {}

    epoll_completions(const epoll_completions&) = delete;
    epoll_completions& operator=(const epoll_completions&) = delete;

    completion* entries() noexcept { return entries_.get(); }
    unsigned* head() noexcept { return &head_; }
    unsigned* tail() noexcept { return &tail_; }
    unsigned mask() const noexcept { return mask_; }

    /// Whether there is something to read.
    bool any() const noexcept { return tail_ != head_; }
    /// Whether post() would go past the backlog.
    bool room() const noexcept { return tail_ - head_ <= mask_ && backlog_.empty(); }
    std::uint64_t overflows() const noexcept { return overflows_; }

    void post(std::uint64_t user_data, std::int32_t result, std::uint32_t flags) {
        if (room()) [[likely]] {
            entries_[tail_++ & mask_] = {user_data, result, flags};
        } else {
            ++overflows_;
            backlog_.push_back({user_data, result, flags});
        }
    }

    /// The last completion of `operation`, unless it asked not to be told of a success.
    void complete(const epoll_operation& operation, std::int64_t result, std::uint32_t flags = 0);
    /// Bytes moved before the error are reported instead of it, as the kernel does; being short
    /// they count as a failure, which IOSQE_CQE_SKIP_SUCCESS does not hide. Returns `finished`.
    epoll_outcome fail(const epoll_operation& operation, int error);
    /// One completion of many. False when it had to be the last: with a full queue a multishot
    /// would fill the backlog without bound.
    bool deliver(const epoll_operation& operation, int result, std::uint32_t flags);

    /// Keeps a completion for the next enter().
    void post_later(std::uint64_t user_data, std::int32_t result) {
        backlog_.push_back({user_data, result, 0});
    }

    void deliver_backlog() noexcept {
        if (backlog_.empty()) return;
        while (delivered_ != backlog_.size() && tail_ - head_ <= mask_) {
            entries_[tail_++ & mask_] = backlog_[delivered_++];
        }
        if (delivered_ != backlog_.size()) return;
        backlog_.clear();
        delivered_ = 0;
    }

private:
    std::unique_ptr<completion[]> entries_;
    const unsigned mask_;
    unsigned head_ = 0;
    unsigned tail_ = 0;
    std::vector<completion> backlog_;
    std::size_t delivered_ = 0;  // of the backlog
    std::uint64_t overflows_ = 0;
};

}  // namespace rondo::inline v0::detail
