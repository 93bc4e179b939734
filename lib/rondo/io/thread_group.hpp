// The threads of one run(): they begin together, end together, and one's failure ends all.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

class scheduler;

namespace detail {

class root;

/// Shared by the roots of all threads. Every member may be called on any of them. No scheduler is
/// gone before all roots have ended and nothing posts to it any more: leave() sees to it.
class thread_group {
public:
    explicit thread_group(std::size_t size) : size_(size) {}
    thread_group(const thread_group&) = delete;
    thread_group& operator=(const thread_group&) = delete;

    // --- a thread's way, in this order ---

    /// Waits until all threads are here. False where one of them could not come: nothing is run.
    bool arrive(root& member, scheduler& loop);
    /// In place of arrive().
    void stay_away(std::exception_ptr failure) noexcept;
    /// So many threads were never started: somebody else stays away in their place.
    void miss(std::size_t threads) noexcept;
    /// The first failure cancels all other roots.
    void failed(std::exception_ptr failure) noexcept;
    /// One root has ended. When the last one has, all are told to finish.
    void ended() noexcept;
    /// Waits until all threads are here.
    void leave() noexcept;

    /// The first failure, or null; once all threads have left.
    std::exception_ptr take_failure() noexcept { return std::move(failure_); }

    /// In the order of the threads, the caller of run() first.
    std::span<scheduler* const> schedulers() const noexcept { return loops_; }

    /// The n-th call with a name on a thread gets what the n-th call with it on another got; the
    /// first to come makes it, and nobody else meanwhile. Throws what `make` throws; the next one
    /// to come then tries again. `made` tells who made it.
    template <typename T, typename Make>
    std::shared_ptr<T> share(const scheduler& caller, const std::string& name, bool& made,
                             Make make) {
        const std::lock_guard lock(sharing_);
        const unsigned n = counts_[{&caller, name}]++;
        std::shared_ptr<void>& place = shared_[{n, name}];
        made = place == nullptr;
        if (made) place = make();
        return std::static_pointer_cast<T>(place);
    }

private:
    void wait_for_all(std::unique_lock<std::mutex>& lock) noexcept;

    const std::size_t size_;
    std::mutex lock_;  // guards what follows
    std::condition_variable all_here_;
    std::size_t here_ = 0;        // at the gate that is waited at
    std::size_t gate_ = 0;        // gates that have opened
    std::size_t ended_ = 0;
    bool incomplete_ = false;     // a thread stayed away
    bool cancelling_ = false;
    std::vector<root*> members_;
    std::vector<scheduler*> loops_;  // complete, and constant, once arrive() has returned
    std::exception_ptr failure_;

    std::mutex sharing_;  // guards what follows; held while something is made
    std::map<std::pair<const scheduler*, std::string>, unsigned> counts_;
    std::map<std::pair<unsigned, std::string>, std::shared_ptr<void>> shared_;
};

}  // namespace detail

}  // namespace rondo::inline v0
