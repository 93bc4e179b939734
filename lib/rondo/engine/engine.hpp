// The seam between the scheduler and what carries its requests out.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

struct io_uring_sqe;  // 64 bytes, <linux/io_uring.h>

namespace rondo::inline v0 {

/// One finished request, laid out as the kernel's io_uring_cqe.
struct completion {
    std::uint64_t user_data;
    std::int32_t result;  ///< a count or descriptor, or a negated errno
    std::uint32_t flags;  ///< IORING_CQE_F_*
};

/// What an engine can do; asked at run time, never derived from a version. The library does without
/// any of them: engine_options::without.
enum class feature : std::uint32_t {
    multishot_accept = 1u << 0,
    multishot_recv = 1u << 1,  ///< of bytes and of messages, into a buffer_ring
    buffer_ring = 1u << 2,
    receive_limit = 1u << 3,  ///< a multishot receive can end after a total of bytes (6.17)
    send_zero_copy = 1u << 4,
    multishot_poll = 1u << 5,
    skip_success = 1u << 6,  ///< IOSQE_CQE_SKIP_SUCCESS is honoured
    // How a ring is set up (io_uring_setup(2), io_uring_enter(2)); no other engine has these.
    registered_ring = 1u << 7,
    single_issuer = 1u << 8,
    deferred_taskrun = 1u << 9,  ///< with single_issuer
    cooperative_taskrun = 1u << 10,
    submit_all = 1u << 11,
    no_iowait = 1u << 12,
    /// A multishot receive from a Unix socket always tells the end of the stream. Kernels from 6.17
    /// on forget it where the peer sends and ends at once, until mended (docs/architecture.md).
    unix_end = 1u << 13,
};

/// Some of the features, as a value.
class feature_set {
public:
    constexpr feature_set() noexcept = default;
    constexpr feature_set(feature one) noexcept : bits_(static_cast<std::uint32_t>(one)) {}

    static constexpr feature_set all() noexcept {
        feature_set every;
        every.bits_ = 2 * static_cast<std::uint32_t>(feature::unix_end) - 1;
        return every;
    }

    constexpr bool has(feature one) const noexcept {
        return (bits_ & static_cast<std::uint32_t>(one)) != 0;
    }
    constexpr bool empty() const noexcept { return bits_ == 0; }

    friend constexpr feature_set operator|(feature_set a, feature_set b) noexcept;
    friend constexpr feature_set operator-(feature_set a, feature_set b) noexcept;
    friend constexpr bool operator==(feature_set, feature_set) noexcept = default;

private:
    constexpr void remove(feature one) noexcept { bits_ &= ~static_cast<std::uint32_t>(one); }

    std::uint32_t bits_ = 0;
};

/// These and those of the other set.
constexpr feature_set operator|(feature_set a, feature_set b) noexcept {
    a.bits_ |= b.bits_;
    return a;
}

constexpr feature_set operator|(feature a, feature b) noexcept {
    return feature_set(a) | feature_set(b);
}

/// These but those of the other set, and but what cannot be without them.
constexpr feature_set operator-(feature_set a, feature_set b) noexcept {
    a.bits_ &= ~b.bits_;
    if (!a.has(feature::buffer_ring)) a.remove(feature::multishot_recv);
    if (!a.has(feature::multishot_recv)) a.remove(feature::receive_limit);
    // Without a limit the kernels that know one forget the end behind more than 33 buffers.
    if (b.has(feature::receive_limit)) a.remove(feature::unix_end);
    if (!a.has(feature::single_issuer)) a.remove(feature::deferred_taskrun);
    return a;
}

/// How large the queues are asked to be, an engine may give more; and what it is not to use.
struct engine_options {
    unsigned entries = 256;       ///< submission queue, power of two
    unsigned completions = 4096;  ///< completion queue, power of two
    /// Not used, as if the kernel had none of it: to try what a program does on an older one.
    feature_set without = {};
};

/// The interface is io_uring's own: entries in, completions out, one enter().
///
/// Both queues are plain memory which the owning thread reads and writes without a call: the only
/// indirect call of a turn is enter(). Single-threaded: one engine belongs to one thread.
///
/// Contract for implementers. Entry n of the submission queue is carried out before entry n + 1 is
/// looked at. The completions of one request keep their order. A multishot request's last
/// completion lacks IORING_CQE_F_MORE. IORING_OP_ASYNC_CANCEL by user_data finds any request
/// accepted earlier and not completed. Nothing is completed between two calls of enter().
class engine {
public:
    using duration = std::chrono::nanoseconds;

    /// enter() without waiting.
    static constexpr duration no_wait{0};
    /// enter() until something completes, however long that takes.
    static constexpr duration forever = duration::max();

    engine(const engine&) = delete;
    engine& operator=(const engine&) = delete;
    virtual ~engine() = default;

    /// The next free submission entry, all zero but for what its last user left: the caller fills
    /// the whole of it. Null when the queue is full: enter(no_wait) makes room.
    io_uring_sqe* next_entry() noexcept { return full() ? nullptr : &take_entry(); }

    /// The same when the queue is known not to be full.
    io_uring_sqe& take_entry() noexcept {
        std::byte* const free = sq_.entries + entry_size * (sq_.tail++ & sq_.mask);
        return *reinterpret_cast<io_uring_sqe*>(free);
    }

    bool full() const noexcept { return sq_.tail == sq_.limit; }
    /// Entries prepared and not yet taken by enter().
    unsigned pending_entries() const noexcept { return sq_.tail - sq_.head; }
    unsigned entry_capacity() const noexcept { return sq_.capacity; }
    unsigned completion_capacity() const noexcept { return cq_.mask + 1; }

    /// Completions to read now: [completions_begin(), completions_end()), by completion_at().
    unsigned completions_begin() const noexcept { return *cq_.head; }
    unsigned completions_end() const noexcept {
        return std::atomic_ref<unsigned>(*cq_.tail).load(std::memory_order_acquire);
    }
    const completion& completion_at(unsigned index) const noexcept {
        return cq_.entries[index & cq_.mask];
    }
    /// Calls `visit` with each completion to read now, from the calling moment, and gives their
    /// slots back. Returns how many there were.
    template <typename Visit>
    unsigned reap(Visit visit) {
        // Locals, as the compiler must expect visit() to change members. Up to the end of the ring,
        // then from its beginning: a mask on each index cost an echo server six instructions a
        // message.
        const completion* const entries = cq_.entries;
        const unsigned begin = completions_begin();
        const unsigned end = completions_end();
        const unsigned first = begin & cq_.mask;
        const unsigned straight = std::min(end - begin, cq_.mask + 1 - first);
        unsigned wrapped = end - begin - straight;
        const completion* at = entries + first;
        const completion* stop = at + straight;
        for (;;) {
            for (; at != stop; ++at) visit(*at);
            if (wrapped == 0) break;
            at = entries;
            stop = entries + std::exchange(wrapped, 0);
        }
        completions_consumed(end);
        return end - begin;
    }
    /// Gives the slots before `index` back.
    void completions_consumed(unsigned index) noexcept {
        std::atomic_ref<unsigned>(*cq_.head).store(index, std::memory_order_release);
    }

    bool has(feature f) const noexcept { return features_.has(f); }
    feature_set features() const noexcept { return features_; }

    /// Takes the prepared entries and waits until a completion can be read, at most `timeout`
    /// (no_wait and forever are the ends of its range). Returns early on a signal. Entries that
    /// could not be taken now stay prepared. Makes no system call when there is nothing to do.
    /// Returns whether a system call was made. Throws std::system_error on what is not transient.
    virtual bool enter(duration timeout) = 0;

    /// Registers `ring`, an io_uring_buf_ring of `entries` (a power of two) page-aligned slots, as
    /// buffer group `group`; buffers are added as by io_uring_buf_ring_advance(3). Returns what is
    /// wrong with the call; throws std::system_error with the remedy for a lack of memory.
    virtual std::error_code register_buffer_ring(std::uint16_t group, void* ring,
                                                 unsigned entries) = 0;
    virtual void unregister_buffer_ring(std::uint16_t group) noexcept = 0;

    /// The descriptor leaves this engine (it is about to be closed or handed to someone else) and
    /// no request names it any more: drop what is remembered under its number.
    virtual void forget(int descriptor) noexcept = 0;

    /// "uring", "epoll", or a wrapper's own name.
    virtual std::string_view name() const noexcept = 0;

    /// Times the completion queue was found full.
    virtual std::uint64_t overflows() const noexcept = 0;

protected:
    static constexpr std::size_t entry_size = 64;

    engine() = default;

    /// Where next_entry() finds the next entry, without a virtual call.
    struct submission_queue {
        std::byte* entries = nullptr;
        unsigned head = 0;   ///< what enter() has taken, see set_taken()
        unsigned limit = 0;  ///< where the tail must stop: head + capacity
        unsigned tail = 0;  ///< what next_entry() has given
        unsigned mask = 0;
        unsigned capacity = 0;
    };
    /// Where completions are peeked at and taken, without a virtual call.
    struct completion_queue {
        completion* entries = nullptr;
        unsigned* head = nullptr;
        unsigned* tail = nullptr;
        unsigned mask = 0;
    };

    /// enter() has taken the entries up to `head`.
    void set_taken(unsigned head) noexcept {
        sq_.head = head;
        sq_.limit = head + sq_.capacity;
    }

    // Set at construction; afterwards only the owning thread, and for cq_.tail the kernel.
    submission_queue sq_;
    completion_queue cq_;
    feature_set features_;
};

}  // namespace rondo::inline v0
