#include <rondo/detail/helper_pool.hpp>
#include <rondo/detail/misuse.hpp>

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cstddef>
#include <condition_variable>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>

namespace rondo::inline v0::detail {

namespace {

// A thread inherits the mask of the one that starts it. Signals are for the threads that run loops;
// those by which a thread reports its own fault cannot wait.
class signals_blocked {
public:
    signals_blocked() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
            ::sigdelset(&all, fault);
        }
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    signals_blocked(const signals_blocked&) = delete;
    signals_blocked& operator=(const signals_blocked&) = delete;
    ~signals_blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
};

}  // namespace

// Everything in it is guarded by `mutex`, but for `options`, which is constant.
struct helper_pool::state {
    struct worker {
        std::thread thread;
        helper_job* job = nullptr;  // that it runs
        bool abandoned = false;     // is this job
        bool ended = false;         // it touches nothing of ours any more
    };

    explicit state(const helper_pool_options& chosen) : options(chosen) {}

    static void work(std::shared_ptr<state> pool, worker& self);
    void start_worker(const std::shared_ptr<state>& pool);
    helper_job* next_job(std::unique_lock<std::mutex>& lock);
    void close() noexcept;

    const helper_pool_options options;
    std::mutex mutex;
    std::condition_variable job_queued;  // or closing
    std::condition_variable job_ended;   // or a thread
    intrusive_list<helper_job> jobs;     // that have not begun
    std::size_t queued = 0;              // how many these are
    std::size_t idle = 0;                // threads waiting, or on their way to a job
    std::list<worker> workers;
    bool closing = false;  // threads end when they have no job
    bool closed = false;   // `workers` is gone
};

void helper_pool::state::work(std::shared_ptr<state> pool, worker& self) {
    ::pthread_setname_np(::pthread_self(), "rondo-helper");
    std::unique_lock lock(pool->mutex);
    while (helper_job* job = pool->next_job(lock)) {
        self.job = job;
        self.abandoned = false;
        lock.unlock();
        job->run();
        lock.lock();
        if (pool->closed) return;  // left behind: `self` is gone
        self.job = nullptr;
        if (pool->closing) pool->job_ended.notify_all();
    }
    if (pool->closing) {
        self.ended = true;
        pool->job_ended.notify_all();
        return;
    }
    // Idle for long enough: nobody is there to join it.
    self.thread.detach();
    pool->workers.remove_if([&](const worker& each) { return &each == &self; });
}

// Null when the thread is to end.
helper_job* helper_pool::state::next_job(std::unique_lock<std::mutex>& lock) {
    ++idle;
    job_queued.wait_for(lock, options.idle, [this] { return closing || !jobs.empty(); });
    --idle;
    helper_job* first = jobs.pop_front();
    if (first != nullptr) --queued;
    return first;
}

void helper_pool::state::start_worker(const std::shared_ptr<state>& pool) {
    worker& made = workers.emplace_back();
    const signals_blocked inherited;
    try {
        made.thread = std::thread(&state::work, pool, std::ref(made));
    } catch (...) {
        workers.pop_back();
        throw;
    }
}

void helper_pool::state::close() noexcept {
    std::list<worker> left;
    {
        std::unique_lock lock(mutex);
        require(jobs.empty(), "a pool of helper threads ends with jobs that have not begun: await "
                              "or withdraw them first");
        closing = true;
        job_queued.notify_all();
        job_ended.wait(lock, [this] {
            return std::ranges::all_of(
                workers, [](const worker& each) { return each.ended || each.abandoned; });
        });
        job_ended.wait_for(lock, options.grace, [this] {
            return std::ranges::all_of(workers, [](const worker& each) { return each.ended; });
        });
        closed = true;
        left.swap(workers);
    }
    for (worker& each : left) {
        if (each.ended) {
            each.thread.join();
        } else {
            each.thread.detach();
        }
    }
}

helper_pool::helper_pool(const helper_pool_options& options)
    : state_(std::make_shared<state>(options)) {}

helper_pool::~helper_pool() { state_->close(); }

void helper_pool::submit(helper_job& job) {
    state& pool = *state_;
    const std::lock_guard lock(pool.mutex);
    // Each idle thread takes one of those that are queued already.
    if (pool.queued >= pool.idle && pool.workers.size() < pool.options.threads) {
        try {
            pool.start_worker(state_);
        } catch (const std::system_error& failure) {
            if (pool.workers.empty()) {
                throw std::system_error(failure.code(),
                                        "no helper thread can be started (see ulimit -u and the "
                                        "control group's pids.max)");
            }
        }
    }
    pool.jobs.push_back(job);
    ++pool.queued;
    pool.job_queued.notify_one();
}

bool helper_pool::withdraw(helper_job& job) noexcept {
    state& pool = *state_;
    const std::lock_guard lock(pool.mutex);
    if (!job.is_linked()) return false;
    job.unlink();
    --pool.queued;
    return true;
}

void helper_pool::abandon(helper_job& job) noexcept {
    state& pool = *state_;
    const std::lock_guard lock(pool.mutex);
    for (state::worker& each : pool.workers) {
        if (each.job == &job) each.abandoned = true;
    }
}

}  // namespace rondo::inline v0::detail
