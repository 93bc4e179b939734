// Awaiting that bytes have been sent straight from the caller's memory.
#pragma once

#include <rondo/const_buffer.hpp>
#include <rondo/io/completion_target.hpp>
#include <rondo/io/receive_state.hpp>
#include <rondo/net/socket_name.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <system_error>

namespace rondo::inline v0::detail {

/// send_zero_copy(buffer). Each request completes twice, with its count and when the kernel has
/// let go of the memory, so its completions come with their flags, by way of a target. The timer
/// bounds how long a cancelled one waits for a peer that acknowledges nothing.
class [[nodiscard]] zero_copy_operation final : public operation, private timer {
public:
    zero_copy_operation(receive_state& state, const_buffer data) noexcept
        : state_(&state), data_(data.data()), size_(data.size()), target_(*this) {}

    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        begin(awaiting, context_at(awaiting, place));
    }
    void await_resume();
    std::error_code error() noexcept;
    std::string awaits() const override { return "send_zero_copy to " + peer_text(*state_); }

private:
    class target final : public completion_target {
    public:
        explicit target(zero_copy_operation& of) noexcept : of_(&of) {}
        void complete(std::int32_t result, std::uint32_t flags) noexcept override {
            of_->arrived(result, flags);
        }
        void attend() noexcept override { of_->attended(); }
        void stop() override {}
        bool stopped() const noexcept override { return true; }
        void unbind() override {}

    private:
        zero_copy_operation* of_;
    };

    void begin(std::coroutine_handle<> awaiting, context& where);
    void prepare(io_uring_sqe& entry) noexcept override;
    void cancel() noexcept override;
    void expire() noexcept override;
    void bound_wait() noexcept;
    void attended() noexcept;
    void drop_unsent() noexcept;
    void end() noexcept;
    void submit_rest();
    void send_rest() noexcept;
    void arrived(std::int32_t result, std::uint32_t flags) noexcept;
    void settle() noexcept;

    receive_state* state_;
    const std::byte* data_;
    std::size_t size_;
    std::size_t sent_ = 0;
    std::int32_t outcome_ = 0;  // of the latest request; its memory may still be in use
    bool copies_ = false;       // by plain sends: this socket or engine knows no other
    bool rest_waits_ = false;   // for its entry; nothing is in the kernel
    bool settled_ = false;      // nothing is in the kernel, result_ is known
    bool gives_up_ = false;     // unless it settles in this turn; to be attended to
    bool dropped_ = false;      // what the kernel had taken may not have arrived
    target target_;
};

}  // namespace rondo::inline v0::detail
