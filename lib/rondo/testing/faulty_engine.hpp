// An engine that misbehaves on command: it wraps another and injects what a kernel may do.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <vector>

#include <rondo/engine/engine.hpp>
#include <rondo/testing/fault_dice.hpp>
#include <rondo/testing/fault_plan.hpp>
#include <rondo/testing/late_completions.hpp>
#include <rondo/testing/short_entry.hpp>

namespace rondo::inline v0::testing {

/// Wraps an engine and misbehaves within its contract, so that a program can be tested against
/// short counts, errors, early ends, late, reordered and overflowing completions. Never alters
/// data, and loses none but descriptors, by control_cut, which says so. The same seed and the same
/// calls give the same decisions: those on entries, on enters and on completions are drawn from a
/// sequence each.
///
/// A `user_data` is expected to name one request at a time, or requests nobody tells apart.
/// ENOBUFS strikes also while the ring has buffers: the kernel's answer may be outdated when it is
/// read. A multishot RECVMSG is not shortened, and is ended early by a cancel of the engine's own,
/// whose ECANCELED nobody sees. The members of a chain of links are taken together and left
/// alone.
class faulty_engine final : public engine {
public:
    /// The submission queue is never larger than `inner`'s, so that a chain of links fits there.
    faulty_engine(std::unique_ptr<engine> inner, fault_plan plan, engine_options options = {});
    ~faulty_engine() override;

    /// Takes at least one entry when the queue is full, and does not wait while entries are left.
    /// Waits a fraction of a millisecond at most while something is held back.
    bool enter(duration timeout) override;
    std::error_code register_buffer_ring(std::uint16_t group, void* ring,
                                         unsigned entries) override;
    void unregister_buffer_ring(std::uint16_t group) noexcept override;
    void forget(int descriptor) noexcept override;
    std::string_view name() const noexcept override { return name_; }
    std::uint64_t overflows() const noexcept override;

    engine& inner() noexcept { return *inner_; }
    const fault_plan& plan() const noexcept { return plan_; }
    std::uint64_t injected(fault kind) const noexcept {
        return injected_[static_cast<std::size_t>(kind)];
    }
    const fault_counts& injected() const noexcept { return injected_; }
    /// A hash of all entries taken and completions delivered so far, in their order, without
    /// addresses and descriptors: equal for two runs means that they went the same way.
    std::uint64_t record() const noexcept { return record_; }
    /// One line: engine, seed, queue sizes, count of each fault injected. For a failing test.
    std::string describe() const;

private:
    struct request {
        unsigned count = 0;    ///< in flight under this user_data
        int after = 0;         ///< errno to add after its data, as if it had been a multishot
        int answer = 0;        ///< errno in place of its success
        bool held = false;     ///< a rule holds its completions
        bool ends = false;     ///< a multishot that is cancelled after its first completion
        bool notifies_late = false;  ///< its notification is held
        bool is_sure = false;        ///< ends by itself, soon
        std::optional<completion> kept;  ///< of one that `ends`: the latest, perhaps the last
        std::unique_ptr<short_message> shortened;
    };
    /// Where a completion comes from.
    struct origin {
        std::uint64_t number;  ///< of the entry
        std::uint8_t opcode;
    };
    struct deferred_cancel {
        std::uint64_t target;
        std::uint64_t due;
    };

    void count(fault kind) noexcept { entry_dice_.count(kind); }
    bool strikes(fault kind, const fault_plan::rule* rule) noexcept {
        return entry_dice_.strikes(kind, rule);
    }
    void stage(const completion& arrived, bool hold) {
        completions_.stage(arrived, hold, enters_);
    }
    const fault_plan::rule* rule_for(std::uint8_t opcode, unsigned nth) const noexcept;
    bool masked(feature f) const noexcept;
    bool is_tracked(std::uint64_t user_data) const { return requests_.contains(user_data); }

    // From the caller's entries to the inner engine.
    const io_uring_sqe& entry_at(unsigned index) const noexcept;
    void pass_entries();
    unsigned chain_length() const noexcept;
    bool stalls(const io_uring_sqe& entry, bool must_take) noexcept;
    bool make_room(unsigned entries);
    void pass_deferred_cancels();
    void pass(const io_uring_sqe& prepared);
    bool needs_masked(const io_uring_sqe& entry) const noexcept;
    bool answers_itself(const io_uring_sqe& entry, const fault_plan::rule* rule);
    int error_for(io_uring_sqe& entry, const fault_plan::rule* rule);
    int kernel_error(const io_uring_sqe& entry, const fault_plan::rule* rule);
    int ending_error(io_uring_sqe& entry, fault kind, int error);
    bool defers_cancel(const io_uring_sqe& entry, const fault_plan::rule* rule);
    void shape(io_uring_sqe& entry, const fault_plan::rule* rule);
    void end_early(io_uring_sqe& entry, const fault_plan::rule* rule);
    void hand_over(const io_uring_sqe& entry);
    void note(const io_uring_sqe& entry);
    void mix(std::uint64_t value) noexcept;

    // From the inner engine's completions to the caller.
    duration wait_time(duration timeout) noexcept;
    void reap();
    void settle();
    void arrive(const completion& had);
    void keep_last(request& ended, const completion& arrived);
    void deliver();

    // Set at construction.
    fault_plan plan_;
    std::string name_;
    std::unique_ptr<std::byte[]> entry_memory_;
    std::unique_ptr<completion[]> completion_memory_;

    // The owning thread's.
    unsigned completion_head_ = 0;
    unsigned completion_tail_ = 0;
    fault_counts injected_{};
    fault_dice entry_dice_;
    fault_dice enter_dice_;
    late_completions completions_;
    std::uint64_t enters_ = 0;
    bool called_ = false;           ///< this enter() made a system call
    bool cancel_judged_ = false;    ///< the cancel at the queue's head has had its roll
    std::uint64_t stall_until_ = 0;
    std::array<unsigned, 256> seen_{};  ///< entries per opcode
    std::unordered_map<std::uint64_t, request> requests_;
    std::vector<deferred_cancel> deferred_;
    std::unordered_map<std::uint64_t, origin> origins_;  ///< by user_data
    std::vector<completion> arrived_;                    ///< of an ordered plan, not yet in order
    std::uint64_t entries_ = 0;
    std::uint64_t record_ = 0;
    unsigned sure_ = 0;  ///< requests in flight that end by themselves

    // Last, so that it goes first: its requests may point at what is above.
    std::unique_ptr<engine> inner_;
};

}  // namespace rondo::inline v0::testing
