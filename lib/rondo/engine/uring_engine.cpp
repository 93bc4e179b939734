#include <rondo/engine/uring_engine.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include <liburing.h>
#include <pthread.h>

#include <rondo/engine/abi.hpp>
#include <rondo/engine/feature_trial.hpp>
#include <rondo/engine/ring_error.hpp>
#include <rondo/engine/ring_setup.hpp>

namespace rondo::inline v0 {

namespace {

static_assert(sizeof(completion) == sizeof(io_uring_cqe) &&
              offsetof(completion, user_data) == offsetof(io_uring_cqe, user_data) &&
              offsetof(completion, result) == offsetof(io_uring_cqe, res) &&
              offsetof(completion, flags) == offsetof(io_uring_cqe, flags));
static_assert(offsetof(io_uring_sqe, user_data) == abi::user_data_offset);
static_assert(sizeof(abi::buffer_slot) == sizeof(io_uring_buf));

// Timeouts from here on (146 years) could overflow when the kernel adds its clock.
constexpr engine::duration::rep unbounded = engine::duration::rep{1} << 62;

// A registered ring is named by an index of the calling thread: in another thread, or in a forked
// child, the same index is another ring or none. This number tells them apart without a call; 0
// means none yet, and is what a forked child starts with.
[[gnu::tls_model("initial-exec")]] constinit thread_local std::uint64_t this_thread = 0;

std::uint64_t name_this_thread() {
    static std::atomic<std::uint64_t> last{0};
    [[maybe_unused]] static const int registered =
        pthread_atfork(nullptr, nullptr, [] { this_thread = 0; });
    if (this_thread == 0) this_thread = last.fetch_add(1, std::memory_order_relaxed) + 1;
    return this_thread;
}

// ThreadSanitizer does not see what a ring does. That its memory is unmapped: it takes a later ring
// of another thread at the same address for the same memory. And that what is received comes after
// what was sent, as it knows of recv(2): as there, all of them have one order. In a build without
// it these are nothing.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RONDO_THREAD_SANITIZER
#endif
#elif defined(__SANITIZE_THREAD__)
#define RONDO_THREAD_SANITIZER
#endif
#ifdef RONDO_THREAD_SANITIZER
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
char ring_memory;
char ring_requests;
void ring_mapped() noexcept { __tsan_acquire(&ring_memory); }
void ring_unmapped() noexcept { __tsan_release(&ring_memory); }
void entries_handed_over() noexcept { __tsan_release(&ring_requests); }
void completions_taken_back() noexcept { __tsan_acquire(&ring_requests); }
#else
void ring_mapped() noexcept {}
void ring_unmapped() noexcept {}
void entries_handed_over() noexcept {}
void completions_taken_back() noexcept {}
#endif

}  // namespace

struct uring_engine::ring_state {
    io_uring ring{};

    ring_state(const engine_options& options, setup_call setup) {
        detail::set_up(ring, options, setup);
        ring_mapped();
    }
    ring_state(const ring_state&) = delete;
    ring_state& operator=(const ring_state&) = delete;
    ~ring_state() {
        ring_unmapped();
        io_uring_queue_exit(&ring);
    }
};

namespace {

/// What was granted at the set-up of this ring.
feature_set granted_features(const io_uring& ring) noexcept {
    feature_set found;
    if (ring.flags & IORING_SETUP_SINGLE_ISSUER) found = found | feature::single_issuer;
    if (ring.flags & IORING_SETUP_DEFER_TASKRUN) found = found | feature::deferred_taskrun;
    if (ring.flags & IORING_SETUP_COOP_TASKRUN) found = found | feature::cooperative_taskrun;
    if (ring.flags & IORING_SETUP_SUBMIT_ALL) found = found | feature::submit_all;
    if (ring.features & IORING_FEAT_CQE_SKIP) found = found | feature::skip_success;
    if (ring.features & abi::feat_no_iowait) found = found | feature::no_iowait;
    return found;
}

}  // namespace

uring_engine::uring_engine(const engine_options& options, setup_call setup)
    : owner_(name_this_thread()) {
    const feature_set probed = detail::probed_features();
    ring_ = std::make_unique<ring_state>(options, setup ? setup : &io_uring_queue_init_params);
    io_uring& ring = ring_->ring;
    if (!(ring.features & IORING_FEAT_EXT_ARG)) detail::fail_too_old("timeout for io_uring_enter");
    features_ = (probed | granted_features(ring)) - options.without;

    sq_.entries = reinterpret_cast<std::byte*>(ring.sq.sqes);
    sq_.capacity = *ring.sq.kring_entries;
    sq_.mask = *ring.sq.kring_mask;
    sq_.tail = *ring.sq.ktail;
    set_taken(sq_.tail);
    cq_.entries = reinterpret_cast<completion*>(ring.cq.cqes);
    cq_.head = ring.cq.khead;
    cq_.tail = ring.cq.ktail;
    cq_.mask = *ring.cq.kring_mask;
#ifdef IORING_SETUP_NO_SQARRAY
    const bool indirect = !(ring.flags & IORING_SETUP_NO_SQARRAY);
#else
    constexpr bool indirect = true;
#endif
    // Entries are always used in the order of their slots, so the indirection is filled once.
    for (unsigned n = 0; indirect && n != sq_.capacity; ++n) ring.sq.array[n] = n;

    // Work that is neither announced nor run at any system call would be missed: enter anyway.
    const bool cooperative =
        ring.flags & (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN);
    if (cooperative && !(ring.flags & IORING_SETUP_TASKRUN_FLAG)) doubt_ = ~0u;

    enter_flags_ = IORING_ENTER_GETEVENTS;
    if (has(feature::no_iowait)) enter_flags_ |= abi::enter_no_iowait;
    const bool registered = !options.without.has(feature::registered_ring) &&
                            io_uring_register_ring_fd(&ring) == 1;
    if (registered) {
        features_ = features_ | feature::registered_ring;
        enter_flags_ |= IORING_ENTER_REGISTERED_RING;
    }
    enter_descriptor_ = registered ? ring.enter_ring_fd : ring.ring_fd;
    flags_ = ring.sq.kflags;
    published_tail_ = ring.sq.ktail;
    taken_head_ = ring.sq.khead;
}

uring_engine::~uring_engine() {
    // The index means nothing outside the owner: make sure that no other ring is unregistered.
    if (owner_ != this_thread) ring_->ring.enter_ring_fd = std::numeric_limits<int>::max();
}

bool uring_engine::enter(duration timeout) {
    const unsigned prepared = sq_.tail - sq_.head;
    const bool wait = timeout.count() > 0 && completions_begin() == completions_end();
    const unsigned seen = std::atomic_ref<unsigned>(*flags_).load(std::memory_order_relaxed);
    if (prepared == 0 && !wait &&
        !((seen | doubt_) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))) {
        completions_taken_back();
        return false;
    }
    if (seen & IORING_SQ_CQ_OVERFLOW) [[unlikely]] ++overflows_;
    if (owner_ != this_thread) [[unlikely]] fail(EEXIST);

    entries_handed_over();
    std::atomic_ref<unsigned>(*published_tail_).store(sq_.tail, std::memory_order_release);
    int result;
    if (wait && timeout.count() < unbounded) {
        __kernel_timespec limit{timeout.count() / 1'000'000'000, timeout.count() % 1'000'000'000};
        io_uring_getevents_arg argument{};
        argument.ts = reinterpret_cast<std::uintptr_t>(&limit);
        result = io_uring_enter2(static_cast<unsigned>(enter_descriptor_), prepared, 1,
                                 enter_flags_ | IORING_ENTER_EXT_ARG,
                                 reinterpret_cast<sigset_t*>(&argument), sizeof argument);
    } else {
        result = io_uring_enter2(static_cast<unsigned>(enter_descriptor_), prepared, wait ? 1 : 0,
                                 enter_flags_, nullptr, 0);
    }
    // The kernel's own account: what a partly taken batch returns depends on why it stopped.
    set_taken(std::atomic_ref<unsigned>(*taken_head_).load(std::memory_order_acquire));
    completions_taken_back();
    if (result < 0) [[unlikely]] after_error(-result, wait);
    return true;
}

void uring_engine::after_error(int error, bool wait) {
    if (error == ETIME || error == EINTR) return;
    if (error != EAGAIN && error != EBUSY) fail(error);
    // Short of memory, or of room for completions. With something to reap the caller can help;
    // without, a pause is all there is, and keeps a caller that must get through from spinning.
    const bool stuck = wait || pending_entries() == sq_.capacity;
    if (stuck && completions_begin() == completions_end()) {
        __kernel_timespec pause{0, 1'000'000};
        io_uring_getevents_arg argument{};
        argument.ts = reinterpret_cast<std::uintptr_t>(&pause);
        io_uring_enter2(static_cast<unsigned>(enter_descriptor_), 0, 1,
                        enter_flags_ | IORING_ENTER_EXT_ARG,
                        reinterpret_cast<sigset_t*>(&argument), sizeof argument);
    }
}

void uring_engine::fail(int error) const {
    if (owner_ != this_thread || error == EEXIST)
        throw detail::ring_error(EEXIST, "io_uring_enter",
                         "an engine belongs to the thread that made it: another thread or a "
                         "forked child must make its own");
    if (error == EBADR)
        throw detail::ring_error(error, "io_uring_enter",
                         "the kernel had no memory left to keep completions, some are lost");
    throw detail::ring_error(error, "io_uring_enter", "unexpected; see io_uring_enter(2)");
}

std::error_code uring_engine::register_buffer_ring(std::uint16_t group, void* ring,
                                                   unsigned entries) {
    if (!has(feature::buffer_ring)) return {EINVAL, std::system_category()};
    io_uring_buf_reg request{};
    request.ring_addr = reinterpret_cast<std::uintptr_t>(ring);
    request.ring_entries = entries;
    request.bgid = group;
    const int error = -io_uring_register_buf_ring(&ring_->ring, &request, 0);
    // These slots are locked into memory as the ring is, and a code cannot tell the remedy.
    if (error == ENOMEM) detail::fail_setup(error, "io_uring_register");
    return {error, std::system_category()};
}

void uring_engine::unregister_buffer_ring(std::uint16_t group) noexcept {
    io_uring_unregister_buf_ring(&ring_->ring, group);
}

std::uint64_t uring_engine::overflows() const noexcept {
    const unsigned lost =
        std::atomic_ref<unsigned>(*ring_->ring.cq.koverflow).load(std::memory_order_relaxed);
    return overflows_ + lost;
}

unsigned uring_engine::setup_flags() const noexcept { return ring_->ring.flags; }

}  // namespace rondo::inline v0
