// How epoll_engine carries entries out: begun at once, parked on EAGAIN, continued on an edge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <rondo/engine/engine.hpp>
#include <rondo/engine/epoll_buffers.hpp>
#include <rondo/engine/epoll_completions.hpp>
#include <rondo/engine/epoll_descriptor.hpp>
#include <rondo/engine/epoll_files.hpp>
#include <rondo/engine/epoll_operation.hpp>
#include <rondo/engine/epoll_transfers.hpp>

struct io_uring_sqe;

namespace rondo::inline v0::detail {

/// Registration is edge-triggered and made once per descriptor, so readiness is remembered here:
/// a direction is taken as ready until a call says EAGAIN, and then as not ready until an edge.
/// A reader that stops before EAGAIN is `interrupted`: no edge will come for what is left.
class epoll_requests {
public:
    /// `epoll` stays the caller's. An entry that needs what is not among `features` is refused by
    /// EINVAL, as a kernel refuses what it does not know.
    epoll_requests(int epoll, epoll_completions& completions, feature_set features)
        : epoll_(epoll),
          features_(features),
          completions_(completions),
          files_(epoll, completions) {}

    epoll_requests(const epoll_requests&) = delete;
    epoll_requests& operator=(const epoll_requests&) = delete;

    /// What is interrupted from here on belongs to the next turn.
    void begin_turn() noexcept { resuming_.swap(interrupted_); }
    void carry_out(const io_uring_sqe& entry);
    /// Continues what the last turn interrupted.
    void resume();
    /// An event of epoll; `tag` is its data. The files' own tag is known, too.
    void ready(std::uint64_t tag, std::uint32_t events);

    void forget(int number) noexcept;

    bool interrupted() const noexcept { return !interrupted_.empty(); }
    std::size_t waiting() const noexcept { return store_.waiting() + files_.in_flight(); }
    epoll_buffers& buffers() noexcept { return buffers_; }

    std::uint64_t control_calls = 0;
    bool called = false;  // a system call was made

private:
    using outcome = epoll_outcome;

    // Beginning and ending
    void start(const io_uring_sqe& entry);
    void cancel(const io_uring_sqe& entry);
    void close(const io_uring_sqe& entry);
    void complete(const io_uring_sqe& entry, int result);

    // Waiting
    epoll_operation_list& list_of(epoll_descriptor& descriptor,
                                  const epoll_operation& operation) noexcept;
    bool must_wait(const epoll_descriptor& descriptor, const epoll_operation& operation) noexcept;
    void park(epoll_descriptor& descriptor, epoll_operation& operation);
    int watch(epoll_descriptor& descriptor, const epoll_operation& operation);
    void run(epoll_descriptor& descriptor, epoll_operation_list& list);
    void run_pollers(epoll_descriptor& descriptor, int number, std::uint32_t events);
    void interrupt(epoll_descriptor& descriptor, int number);
    void abandon(epoll_descriptor& descriptor, bool later);

    // Carrying out
    outcome attempt(epoll_descriptor& descriptor, epoll_operation& operation);
    outcome accept(epoll_descriptor& descriptor, epoll_operation& operation);
    int accept_one(epoll_descriptor& descriptor, const epoll_operation& operation);
    outcome connect(epoll_descriptor& descriptor, epoll_operation& operation);
    void forget_unowned(const epoll_descriptor& descriptor, int number,
                        std::uint8_t opcode) noexcept;
    outcome poll(epoll_descriptor& descriptor, epoll_operation& operation);

    const int epoll_;
    const feature_set features_;
    epoll_completions& completions_;
    epoll_operation_store store_;
    epoll_descriptor_table descriptors_;
    epoll_buffers buffers_;
    epoll_transfers transfers_{completions_, buffers_};
    epoll_files files_;
    std::vector<std::uint64_t> interrupted_;  // tags, to be continued in the next turn
    std::vector<std::uint64_t> resuming_;     // tags, to be continued in this turn
};

}  // namespace rondo::inline v0::detail
