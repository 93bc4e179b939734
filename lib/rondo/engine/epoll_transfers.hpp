// How epoll_engine moves bytes: one non-blocking call after the other, until EAGAIN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <sys/socket.h>
#include <sys/uio.h>

#include <rondo/engine/abi.hpp>
#include <rondo/engine/epoll_buffers.hpp>
#include <rondo/engine/epoll_completions.hpp>
#include <rondo/engine/epoll_descriptor.hpp>
#include <rondo/engine/epoll_operation.hpp>

namespace rondo::inline v0::detail {

/// What one descriptor may deliver in a turn, so that one fast peer starves nobody.
inline constexpr unsigned epoll_budget = 32;

/// RECV, SEND, RECVMSG, SENDMSG, and READ and WRITE on what is no regular file. What finishes is
/// completed here; what found nothing to do has its descriptor noted as not ready.
class epoll_transfers {
public:
    epoll_transfers(epoll_completions& completions, epoll_buffers& buffers) noexcept
        : completions_(completions), buffers_(buffers) {}

    epoll_transfers(const epoll_transfers&) = delete;
    epoll_transfers& operator=(const epoll_transfers&) = delete;

    epoll_outcome attempt(epoll_descriptor& descriptor, epoll_operation& operation);

private:
    using outcome = epoll_outcome;

    outcome receive(epoll_descriptor& descriptor, epoll_operation& operation);
    outcome receive_selected(epoll_descriptor& descriptor, epoll_operation& operation);
    std::int64_t fill_buffer(epoll_descriptor& descriptor, epoll_operation& operation,
                             const abi::buffer_slot& slot, bool& last);
    static std::int64_t fill_message(const epoll_operation& operation,
                                     const abi::buffer_slot& slot);
    static std::int64_t fill_framed(const epoll_operation& operation, const abi::buffer_slot& slot,
                                    bool& last);
    outcome receive_without_buffer(epoll_descriptor& descriptor, epoll_operation& operation);
    outcome receive_failed(epoll_descriptor& descriptor, epoll_operation& operation, int error);
    outcome wait_or_fail(const epoll_operation& operation);
    outcome send(epoll_descriptor& descriptor, epoll_operation& operation);
    outcome message(epoll_descriptor& descriptor, epoll_operation& operation);
    ::msghdr remainder(const ::msghdr& whole, std::size_t skip);
    outcome stream(epoll_descriptor& descriptor, epoll_operation& operation);
    static bool drained(epoll_descriptor& descriptor, const epoll_operation& operation) noexcept;

    epoll_completions& completions_;
    epoll_buffers& buffers_;
    std::vector<::iovec> vectors_;  // what is left of a message's buffers
};

}  // namespace rondo::inline v0::detail
