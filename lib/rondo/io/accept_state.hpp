// What stands behind accept(): the armed request of a listener and who has been accepted.
#pragma once

#include <rondo/io/completion_target.hpp>
#include <rondo/io/operation.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>

namespace rondo::inline v0 {

class scheduler;
class accept_waiter;

/// The state of one listening socket, with the life of a receive_state: it does not move, and it
/// is freed, the descriptor closed, when the listener and the kernel have let go. The state
/// machine is in docs/architecture.md.
class accept_state final : public completion_target {
public:
    /// What is asked of the kernel at present.
    enum class phase : std::uint8_t {
        idle,      ///< nothing in the kernel
        armed,     ///< an accept, multishot where there is room for many
        stopping,  ///< its cancel is on the way
    };

    static accept_state* make(int descriptor) { return new accept_state(descriptor); }

    int descriptor() const noexcept { return descriptor_; }
    phase current_phase() const noexcept { return phase_; }
    std::size_t undelivered() const noexcept { return accepted_.size(); }

    void use_on(scheduler& on) {
        if (scheduler_ != &on) [[unlikely]] bind(on);
    }

    /// The owner will take at most so many more. Near the limit connections are accepted one by
    /// one, because a multishot accept empties the backlog in one go; at 0 nothing is accepted nor
    /// delivered, and who awaits goes on waiting. Takes an entry.
    void set_room(std::size_t connections);

    bool has_news() const noexcept { return !accepted_.empty() || failure_ != 0; }
    void arm();
    /// The next accepted descriptor, or a negated errno. Must have news.
    std::int32_t take() noexcept;
    /// The next one who has connected, without waiting, for a listener that is to be closed. A
    /// negated errno, EAGAIN where nobody is left. Must be quiet().
    std::int32_t take_waiting() noexcept;

    void abandon() noexcept;

    void complete(std::int32_t result, std::uint32_t flags) noexcept override;
    void attend() noexcept override;
    void stop() override;
    bool stopped() const noexcept override { return phase_ == phase::idle; }
    void unbind() override;

    /// Something has ended: the closer, if there is one, looks again.
    void wake_closer() noexcept;
    /// Nothing more will end in the kernel: who accepts still is in the ready queue.
    bool ending() const noexcept { return phase_ == phase::idle; }
    bool quiet() const noexcept { return !accepting && phase_ == phase::idle; }
    /// Ends what is awaited, as a cancellation would.
    void interrupt() noexcept;

    // Set and cleared by the operations.
    accept_waiter* reader = nullptr;  ///< waits for news; null once it is in the ready queue
    waiter* closer = nullptr;
    bool accepting = false;  ///< from the start of an await to its resumption

private:
    friend class accept_waiter;
    static constexpr std::size_t most_ahead = 8;        // accepted while nobody waits
    static constexpr std::size_t room_for_many = 64;    // from here on, multishot

    explicit accept_state(int descriptor) noexcept : descriptor_(descriptor) {}
    ~accept_state();

    bool deliverable() const noexcept { return room_ != 0 && has_news(); }
    void bind(scheduler& on);
    void close_accepted() noexcept;
    void close_descriptor() noexcept;

    // Set once.
    int descriptor_;
    // Its scheduler's thread.
    phase phase_ = phase::idle;
    bool orphaned_ = false;
    bool multishot_ = false;
    std::int32_t failure_ = 0;  // a negated errno to report once
    std::size_t room_ = std::numeric_limits<std::size_t>::max();
    std::deque<int> accepted_;
    scheduler* scheduler_ = nullptr;
};

/// A task that waits for a connection.
class accept_waiter : public operation {
protected:
    explicit accept_waiter(accept_state& state) noexcept : state_(&state) {}
    ~accept_waiter() = default;

    bool wait(std::coroutine_handle<> awaiting, context& where);
    /// Only unhooks the reader: whoever connects now is there for the next accept().
    void cancel() noexcept override;
    void prepare(io_uring_sqe&) noexcept override {}
    void leave() noexcept { state_->accepting = false; }

    accept_state* state_;

private:
    friend class accept_state;
};

inline void accept_state::interrupt() noexcept {
    if (reader != nullptr) reader->interrupt();
}

}  // namespace rondo::inline v0
