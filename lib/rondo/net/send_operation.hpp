// Awaiting that bytes have been sent.
#pragma once

#include <rondo/const_buffer.hpp>
#include <rondo/io/receive_state.hpp>
#include <rondo/net/socket_name.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <coroutine>
#include <cstddef>
#include <source_location>
#include <span>
#include <string>
#include <system_error>

namespace rondo::inline v0::detail {

/// What all ways to send share: the place in the socket's state, the bytes that went through, and
/// going on after a short count.
class send_base : public operation {
public:
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        begin(awaiting, context_at(awaiting, place));
    }
    std::error_code error() noexcept {
        leave();
        return operation::error();
    }
    std::string awaits() const override { return "send to " + peer_text(*state_); }

protected:
    send_base(receive_state& state, std::size_t size) noexcept : state_(&state), size_(size) {}
    ~send_base() = default;

    [[gnu::noinline]] void begin(std::coroutine_handle<> awaiting, context& where);
    void fell_short() noexcept override;
    void leave() noexcept { state_->sender = nullptr; }
    [[noreturn, gnu::cold]] void fail() const;

    /// To be called by prepare(): the entry sends `bytes`, all that is left or a part of it.
    void expect(std::size_t bytes) noexcept;

    receive_state* state_;
    std::size_t size_;
    std::size_t sent_ = 0;  // by completions before the last one
};

/// send(buffer).
class [[nodiscard]] send_operation final : public send_base {
public:
    send_operation(receive_state& state, const std::byte* data, std::size_t size) noexcept
        : send_base(state, size), data_(data) {}

    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        begin(awaiting, context_at(awaiting, place));
    }
    [[gnu::always_inline]] void await_resume() {
        leave();
        if (result_ < 0) [[unlikely]] fail();
    }

private:
    void begin(std::coroutine_handle<> awaiting, context& where);
    void prepare(io_uring_sqe& entry) noexcept override;

    const std::byte* data_;
};

/// send_some(buffer).
class [[nodiscard]] send_some_operation final : public send_base {
public:
    send_some_operation(receive_state& state, const_buffer data) noexcept
        : send_base(state, data.size()), data_(data.data()) {}

    std::size_t await_resume() {
        leave();
        if (result_ < 0) fail();
        return static_cast<std::size_t>(result_);
    }

private:
    void prepare(io_uring_sqe& entry) noexcept override;
    void fell_short() noexcept override;

    const std::byte* data_;
};

/// send(buffers): several buffers as if they were one.
class [[nodiscard]] gather_operation : public send_base {
public:
    gather_operation(receive_state& state, std::span<const const_buffer> buffers) noexcept;

    void await_resume() {
        leave();
        if (result_ < 0) [[unlikely]] fail();
    }

private:
    static constexpr std::size_t window = 16;  // buffers given to the kernel at a time

    void prepare(io_uring_sqe& entry) noexcept override;

    std::span<const const_buffer> buffers_;
    std::array<iovec, window> vectors_;
    msghdr message_;
};

/// Keeps the list of buffers of a variadic send.
template <std::size_t N>
class gather_list {
protected:
    explicit gather_list(const std::array<const_buffer, N>& buffers) noexcept : list_(buffers) {}
    std::array<const_buffer, N> list_;
};
template <std::size_t N>
class [[nodiscard]] gather_list_operation final : private gather_list<N>, public gather_operation {
public:
    gather_list_operation(receive_state& state, const std::array<const_buffer, N>& list) noexcept
        : gather_list<N>(list), gather_operation(state, gather_list<N>::list_) {}
};

}  // namespace rondo::inline v0::detail
