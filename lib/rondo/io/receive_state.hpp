// What stands behind recv(): the armed request of a socket and what has arrived.
#pragma once

#include <rondo/detail/intrusive_list.hpp>
#include <rondo/engine/abi.hpp>
#include <rondo/io/chunk.hpp>
#include <rondo/io/completion_target.hpp>
#include <rondo/io/operation.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace rondo::inline v0 {

class scheduler;
class receive_waiter;
class lease_waiter;

/// Puts a connection into its server's list.
class served_hook : public detail::intrusive_hook {};

/// The state of one connected socket. It does not move; the socket object and the kernel each hold
/// it, and it is freed, and the descriptor closed, when both have let go. The state machine is
/// drawn and argued in docs/architecture.md.
class receive_state final : public completion_target, public served_hook {
public:
    /// What is asked of the kernel at present.
    enum class phase : std::uint8_t {
        idle,      ///< nothing in the kernel
        armed,     ///< a receive into the pool's buffers, multishot where there is one
        copying,   ///< a one-shot receive into memory of our own, as the pool has run dry
        stopping,  ///< armed or copying, and its cancel is on the way
    };

    /// Who has received so far. Descriptors that come along are lost to who does not ask for them.
    enum class intake : std::uint8_t {
        undecided,    ///< nobody, or by requests of their own, which read no further than asked
        reads_ahead,  ///< there was a request of the state, for bytes alone
        descriptors,  ///< they are asked for, by every receive from now on
    };

private:
    // What keeps a receive from simply waiting: bits of obstacles_.
    static constexpr std::uint8_t reading_now = 1;   // another receive
    static constexpr std::uint8_t nothing_armed = 2;  // phase_ is idle
    static constexpr std::uint8_t news_waiting = 4;   // chunks or news_

    static constexpr std::int32_t no_news = 1;
    static constexpr unsigned most_left_over = 4;  // chunks unread for a whole turn
    static constexpr unsigned most_at_once = 24;   // and in one: see feature::unix_end
    static constexpr std::size_t limit_in_buffers = 8;
    static constexpr std::uint32_t copy_size = 4096;

public:
    // Who awaits this socket; at most one each. Set and cleared by the operations themselves.
    // Those who wait for news are forgotten once they are in the ready queue.
    lease_waiter* lease_reader = nullptr;  ///< waits for a chunk
    operation* sender = nullptr;           ///< until it is resumed

private:
    // Beside the two above: all that a message touches lies in two cache lines.
    scheduler* scheduler_ = nullptr;
    buffer_pool* pool_ = nullptr;  // the scheduler's
    int descriptor_;               // set once
    phase phase_ = phase::idle;
    std::uint8_t obstacles_ = nothing_armed;
    bool orphaned_ = false;
    bool end_on_reset_ = false;
    bool starved_ = false;  // the pool had no buffer when data came, and could not grow
    bool backlogged_ = false;  // the peer has sent faster than was read; no limit in the kernel
    bool forgets_end_ = false;  // a multishot receive from this socket: see feature::unix_end
    intake intake_ = intake::undecided;
    std::uint16_t first_ = buffer_pool::no_buffer;
    std::uint16_t last_ = buffer_pool::no_buffer;
    std::uint16_t count_ = 0;  // chunks undelivered, the owned one included
    std::uint16_t left_over_ = 0;
    std::uint32_t offset_ = 0;  // bytes of the first chunk that were copied out already
    std::uint32_t turn_ = 0;
    std::int32_t news_ = no_news;
    std::uint32_t owned_size_ = 0;
    std::byte* owned_ = nullptr;  // the copying receive's memory; undelivered when owned_size_ > 0

public:
    receive_waiter* copy_reader = nullptr;  ///< waits to copy what has arrived
    operation* direct_reader = nullptr;     ///< has a one-shot receive of its own in the kernel
    waiter* closer = nullptr;               ///< waits for quiet(), see wait_quiet_operation

    /// A name of the peer for error texts: what getpeername(2) said while the kernel knew it.
    std::array<std::byte, 28> peer_name{};
    std::uint32_t peer_name_size = 0;

    static receive_state* make(int descriptor);
    void operator delete(void* memory) noexcept;

    int descriptor() const noexcept { return descriptor_; }
    phase current_phase() const noexcept { return phase_; }
    /// The chunk that was handed over to a lease_waiter.
    chunk handed_over(std::uint16_t id, std::int32_t length) const noexcept {
        return chunk(*pool_, id, static_cast<std::uint32_t>(length));
    }
    bool orphaned() const noexcept { return orphaned_; }
    std::size_t undelivered() const noexcept { return count_; }
    /// In what has arrived and was not yet taken.
    std::size_t undelivered_bytes() const noexcept;
    scheduler* owner() const noexcept { return scheduler_; }

    /// The socket is used on `on` now; it must be the scheduler of its first use.
    void use_on(scheduler& on) {
        if (scheduler_ != &on) [[unlikely]] bind(on);
    }

    /// A reader has nothing to do but wait: the usual case.
    bool waits_at_once(scheduler& on) const noexcept {
        return scheduler_ == &on && obstacles_ == 0;
    }
    /// Something to deliver: a chunk, the end of the stream, or an error.
    bool has_news() const noexcept { return (obstacles_ & news_waiting) != 0; }
    /// The news is an error.
    bool fails() const noexcept { return count_ == 0 && news_ < 0; }
    /// A receive through the state is in the kernel, or has left something behind.
    bool in_use() const noexcept { return phase_ != phase::idle || has_news(); }

    /// From now on descriptors are received, too. Misuse where some may have been lost already.
    void keep_descriptors() noexcept;
    bool keeps_descriptors() const noexcept { return intake_ == intake::descriptors; }

    /// Makes sure a request is in the kernel. Takes an entry.
    void arm();

    /// The first chunk, or an empty one and the reason: 0 for the end of the stream or a negated
    /// errno. Must have news.
    chunk take_chunk(std::int32_t& reason) noexcept;
    /// Copies what has arrived, up to the buffer's size; 0 at the end of the stream, or a negated
    /// errno. Must have news.
    std::int64_t take_bytes(std::span<std::byte> buffer) noexcept;

    /// Cancels the request, if any: its last completion brings the state to idle.
    void stop() override;
    bool stopped() const noexcept override { return phase_ == phase::idle; }
    /// Everything undelivered, copied out; the buffers go back.
    std::vector<std::byte> take_all();

    /// The socket lets go. Closes the descriptor as soon as the kernel has let go too.
    void abandon() noexcept;
    /// As abandon(), when quiet, and the descriptor goes to the caller.
    int surrender() noexcept;

    /// Keeps what has arrived as memory of its own; the socket can be used on a scheduler to come.
    void unbind() override;

    void complete(std::int32_t result, std::uint32_t flags) noexcept override;
    void attend() noexcept override;

    /// What has arrived goes straight to the waiting reader, if that is all there is to do: the
    /// way of almost every completion. Returns the reader, to be made ready, or null.
    lease_waiter* hand_over(std::int32_t result, std::uint32_t flags) noexcept;

    /// Whether a reset by the peer is reported as the end of the stream.
    void set_end_on_reset(bool enabled) noexcept { end_on_reset_ = enabled; }
    /// What a receive results in when the peer has reset the connection.
    std::int32_t lost_result() const noexcept { return end_on_reset_ ? 0 : -ECONNRESET; }

    /// A receive has found the connection lost. Every later one is told so, too: the kernel would
    /// say it once, and report the end of the stream from then on.
    void note_lost() noexcept { set_news(lost_result()); }
    /// The error that waits to be delivered, or has been and lasts; 0 where there is none.
    int pending_error() const noexcept { return news_ < 0 ? -news_ : 0; }

    /// From the start of a receive to its resumption.
    bool reading() const noexcept { return (obstacles_ & reading_now) != 0; }
    void set_reading() noexcept { obstacles_ |= reading_now; }
    void clear_reading() noexcept { obstacles_ &= static_cast<std::uint8_t>(~reading_now); }

    /// Nobody awaits the socket and nothing is in the kernel.
    bool quiet() const noexcept {
        return !reading() && sender == nullptr && phase_ == phase::idle;
    }
    /// Something has ended: the closer, if there is one, looks again.
    void wake_closer() noexcept;
    /// Nothing more will end in the kernel: what is awaited still is in the ready queue.
    bool ending() const noexcept;
    /// Ends what is awaited, as a cancellation would.
    void interrupt() noexcept;
    bool waited_for() const noexcept { return lease_reader != nullptr || copy_reader != nullptr; }
    /// Forgets who waits for news and returns it, or null.
    receive_waiter* take_reader() noexcept;

private:
    explicit receive_state(int descriptor) noexcept : descriptor_(descriptor) {}
    ~receive_state();

    void bind(scheduler& on);
    void append(std::uint16_t id, std::uint32_t length) noexcept;
    void ended(std::int32_t result) noexcept;
    void copied(std::int32_t result) noexcept;
    void notify() noexcept;
    void set_phase(phase next) noexcept;
    void set_news(std::int32_t news) noexcept;
    void note_delivery() noexcept;
    std::int32_t take_news() noexcept;
    void arm_multishot();
    void arm_copying();
    void drop_undelivered() noexcept;
    void close_descriptor() noexcept;
};

/// A task that waits for news of a receive_state.
class receive_waiter : public waiter {
public:
    /// Only unhooks the reader: the request stays armed, and what arrives is there for the next.
    void cancel() noexcept override;

protected:
    // result_ is set when it is known, not here: one is made for every receive.
    explicit receive_waiter(receive_state& state) noexcept : state_(&state) {}
    ~receive_waiter() = default;

    /// Returns whether to suspend. `lease` is this operation if it takes a chunk, else null.
    [[gnu::noinline]] bool wait(std::coroutine_handle<> awaiting, context& where,
                                lease_waiter* lease);

    receive_state* state_;
    /// Negative when cancelled; for a lease_waiter the length of the chunk handed over; 0 when the
    /// state is to be asked.
    std::int32_t result_;

private:
    friend class receive_state;
};

/// One that takes a chunk.
class lease_waiter : public receive_waiter {
protected:
    using receive_waiter::receive_waiter;
    ~lease_waiter() = default;

    bool wait(std::coroutine_handle<> awaiting, context& where);

    std::uint16_t id_;  // of the buffer, when result_ > 0

private:
    friend class receive_state;
};

inline lease_waiter* receive_state::hand_over(std::int32_t result, std::uint32_t flags) noexcept {
    lease_waiter* const waiting = lease_reader;
    // A stream's request that goes on has filled a buffer: the end of the stream ends it.
    if (waiting == nullptr || (flags & abi::cqe_f_more) == 0) [[unlikely]] return nullptr;
    pool_->taken();
    waiting->result_ = result;
    waiting->id_ = static_cast<std::uint16_t>(flags >> abi::cqe_buffer_shift);
    lease_reader = nullptr;
    return waiting;
}

}  // namespace rondo::inline v0
