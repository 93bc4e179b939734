// Awaiting received bytes: into the caller's buffer, or on lease.
#pragma once

#include <rondo/io/chunk.hpp>
#include <rondo/io/receive_state.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <coroutine>
#include <cstddef>
#include <source_location>
#include <span>
#include <string>
#include <system_error>

namespace rondo::inline v0::detail {

/// recv(): behind it stands the armed request of the socket's receive_state.
class [[nodiscard]] receive_chunk_operation final : public lease_waiter {
public:
    explicit receive_chunk_operation(receive_state& state) noexcept : lease_waiter(state) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return wait(awaiting, context_at(awaiting, place));
    }
    // Inlined, so that a failure is thrown in the awaiting coroutine itself: to unwind one frame
    // more would cost a server a tenth of what a short connection costs it.
    [[gnu::always_inline]] chunk await_resume() {
        receive_state& state = *state_;
        state.clear_reading();
        if (result_ > 0) [[likely]] return state.handed_over(id_, result_);
        if (ended_in_error()) [[unlikely]] {
            if (cancelled()) throw operation_canceled();
            if (lost()) throw lost_error();
            fail();
        }
        return take();
    }
    std::error_code error();
    std::string awaits() const override { return "recv from " + peer_text(*state_); }

private:
    bool ended_in_error() noexcept;
    bool cancelled() const noexcept;
    bool lost() const noexcept;
    connection_lost lost_error() const;
    [[noreturn]] void fail() const;
    chunk take() noexcept;
};

/// The one-shot receive of recv(buffer) on a socket with nothing armed.
class direct_receive final : public operation {
public:
    direct_receive(receive_state& state, std::span<std::byte> buffer) noexcept
        : state_(&state), buffer_(buffer) {}
    void begin(std::coroutine_handle<> awaiting, context& where);
    std::int32_t result() const noexcept { return result_; }
    std::string awaits() const override { return "recv from " + peer_text(*state_); }

private:
    void prepare(io_uring_sqe& entry) noexcept override;
    void fell_short() noexcept override;

    receive_state* state_;
    std::span<std::byte> buffer_;
};

/// recv(buffer): a one-shot receive into the caller's memory, or a copy of what the armed request
/// has brought, once there is one.
class [[nodiscard]] receive_bytes_operation final : public receive_waiter {
public:
    receive_bytes_operation(receive_state& state, std::span<std::byte> buffer) noexcept
        : receive_waiter(state), buffer_(buffer), direct_(state, buffer) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return begin(awaiting, context_at(awaiting, place));
    }
    std::size_t await_resume();
    std::error_code error();
    std::string awaits() const override { return "recv from " + peer_text(*state_); }

private:
    bool begin(std::coroutine_handle<> awaiting, context& where);
    void collect() noexcept;

    std::span<std::byte> buffer_;
    direct_receive direct_;
    bool collected_ = false;  // result_ is final
};

}  // namespace rondo::inline v0::detail
