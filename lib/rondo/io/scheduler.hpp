// The loop of one thread: ready queue, timers, and the engine's turns.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/abi.hpp>
#include <rondo/engine/choose.hpp>
#include <rondo/engine/engine.hpp>
#include <rondo/io/buffer_pool.hpp>
#include <rondo/io/completion_target.hpp>
#include <rondo/io/operation.hpp>
#include <rondo/io/receive_state.hpp>
#include <rondo/io/timer_heap.hpp>
#include <rondo/task/event_loop.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <unordered_map>

namespace rondo::inline v0 {

namespace detail {
class helper_pool;
class thread_group;
}

/// What a scheduler is made of.
struct scheduler_options {
    engine_kind engine = engine_kind::automatic;
    engine_options queues = {};
    buffer_pool_options buffers = {};
    bool virtual_time = false;  ///< see run_options
    /// Makes the engine in place of `engine`, for tests; called on the scheduler's thread.
    std::function<std::unique_ptr<rondo::engine>(const engine_options&)> make_engine = {};
    std::function<void(std::span<waiter*>)> reorder_ready = {};  ///< see run_options
};

/// Counts since the scheduler began, unless they say "now".
struct scheduler_stats {
    std::uint64_t turns = 0;        ///< of the loop
    std::uint64_t enters = 0;       ///< system calls into the engine
    std::uint64_t entries = 0;      ///< requests prepared
    std::uint64_t completions = 0;  ///< completions reaped
    std::uint64_t overflows = 0;    ///< completion queue found full
    std::uint64_t resumptions = 0;  ///< tasks put into the ready queue
    std::uint64_t starvations = 0;  ///< receives that found no buffer
    std::size_t timers = 0;         ///< armed now
    std::size_t live_tasks = 0;     ///< threads of control now: root, children, branches, scopes
    std::size_t buffers_held = 0;   ///< buffers with data not given back, now
};

/// One per thread, made by run() and pinned to its thread: one ring, one thread. Tasks meet it as
/// their context's loop; only operations and their state use it directly.
class scheduler final : public event_loop {
public:
    /// Throws std::system_error when no engine can be made. A thread has at most one.
    explicit scheduler(const scheduler_options& options = {});
    ~scheduler();

    /// The scheduler behind a context.
    static scheduler& of(const context& where) noexcept {
        return static_cast<scheduler&>(where.loop());
    }

    /// Runs turns until `done`. Rethrows what the engine throws.
    void run_until(const bool& done);
    /// Runs turns until what was left to the scheduler (orphaned sockets) has ended.
    void settle();

    // --- for operations, on this thread ---

    /// A submission entry. Enters the engine when the queue is full. Not while reaping.
    io_uring_sqe& next_entry() {
        if (engine_->full()) [[unlikely]] return make_room();
        return engine_->take_entry();
    }

    /// The same where there is one at once, else null.
    bool has_entry() const noexcept { return !engine_->full(); }
    io_uring_sqe& take_entry() noexcept { return engine_->take_entry(); }

    static std::uint64_t tag(operation& o) noexcept { return reinterpret_cast<std::uintptr_t>(&o); }
    static std::uint64_t tag(receive_state& s) noexcept {
        return reinterpret_cast<std::uintptr_t>(&s) | receive_tag;
    }
    static std::uint64_t tag(completion_target& t) noexcept {
        return reinterpret_cast<std::uintptr_t>(&t) | target_tag;
    }
    static constexpr std::uint64_t ignored = 2;  ///< for requests nobody waits for

    /// Asks for the cancellation of the request with this user_data, again and again until it has
    /// ended: for a moment, between two attempts, a kernel does not find what it has.
    void cancel_request(std::uint64_t user_data);

    /// Calls attend() when this reaping is over. Any time.
    void attend_to(completion_target& target) noexcept;

    engine& carrier() const noexcept { return *engine_; }
    buffer_pool& buffers() const noexcept { return *buffers_; }
    std::uint32_t turn() const noexcept { return turn_; }
    bool on_this_thread() const noexcept { return thread_ == std::this_thread::get_id(); }
    scheduler_stats stats() const noexcept;

    /// The schedulers of the run() this one belongs to, in the order of its threads: on() takes
    /// them. Alone, it is the only one. Constant while tasks run.
    std::span<scheduler* const> siblings() const noexcept;
    /// The threads of that run(), or null when it is alone.
    detail::thread_group* group() const noexcept { return group_; }
    void join(detail::thread_group& group) noexcept { group_ = &group; }

    /// Lets the state be stopped and unbound when the scheduler ends.
    void adopt(completion_target& state) noexcept { bound_.push_back(state); }
    void orphan_made() noexcept { ++orphans_; }
    void orphan_ended() noexcept { --orphans_; }

    /// Threads for calls that block, made at the first call. What they run may post to this
    /// scheduler, which waits for it when it ends, unless it is abandoned.
    detail::helper_pool& helpers();

    // --- event_loop ---
    void arm(timer& t, clock::time_point deadline) override { timers_.arm(t, deadline); }
    void disarm(timer& t) noexcept override { timers_.disarm(t); }
    clock::time_point now() noexcept override;
    void post(posted_work& work) noexcept override;

private:
    static constexpr std::uint64_t receive_tag = 1;
    static constexpr std::uint64_t target_tag = 2;
    static constexpr std::size_t ready_budget = 4096;  // resumptions in one turn, about

    // The eventfd by which other threads interrupt a waiting enter().
    class waker final : public completion_target {
    public:
        explicit waker(scheduler& on);
        void arm();
        void wake() noexcept;
        void complete(std::int32_t result, std::uint32_t flags) noexcept override;
        void attend() noexcept override { arm(); }
        void stop() override {}
        bool stopped() const noexcept override { return true; }
        void unbind() override {}

    private:
        scheduler* scheduler_;
        detail::unique_fd event_;
    };

    // Asks again for cancels that did not end what is still there.
    class canceller final : public completion_target {
    public:
        explicit canceller(scheduler& on) noexcept : scheduler_(&on) {}
        void ask(std::uint64_t user_data) noexcept;
        /// No completion of this request is to come.
        void ended(std::uint64_t user_data) noexcept {
            if (!asked_.empty()) [[unlikely]] asked_.erase(user_data);
        }
        /// What the kernel said of one of the cancels.
        void answered(std::int32_t result) noexcept;
        /// How long the loop may wait that would wait so long: it is asked again after that.
        engine::duration limit(engine::duration wait) noexcept {
            return repeats_ ? limited(wait) : wait;
        }
        void complete(std::int32_t, std::uint32_t) noexcept override {}
        void attend() noexcept override;
        void stop() override {}
        bool stopped() const noexcept override { return true; }
        void unbind() override {}

    private:
        // A kernel gives a request up to 128 attempts before it waits where a cancel finds it.
        static constexpr unsigned most_at_once = 200;
        static constexpr engine::duration shortest_pause = std::chrono::milliseconds(1);
        static constexpr engine::duration longest_pause = std::chrono::milliseconds(64);

        engine::duration limited(engine::duration wait) noexcept;

        scheduler* scheduler_;
        bool repeats_ = false;    // asks again when the loop has waited
        unsigned at_once_ = 0;    // asked again since the newest was asked first
        engine::duration pause_ = shortest_pause;
        std::uint64_t numbers_ = 0;
        // Those that have not ended, and their numbers in the order of asking.
        std::unordered_map<std::uint64_t, std::uint64_t> asked_;
    };

    void prepare_cancel(std::uint64_t user_data);
    // Two of each, so that a program pays nothing for what tests alone ask for.
    template <bool Reorders>
    void run_turn(const bool& done);
    template <bool Reorders>
    void run_ready();
    void reorder_ready();
    void run_posted() noexcept;
    void expire_timers() noexcept;
    engine::duration longest_wait() noexcept;
    void enter(engine::duration timeout);
    engine::duration leap(engine::duration wait) noexcept;
    void reap() noexcept;
    void dispatch(const completion& c, clock::time_point at) noexcept;
    void attend_all() noexcept;
    [[gnu::noinline, gnu::cold]] io_uring_sqe& make_room();
    void unbind_all() noexcept;

    // Set once.
    std::unique_ptr<engine> engine_;
    std::unique_ptr<buffer_pool> buffers_;
    std::thread::id thread_ = std::this_thread::get_id();
    scheduler* const self_ = this;
    detail::thread_group* group_ = nullptr;
    bool virtual_time_ = false;

    // This thread.
    timer_heap timers_;
    clock::time_point now_{};
    bool now_known_ = false;
    bool looked_ = false;  // virtual time: nothing was there to do when the engine was last entered
    bool reaping_ = false;
    std::uint32_t turn_ = 0;
    std::size_t orphans_ = 0;
    completion_target* attended_ = nullptr;
    detail::intrusive_list<completion_target> bound_;
    std::uint64_t turns_ = 0;
    std::uint64_t enters_ = 0;
    std::uint64_t entries_ = 0;
    std::uint64_t completions_ = 0;

    // Any thread: a stack of posted work, newest first; null when empty.
    std::atomic<posted_work*> posted_ = nullptr;
    waker waker_;

    // This thread; seldom used.
    canceller canceller_{*this};
    std::unique_ptr<detail::helper_pool> helpers_;
    const std::function<void(std::span<waiter*>)> reorder_;
};

inline void operation::submit(scheduler& on) {
    io_uring_sqe& entry = on.next_entry();
    prepare(entry);
    abi::set_user_data(entry, scheduler::tag(*this));
}

namespace detail {

class [[nodiscard]] this_scheduler_awaiter {
public:
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        scheduler_ = &scheduler::of(awaiting.promise().task_context());
        return false;
    }
    scheduler& await_resume() const noexcept { return *scheduler_; }

private:
    scheduler* scheduler_ = nullptr;
};

}  // namespace detail

/// `scheduler& s = co_await this_scheduler();` Never suspends, never fails.
inline detail::this_scheduler_awaiter this_scheduler() noexcept { return {}; }

}  // namespace rondo::inline v0
