// Helper threads for calls that block.
#pragma once

#include <rondo/detail/intrusive_list.hpp>

#include <chrono>
#include <memory>

namespace rondo::inline v0::detail {

/// A call for a helper thread. It lives until run() is done with it, which may delete it as the
/// last thing it does, or until withdraw() has taken it back.
class helper_job : public intrusive_hook {
public:
    /// Runs on a helper thread, where every signal is blocked that comes from outside.
    virtual void run() noexcept = 0;

protected:
    helper_job() noexcept = default;
    ~helper_job() = default;
};

struct helper_pool_options {
    /// At most so many. Not one for each processor: these threads wait, and a few that hang (a name
    /// server that does not answer takes its time) must not hold up the others.
    unsigned threads = 16;
    /// A thread with nothing to do ends after this.
    std::chrono::milliseconds idle = std::chrono::seconds(10);
    /// How long the destructor waits for abandoned jobs.
    std::chrono::milliseconds grace = std::chrono::milliseconds(100);
};

/// Runs jobs in the order they were submitted, on threads that are started when they are needed.
/// The members may be called from any thread.
class helper_pool {
public:
    explicit helper_pool(const helper_pool_options& options = {});
    helper_pool(const helper_pool&) = delete;
    helper_pool& operator=(const helper_pool&) = delete;
    /// Waits until all jobs have returned, for the abandoned ones at most the grace: threads that
    /// hang in one are left behind, with what they need, and end by themselves. Misuse: jobs that
    /// have not begun.
    ~helper_pool();

    /// Queues the job. Throws std::system_error, with the job not queued, when no thread could be
    /// started and none is there that could run it later.
    void submit(helper_job& job);

    /// Takes a submitted job back; false when it has begun.
    bool withdraw(helper_job& job) noexcept;

    /// Nobody waits any more for this job, which has begun: the destructor need not either. Has to
    /// be called while the job is alive.
    void abandon(helper_job& job) noexcept;

private:
    struct state;

    // Shared with the threads, some of which may be left behind.
    std::shared_ptr<state> state_;
};

}  // namespace rondo::inline v0::detail
