#include <rondo/detail/helper_pool.hpp>
#include <rondo/detail/misuse.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/io/thread_group.hpp>

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <new>
#include <system_error>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

namespace {

// Some nanoseconds instead of twenty, and milliseconds behind: enough to tell since when a task
// waits.
clock::time_point coarse_now() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return clock::time_point(std::chrono::seconds(now.tv_sec) +
                             std::chrono::nanoseconds(now.tv_nsec));
}

constinit thread_local bool thread_has_scheduler = false;

std::unique_ptr<engine> engine_for(const scheduler_options& options) {
    detail::require(!thread_has_scheduler, "a second scheduler is made on one thread: run() inside "
                                           "of run(); await the task instead");
    if (options.make_engine) return options.make_engine(options.queues);
    return make_engine(options.engine, options.queues);
}

}  // namespace

scheduler::scheduler(const scheduler_options& options)
    : engine_(engine_for(options)),
      buffers_(std::make_unique<buffer_pool>(*engine_, options.buffers)),
      virtual_time_(options.virtual_time),
      waker_(*this),
      reorder_(options.reorder_ready) {
    turn_began_ = virtual_time_ ? now() : coarse_now();
    waker_.arm();
    thread_has_scheduler = true;
}

scheduler::~scheduler() {
    helpers_.reset();  // from here on none of them posts
    run_posted();
    unbind_all();
    buffer_pool::retire(std::move(buffers_));
    thread_has_scheduler = false;
}

// --- turns -----------------------------------------------------------------------------------

void scheduler::run_until(const bool& done) {
    if (reorder_) {
        while (!done) run_turn<true>(done);
    } else {
        while (!done) run_turn<false>(done);
    }
}

void scheduler::settle() {
    const bool never = false;
    while (orphans_ != 0) run_turn<false>(never);
}

template <bool Reorders>
void scheduler::run_turn(const bool& done) {
    ++turns_;
    ++turn_;
    run_posted();
    run_ready<Reorders>();
    expire_timers();
    // The root may have ended just now: then nothing will ever complete.
    if (done) return;
    enter(canceller_.limit(longest_wait()));
    reap();
    attend_all();
}

void scheduler::run_posted() noexcept {
    if (posted_.load(std::memory_order_relaxed) == nullptr) return;
    posted_work* newest = posted_.exchange(nullptr, std::memory_order_acquire);
    posted_work* oldest = nullptr;
    while (newest != nullptr) {
        posted_work* next = std::exchange(newest->next_, oldest);
        oldest = newest;
        newest = next;
    }
    while (oldest != nullptr) {
        posted_work* next = oldest->next_;  // run() may free it
        oldest->run();
        oldest = next;
    }
}

template <bool Reorders>
void scheduler::run_ready() {
    const std::uint64_t enough = readied_ + ready_budget;
    while (!ready_.empty() && readied_ < enough) {
        if constexpr (Reorders) reorder_ready();
        resume_ready();
    }
}

void scheduler::reorder_ready() {
    std::vector<waiter*> all;
    ready_.drain([&](waiter& each) { all.push_back(&each); });
    reorder_(all);
    for (waiter* each : all) ready_.push_back(*each);
}

void scheduler::expire_timers() noexcept {
    if (timers_.empty()) return;
    const clock::time_point at = now();
    while (timer* due = timers_.pop_due(at)) due->expire();
}

engine::duration scheduler::longest_wait() noexcept {
    if (!ready_.empty() || attended_ != nullptr ||
        posted_.load(std::memory_order_relaxed) != nullptr) {
        return engine::no_wait;
    }
    if (timers_.empty()) return engine::forever;
    const auto left = timers_.earliest() - now();
    if (left <= engine::no_wait) return engine::no_wait;
    return virtual_time_ ? leap(left) : left;
}

// In virtual time, with nothing to do but to wait for a deadline: looks into the engine once more,
// and when that brought nothing, time has come.
engine::duration scheduler::leap(engine::duration wait) noexcept {
    if (looked_) now_ += wait;
    looked_ = !looked_;
    return engine::no_wait;
}

clock::time_point scheduler::now() noexcept {
    if (!now_known_) {
        now_ = clock::now();
        now_known_ = true;
    }
    return now_;
}

// --- the engine ------------------------------------------------------------------------------

void scheduler::enter(engine::duration timeout) {
    if (buffers_->usable()) buffers_->publish();
    const unsigned prepared = engine_->pending_entries();
    if (engine_->enter(timeout)) ++enters_;
    entries_ += prepared - engine_->pending_entries();
    now_known_ = virtual_time_;
}

io_uring_sqe& scheduler::make_room() {
    detail::require(!reaping_, "an entry is taken while completions are reaped");
    for (;;) {
        enter(engine::no_wait);
        if (io_uring_sqe* free = engine_->next_entry()) return *free;
        // The engine takes no entries while its completions have nowhere to go.
        reap();
        attend_all();
        if (io_uring_sqe* free = engine_->next_entry()) return *free;
    }
}

void scheduler::reap() noexcept {
    reaping_ = true;
    turn_began_ = virtual_time_ ? now_ : coarse_now();
    const unsigned reaped =
        engine_->reap([this, at = turn_began_](const completion& c) { dispatch(c, at); });
    completions_ += reaped;
    readied_ += reaped;
    if (reaped != 0) looked_ = false;
    reaping_ = false;
}

inline void scheduler::dispatch(const completion& c, clock::time_point at) noexcept {
    // The low bits of user_data tell whose completion it is; the order is that of frequency. reap()
    // counts each completion as a task made ready; where it is not one, this takes it back.
    if ((c.user_data & receive_tag) != 0) {
        auto& state = *reinterpret_cast<receive_state*>(c.user_data - receive_tag);
        if (lease_waiter* reader = state.hand_over(c.result, c.flags)) [[likely]] {
            make_ready(*reader, at);
        } else {
            --readied_;
            if ((c.flags & IORING_CQE_F_MORE) == 0) canceller_.ended(c.user_data);
            state.complete(c.result, c.flags);
        }
    } else if ((c.user_data & target_tag) == 0) [[likely]] {
        auto& ended = *reinterpret_cast<operation*>(c.user_data);
        ended.result_ = c.result;
        if (c.result >= ended.enough_) [[likely]] {
            make_ready(ended, at);
        } else {
            --readied_;
            canceller_.ended(c.user_data);
            ended.fell_short();
        }
    } else {
        --readied_;
        if (c.user_data == ignored) {
            canceller_.answered(c.result);
            return;
        }
        if ((c.flags & IORING_CQE_F_MORE) == 0) canceller_.ended(c.user_data);
        reinterpret_cast<completion_target*>(c.user_data - target_tag)->complete(c.result, c.flags);
    }
}

void scheduler::attend_to(completion_target& target) noexcept {
    if (target.next_attended_ != nullptr) return;
    target.next_attended_ = attended_ != nullptr ? attended_ : &target;
    attended_ = &target;
}

void scheduler::attend_all() noexcept {
    while (attended_ != nullptr) {
        completion_target& first = *attended_;
        attended_ = first.next_attended_ == &first ? nullptr : first.next_attended_;
        first.next_attended_ = nullptr;
        first.attend();
    }
}

detail::helper_pool& scheduler::helpers() {
    if (helpers_ == nullptr) helpers_ = std::make_unique<detail::helper_pool>();
    return *helpers_;
}

void scheduler::cancel_request(std::uint64_t user_data) {
    canceller_.ask(user_data);
    prepare_cancel(user_data);
}

void scheduler::prepare_cancel(std::uint64_t user_data) {
    io_uring_sqe& entry = next_entry();
    entry = {};
    entry.opcode = IORING_OP_ASYNC_CANCEL;
    entry.fd = -1;
    entry.addr = user_data;
    if (engine_->has(feature::skip_success)) entry.flags = IOSQE_CQE_SKIP_SUCCESS;
    entry.user_data = ignored;
}

void scheduler::canceller::ask(std::uint64_t user_data) noexcept {
    at_once_ = 0;
    pause_ = shortest_pause;
    try {
        asked_[user_data] = ++numbers_;
    } catch (const std::bad_alloc&) {
        // Then it is asked once.
    }
}

// ENOENT: where a socket is ready whenever it is polled, and refuses all the same, the kernel
// queues the request to itself, and there no cancel finds it. EALREADY: a thread of the kernel has
// it and is interrupted, which ends it, or makes it go back to wait where the interruption is
// forgotten.
void scheduler::canceller::answered(std::int32_t result) noexcept {
    if (asked_.empty()) return;
    if (result == -ENOENT && at_once_ < most_at_once) {
        scheduler_->attend_to(*this);
    } else if (result == -ENOENT || result == -EALREADY) {
        repeats_ = true;
    }
}

engine::duration scheduler::canceller::limited(engine::duration wait) noexcept {
    repeats_ = false;
    if (asked_.empty()) return wait;
    scheduler_->attend_to(*this);
    return std::min(wait, std::exchange(pause_, std::min(2 * pause_, longest_pause)));
}

void scheduler::canceller::attend() noexcept {
    ++at_once_;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> left;
    try {
        for (const auto& [user_data, number] : asked_) left.emplace_back(number, user_data);
    } catch (const std::bad_alloc&) {
        repeats_ = true;
        return;
    }
    std::ranges::sort(left);  // by addresses, two runs would differ
    for (const auto& [number, user_data] : left) {
        // Taking an entry may have reaped its end.
        if (asked_.contains(user_data)) scheduler_->prepare_cancel(user_data);
    }
}

void scheduler::unbind_all() noexcept {
    for (completion_target& state : bound_) state.stop();
    for (;;) {
        bool all_stopped = true;
        for (completion_target& state : bound_) all_stopped = all_stopped && state.stopped();
        if (all_stopped) break;
        enter(canceller_.limit(engine::forever));
        reap();
        attend_all();
    }
    while (!bound_.empty()) bound_.front().unbind();
}

std::span<scheduler* const> scheduler::siblings() const noexcept {
    if (group_ != nullptr) return group_->schedulers();
    return {&self_, 1};
}

scheduler_stats scheduler::stats() const noexcept {
    scheduler_stats s;
    s.turns = turns_;
    s.enters = enters_;
    s.entries = entries_;
    s.completions = completions_;
    s.overflows = engine_->overflows();
    s.resumptions = readied_;
    s.starvations = buffers_->starvations();
    s.timers = timers_.size();
    s.live_tasks = live_contexts_;
    s.buffers_held = buffers_->held();
    return s;
}

// --- other threads ---------------------------------------------------------------------------

void scheduler::post(posted_work& work) noexcept {
    posted_work* newest = posted_.load(std::memory_order_relaxed);
    do {
        work.next_ = newest;
    } while (!posted_.compare_exchange_weak(newest, &work, std::memory_order_release,
                                            std::memory_order_relaxed));
    // Only the first one wakes the loop; those behind it are taken with it.
    if (newest == nullptr) waker_.wake();
}

scheduler::waker::waker(scheduler& on)
    : scheduler_(&on), event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (!event_) {
        throw std::system_error(errno, std::generic_category(),
                                "eventfd (see ulimit -n for the limit of descriptors)");
    }
}

void scheduler::waker::arm() {
    io_uring_sqe& entry = scheduler_->next_entry();
    entry = {};
    entry.opcode = IORING_OP_POLL_ADD;
    entry.fd = event_.get();
    if (scheduler_->carrier().has(feature::multishot_poll)) entry.len = IORING_POLL_ADD_MULTI;
    entry.poll32_events = POLLIN;
    entry.user_data = scheduler_->tag(static_cast<completion_target&>(*this));
}

void scheduler::waker::wake() noexcept {
    const std::uint64_t one = 1;
    // It can only fail by overflow of the counter, and then the loop is long awake.
    [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
}

void scheduler::waker::complete(std::int32_t, std::uint32_t flags) noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto read = ::read(event_.get(), &count, sizeof count);
    if ((flags & IORING_CQE_F_MORE) == 0) scheduler_->attend_to(*this);
}

}  // namespace rondo::inline v0
