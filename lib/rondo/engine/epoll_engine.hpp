// The engine for where io_uring is not to be had: the same entries by plain calls and epoll.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>

#include <rondo/engine/engine.hpp>

namespace rondo::inline v0 {

/// Carries out NOP, ACCEPT, CONNECT, RECV, RECVMSG, SEND, SENDMSG, POLL_ADD, ASYNC_CANCEL, CLOSE,
/// READ, WRITE, OPENAT, FSYNC and FADVISE as the kernel does (io_uring_enter(2)); any other opcode
/// completes with -EINVAL. Files, which epoll refuses, are for helper threads.
///
/// What it does not do: links, drains, fixed files, bundles, MSG_WAITALL into selected buffers, and
/// cancelling by anything but user_data; such entries complete with -EINVAL or -EOPNOTSUPP.
///
/// It differs from the kernel in this:
/// - What an entry points at (message, name, vectors) must stay until its last completion.
/// - An empty buffer ring is reported (-ENOBUFS) only when data is there; the end of the stream
///   is reported without a buffer.
/// - The length that a multishot RECVMSG gives its one vector holds for every message.
/// - A multishot poll may report a readiness again that is not new.
/// - CLOSE and forget() end the requests of their descriptor with -ECANCELED; here the number is
///   all that names it.
/// - READ and WRITE on a pipe or a terminal wait also where the descriptor is non-blocking. FSYNC
///   of a range is one of the whole file.
/// - A request on a helper thread is cancelled only before it has begun.
/// - A connect to a Unix listener whose backlog is full completes with -EAGAIN.
///
/// It never blocks, whatever the descriptor's own mode. A blocking listener is polled before
/// each accept(2), which can therefore block only if another thread or process takes the
/// connection in between; a blocking socket is non-blocking during connect(2).
class epoll_engine final : public engine {
public:
    /// Sizes are rounded up to a power of two. Throws std::system_error with the call that failed
    /// and what to do about it.
    explicit epoll_engine(const engine_options& options = {});
    ~epoll_engine() override;

    bool enter(duration timeout) override;
    /// EINVAL for a bad size or alignment, EEXIST for a group that is there, EFAULT for null.
    std::error_code register_buffer_ring(std::uint16_t group, void* ring,
                                         unsigned entries) override;
    void unregister_buffer_ring(std::uint16_t group) noexcept override;
    void forget(int descriptor) noexcept override;
    std::string_view name() const noexcept override { return "epoll"; }
    std::uint64_t overflows() const noexcept override;

    /// Calls of epoll_ctl(2) so far: one for each descriptor that had to be waited for.
    std::uint64_t control_calls() const noexcept;
    /// Calls of epoll_wait(2) or epoll_pwait2(2) so far.
    std::uint64_t wait_calls() const noexcept;

private:
    struct state;

    std::unique_ptr<state> state_;
};

}  // namespace rondo::inline v0
