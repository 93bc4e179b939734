// Awaiting that descriptors have been sent or received along with bytes.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/send_operation.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <coroutine>
#include <cstddef>
#include <source_location>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace rondo::inline v0 {

/// What recv_descriptors() returns.
struct received_descriptors {
    std::size_t size = 0;  ///< bytes in the buffer; 0 at the end of the stream
    std::vector<detail::unique_fd> descriptors;  ///< close-on-exec
    /// More were sent, and the kernel has closed them: more than asked for, or than this process
    /// may have open.
    bool truncated = false;
};

namespace detail {

/// send_descriptors(): SCM_RIGHTS, unix(7).
class [[nodiscard]] send_descriptors_operation final : public send_base {
public:
    send_descriptors_operation(receive_state& state, std::span<const int> descriptors,
                               const_buffer data);

    void await_resume();
    std::error_code error() noexcept;

private:
    void prepare(io_uring_sqe& entry) noexcept override;
    void settle() noexcept;

    bool valid_;
    const std::byte* data_;
    std::vector<std::byte> control_;
    iovec vector_;
    msghdr message_;
};

/// recv_descriptors(): a one-shot receive, since a request that reads ahead could not tell with
/// which bytes descriptors have come.
class [[nodiscard]] receive_descriptors_operation final : public operation {
public:
    receive_descriptors_operation(receive_state& state, std::span<std::byte> buffer,
                                  std::size_t most);

    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        begin(awaiting, context_at(awaiting, place));
    }
    received_descriptors await_resume();
    std::error_code error();
    std::string awaits() const override { return "recv_descriptors from " + peer_text(*state_); }

private:
    void begin(std::coroutine_handle<> awaiting, context& where);
    void prepare(io_uring_sqe& entry) noexcept override;
    void fell_short() noexcept override;
    void collect() noexcept;

    receive_state* state_;
    std::span<std::byte> buffer_;
    std::vector<std::byte> control_;
    received_descriptors received_;
    iovec vector_;
    msghdr message_;
    bool collected_ = false;  // result_ and received_ are final
};

}  // namespace detail

}  // namespace rondo::inline v0
