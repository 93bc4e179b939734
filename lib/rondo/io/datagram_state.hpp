// What stands behind recv_from(): the armed request of a datagram socket and what has arrived.
#pragma once

#include <rondo/detail/intrusive_list.hpp>
#include <rondo/io/chunk.hpp>
#include <rondo/io/completion_target.hpp>
#include <rondo/io/operation.hpp>
#include <rondo/io/raw_datagram.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rondo::inline v0 {

class scheduler;
class datagram_waiter;
class datagram_request;

/// The state of one datagram socket, with the life of a receive_state: it does not move, and it is
/// freed, the descriptor closed, when the socket object and the kernel have let go. Several tasks
/// may receive and send at a time, as datagrams do not interleave. The state machine is drawn and
/// argued in docs/architecture.md.
class datagram_state final : public completion_target {
public:
    /// What is asked of the kernel at present.
    enum class phase : std::uint8_t {
        idle,      ///< nothing in the kernel
        armed,     ///< a multishot receive into the pool's buffers
        copying,   ///< a one-shot receive into memory of our own
        stopping,  ///< armed or copying, and its cancel is on the way
    };

    /// `name_room` is the size of the longest name a sender can have.
    static datagram_state* make(int descriptor, std::uint32_t name_room) {
        return new datagram_state(descriptor, name_room);
    }

    int descriptor() const noexcept { return descriptor_; }
    phase current_phase() const noexcept { return phase_; }
    std::size_t undelivered() const noexcept { return owned_.size() + count_; }

    /// The socket is used on `on` now; it must be the scheduler of its first use.
    void use_on(scheduler& on) {
        if (scheduler_ != &on) [[unlikely]] bind(on);
    }

    /// Something to deliver: a datagram or an error.
    bool has_news() const noexcept { return count_ != 0 || news_ != 0 || !owned_.empty(); }
    /// A receive through the state is in the kernel, or has left something behind.
    bool in_use() const noexcept { return phase_ != phase::idle || has_news() || finished_; }
    /// The first datagram, or an empty one and a negated errno, which is told once. Must have news.
    raw_datagram take(std::int32_t& reason) noexcept;

    /// From now on only what has arrived is delivered; then every receive fails with ECANCELED.
    void finish();
    bool finished() const noexcept { return finished_; }
    /// After finish(), before each attempt to take what is still in the kernel: how much that can
    /// be is bounded.
    bool may_take_after_finish() noexcept { return after_finish_++ < most_after_finish; }

    /// From now on descriptors are received, too. Misuse where some may have been lost already.
    void keep_descriptors() noexcept;
    bool keeps_descriptors() const noexcept { return intake_ == intake::descriptors; }

    /// Another task of this socket waits for its send in the engine, or is about to run with a
    /// datagram: what is sent now may as well leave with theirs, by one system call.
    bool in_company() const noexcept { return reading_ != waiting_ || sending_ != 0; }

    /// The socket lets go. Closes the descriptor as soon as the kernel has let go too.
    void abandon() noexcept;
    /// Everything undelivered, in memory of its own.
    std::vector<raw_datagram> take_all();
    /// As abandon(), when quiet, and the descriptor goes to the caller.
    int surrender() noexcept;

    void complete(std::int32_t result, std::uint32_t flags) noexcept override;
    void attend() noexcept override;
    void stop() override;
    bool stopped() const noexcept override { return phase_ == phase::idle; }
    void unbind() override;

    // For closing, see net/quiesce.hpp.
    bool quiet() const noexcept {
        return reading_ == 0 && requests_.empty() && phase_ == phase::idle;
    }
    /// Nothing more will end in the kernel: what is awaited still is in the ready queue.
    bool ending() noexcept;
    /// Ends what is awaited, as a cancellation would.
    void interrupt() noexcept;
    /// Something has ended: the closer, if there is one, looks again.
    void wake_closer() noexcept;
    waiter* closer = nullptr;

private:
    friend class datagram_waiter;
    friend class datagram_request;

    // Unread for a whole turn. Tasks that wait for their sends take theirs a turn later, and a
    // request that is stopped and armed again for each of their rounds would cost more than it
    // saves; so this is more than the tasks of most servers.
    static constexpr std::size_t most_left_over = 128;
    static constexpr std::size_t least_copy_size = 2048;
    static constexpr unsigned most_after_finish = 1024;  // datagrams

    /// What has been received by: requests that read ahead would lose descriptors.
    enum class intake : std::uint8_t { undecided, reads_ahead, descriptors };

    datagram_state(int descriptor, std::uint32_t name_room) noexcept
        : descriptor_(descriptor), name_room_(name_room) {}
    ~datagram_state();

    void bind(scheduler& on);
    void read_ahead() noexcept;
    void arm();
    void arm_multishot();
    void arm_copying();
    void prepare_memory();
    chunk filled_memory(std::size_t size) noexcept;
    void arrived(std::uint16_t id, std::uint32_t length) noexcept;
    void append(std::uint16_t id, std::uint32_t length) noexcept;
    void ended(std::int32_t result) noexcept;
    void copied(std::int32_t result) noexcept;
    void fail(std::int32_t error) noexcept;
    void serve_after_finish() noexcept;
    bool take_from_socket() noexcept;
    void hand_over(chunk whole, std::int32_t result) noexcept;
    void drop_undelivered() noexcept;
    void close_descriptor() noexcept;

    // Set once.
    int descriptor_;
    std::uint32_t name_room_;
    // Its scheduler's thread.
    scheduler* scheduler_ = nullptr;
    phase phase_ = phase::idle;
    bool orphaned_ = false;
    bool finished_ = false;
    intake intake_ = intake::undecided;
    bool starved_ = false;  // the pool had no buffer when data came, and could not grow
    std::uint16_t first_ = buffer_pool::no_buffer;
    std::uint16_t last_ = buffer_pool::no_buffer;
    std::uint32_t turn_ = 0;
    std::size_t count_ = 0;  // datagrams in the pool's buffers, not delivered
    std::size_t left_over_ = 0;
    std::int32_t news_ = 0;  // a negated errno, behind the datagrams
    unsigned after_finish_ = 0;
    std::uint32_t reading_ = 0;  // receives through the state, from suspension to resumption
    std::uint32_t waiting_ = 0;  // of these, in readers_
    std::uint32_t sending_ = 0;  // sends through the engine, until they are resumed
    detail::intrusive_list<datagram_waiter> readers_;
    detail::intrusive_list<datagram_request> requests_;  // until they are resumed
    std::vector<chunk> owned_;     // undelivered, in memory of their own; before those in buffers
    std::byte* memory_ = nullptr;  // of the copying receive; not null while it is in the kernel
    std::size_t memory_size_ = 0;
    msghdr message_{};  // the kernel reads it when it takes the entry, and writes it at the end
    iovec part_{};
};

/// A task that waits for a datagram. When it is resumed it holds one, or a negated errno.
class datagram_waiter : public waiter, public detail::intrusive_hook {
public:
    /// Only unhooks the reader: the request stays armed, and what arrives is there for the next.
    void cancel() noexcept override;

protected:
    explicit datagram_waiter(datagram_state& state) noexcept : state_(&state) {}
    ~datagram_waiter() = default;

    /// Returns whether to suspend.
    bool wait(std::coroutine_handle<> awaiting, context& where);
    /// To be called first when resumed; any number of times.
    void resumed() noexcept {
        if (!suspended_) return;
        suspended_ = false;
        --state_->reading_;
    }

    datagram_state* state_;
    std::int32_t result_ = 0;
    raw_datagram taken_;

private:
    friend class datagram_state;

    void queue(std::coroutine_handle<> awaiting, context& where);

    bool suspended_ = false;
};

/// A request that a task makes of its own: a send through the engine, or a receive straight into
/// the caller's memory.
class datagram_request : public operation, public detail::intrusive_hook {
protected:
    explicit datagram_request(datagram_state& state) noexcept : state_(&state) {}
    ~datagram_request() = default;

    void begin_receive(std::coroutine_handle<> awaiting, context& where);
    void begin_send(std::coroutine_handle<> awaiting, context& where);
    /// For a result that is there: the task runs in its turn.
    void begin_ended(std::coroutine_handle<> awaiting, context& where);
    /// To be called first when resumed; any number of times.
    void resumed() noexcept {
        unlink();
        if (!counted_) return;
        counted_ = false;
        --state_->sending_;
    }
    void fell_short() noexcept override;

    datagram_state* state_;

private:
    friend class datagram_state;

    bool counted_ = false;  // among the state's sends
};

}  // namespace rondo::inline v0
