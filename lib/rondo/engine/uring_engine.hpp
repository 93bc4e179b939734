// The engine that hands the entries to the kernel's io_uring.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>

#include <rondo/engine/engine.hpp>

struct io_uring;         // <liburing.h>
struct io_uring_params;  // <linux/io_uring.h>

namespace rondo::inline v0 {

/// One ring of the calling thread: io_uring_setup(2), io_uring_enter(2).
///
/// The constructor asks for what is fastest and takes what the kernel has: set-up flags it does
/// not know are left out, sizes it has no memory for are halved (not below 4 entries and 8
/// completions). It throws std::system_error with the cause and its remedy in one line: EPERM,
/// EACCES and ENOSYS say that this kernel has no usable io_uring for us; every other code says
/// that something ran out. To be used and destroyed by the thread that made it; a forked child
/// must make its own.
class uring_engine final : public engine {
public:
    /// Stands in for io_uring_queue_init_params(3), for tests: returns 0 or a negated errno.
    using setup_call = int (*)(unsigned entries, io_uring* ring, io_uring_params* params);

    explicit uring_engine(const engine_options& options = {}, setup_call setup = nullptr);
    ~uring_engine() override;

    bool enter(duration timeout) override;
    std::error_code register_buffer_ring(std::uint16_t group, void* ring,
                                         unsigned entries) override;
    void unregister_buffer_ring(std::uint16_t group) noexcept override;
    void forget(int) noexcept override {}
    std::string_view name() const noexcept override { return "uring"; }
    std::uint64_t overflows() const noexcept override;

    /// The IORING_SETUP_* flags the kernel granted.
    unsigned setup_flags() const noexcept;

private:
    struct ring_state;

    void after_error(int error, bool wait);
    [[noreturn]] void fail(int error) const;

    // Set at construction: what enter() reads, in the order it reads it.
    unsigned* flags_ = nullptr;  // IORING_SQ_*, written by the kernel
    std::uint64_t owner_;        // the number of the thread that made the ring
    unsigned doubt_ = 0;         // all ones where the kernel does not announce task work
    unsigned enter_flags_ = 0;
    int enter_descriptor_ = -1;  // an index where the ring is registered with its thread
    unsigned* published_tail_ = nullptr;
    unsigned* taken_head_ = nullptr;
    std::unique_ptr<ring_state> ring_;

    // The owning thread's.
    std::uint64_t overflows_ = 0;
};

}  // namespace rondo::inline v0
