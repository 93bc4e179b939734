// An engine that misbehaves on command: it wraps another and injects what a kernel may do.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <vector>

#include <rondo/engine/engine.hpp>
#include <rondo/testing/fault_plan.hpp>
#include <rondo/testing/random.hpp>

namespace rondo::inline v0::testing {

/// Wraps an engine and misbehaves within its contract, so that a program can be tested against
/// short counts, errors, early ends, late, reordered and overflowing completions. Never alters
/// data, and loses none but descriptors, by control_cut, which says so. The same seed and the same
/// calls give the same decisions: those on entries, on enters and on completions are drawn from a
/// sequence each.
///
/// A `user_data` is expected to name one request at a time, or requests nobody tells apart.
/// ENOBUFS strikes also while the ring has buffers: the kernel's answer may be outdated when it is
/// read. RECVMSG is not shortened, and a multishot one is ended early by a cancel of the engine's
/// own, whose ECANCELED nobody sees. The members of a chain of links are taken together and left
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
    const std::array<std::uint64_t, fault_count>& injected() const noexcept { return injected_; }
    /// A hash of all entries taken and completions delivered so far, in their order, without
    /// addresses and descriptors: equal for two runs means that they went the same way.
    std::uint64_t record() const noexcept { return record_; }
    /// One line: engine, seed, queue sizes, count of each fault injected. For a failing test.
    std::string describe() const;

private:
    struct message;
    struct request {
        unsigned count = 0;    ///< in flight under this user_data
        int after = 0;         ///< errno to add after its data, as if it had been a multishot
        bool held = false;     ///< a rule holds its completions
        bool ends = false;     ///< a multishot that is cancelled after its first completion
        bool notifies_late = false;  ///< its notification is held
        bool is_sure = false;        ///< ends by itself, soon
        int answer = 0;              ///< errno in place of its success
        std::optional<completion> kept;  ///< of such a one: the latest, perhaps the last
        std::unique_ptr<message> shortened;
        request();
        ~request();
    };
    /// Where a completion comes from.
    struct origin {
        std::uint64_t number;  ///< of the entry
        std::uint8_t opcode;
    };
    struct held_completion {
        completion what;
        std::uint64_t due;
    };
    struct hold {
        std::uint64_t due = 0;
        unsigned count = 0;
    };
    struct deferred_cancel {
        std::uint64_t target;
        std::uint64_t due;
    };

    void count(fault kind) noexcept { ++injected_[static_cast<std::size_t>(kind)]; }
    bool roll(random& source, fault kind) noexcept;
    bool strikes(fault kind, const fault_plan::rule* rule) noexcept;
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
    void end_early(io_uring_sqe& entry);
    void shorten_receive(io_uring_sqe& entry);
    void shorten_send(io_uring_sqe& entry, const fault_plan::rule* rule);
    void shorten_file_transfer(io_uring_sqe& entry, const fault_plan::rule* rule);
    void shorten_message(io_uring_sqe& entry, const fault_plan::rule* rule);
    void cut_control(const io_uring_sqe& entry, const fault_plan::rule* rule);
    unsigned smaller(std::size_t than) noexcept;
    void hand_over(const io_uring_sqe& entry);
    void note(const io_uring_sqe& entry);
    void mix(std::uint64_t value) noexcept;

    // From the inner engine's completions to the caller.
    duration wait_time(duration timeout) noexcept;
    void reap();
    void settle();
    void arrive(const completion& had);
    void keep_last(request& ended, const completion& arrived);
    void stage(const completion& arrived, bool by_rule);
    void release_held();
    void deliver();

    // Set at construction.
    fault_plan plan_;
    std::string name_;
    std::unique_ptr<std::byte[]> entry_memory_;
    std::unique_ptr<completion[]> completion_memory_;

    // The owning thread's.
    unsigned completion_head_ = 0;
    unsigned completion_tail_ = 0;
    random entry_random_;
    random enter_random_;
    random completion_random_;
    std::uint64_t enters_ = 0;
    bool called_ = false;           ///< this enter() made a system call
    bool cancel_judged_ = false;    ///< the cancel at the queue's head has had its roll
    std::uint64_t stall_until_ = 0;
    std::array<unsigned, 256> seen_{};  ///< entries per opcode
    std::unordered_map<std::uint64_t, request> requests_;
    std::vector<deferred_cancel> deferred_;
    std::vector<held_completion> held_;
    std::unordered_map<std::uint64_t, hold> held_by_request_;
    std::vector<completion> ready_;
    std::deque<completion> backlog_;
    std::unordered_map<std::uint64_t, origin> origins_;  ///< by user_data
    std::vector<completion> arrived_;                    ///< of an ordered plan, not yet in order
    std::uint64_t entries_ = 0;
    std::uint64_t record_ = 0;
    unsigned sure_ = 0;  ///< requests in flight that end by themselves
    std::array<std::uint64_t, fault_count> injected_{};

    // Last, so that it goes first: its requests may point at what is above.
    std::unique_ptr<engine> inner_;
};

}  // namespace rondo::inline v0::testing
