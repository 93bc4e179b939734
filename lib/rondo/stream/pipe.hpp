// Two connected streams in memory.
#pragma once

#include <rondo/const_buffer.hpp>
#include <rondo/shutdown_mode.hpp>
#include <rondo/task/context.hpp>
#include <rondo/task/waiter.hpp>

#include <array>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

class pipe_receive;
class pipe_send;

/// One direction: the bytes between a sender and a receiver, in a ring.
class pipe_direction {
public:
    explicit pipe_direction(std::size_t capacity) noexcept : capacity_(capacity) {}

    /// Nothing more will be sent; what is there can still be received.
    void end() noexcept;
    /// Nothing more will be received: a send fails.
    void refuse() noexcept;
    /// The receiver is gone, and nobody receives what is left.
    void drop() noexcept;

    bool awaited_by_receiver() const noexcept { return reader_ != nullptr; }
    bool awaited_by_sender() const noexcept { return writer_ != nullptr; }

private:
    friend pipe_receive;
    friend pipe_send;

    bool can_receive() const noexcept { return size_ != 0 || ended_ || refused_; }
    bool broken() const noexcept { return ended_ || refused_; }
    std::size_t put(const_buffer data);
    std::size_t take(std::span<std::byte> buffer) noexcept;
    void wake_reader() noexcept;
    void wake_writer() noexcept;

    std::size_t capacity_;
    std::size_t first_ = 0;  // where the oldest byte is
    std::size_t size_ = 0;
    bool ended_ = false;
    bool refused_ = false;
    std::unique_ptr<std::byte[]> ring_;  // from the first byte on
    pipe_receive* reader_ = nullptr;     // suspended, waiting or ready
    pipe_send* writer_ = nullptr;
};

class [[nodiscard]] pipe_receive final : public waiter {
public:
    pipe_receive(pipe_direction& from, std::span<std::byte> buffer) noexcept
        : from_(&from), buffer_(buffer) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return begin(awaiting, context_at(awaiting, place));
    }
    std::size_t await_resume();
    std::error_code error() noexcept;
    std::string awaits() const override { return "recv from a pipe"; }

private:
    bool begin(std::coroutine_handle<> awaiting, context& where);
    void cancel() noexcept override;
    void leave() noexcept;

    pipe_direction* from_;
    std::span<std::byte> buffer_;
    bool cancelled_ = false;
};

class [[nodiscard]] pipe_send : public waiter {
public:
    pipe_send(pipe_direction& to, const_buffer data) noexcept
        : to_(&to), one_(data), list_(&one_, 1) {}
    pipe_send(pipe_direction& to, std::span<const const_buffer> list) noexcept
        : to_(&to), list_(list) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return begin(awaiting, context_at(awaiting, place));
    }
    void await_resume();
    std::error_code error() noexcept;
    std::string awaits() const override { return "send into a pipe"; }

    /// Puts into the ring what fits; true once it was all.
    bool advance();
    /// The direction is broken while this waits.
    void fail() noexcept;

private:
    bool begin(std::coroutine_handle<> awaiting, context& where);
    void cancel() noexcept override;
    void leave() noexcept;

    pipe_direction* to_;
    const_buffer one_;
    std::span<const const_buffer> list_;
    std::size_t offset_ = 0;  // bytes of the first buffer of the list that are in the ring
    std::size_t transferred_ = 0;
    std::errc why_{};
};

template <std::size_t N>
class pipe_list {
protected:
    explicit pipe_list(const std::array<const_buffer, N>& buffers) noexcept : buffers_(buffers) {}
    std::array<const_buffer, N> buffers_;
};
template <std::size_t N>
class pipe_send_list final : private pipe_list<N>, public pipe_send {
public:
    pipe_send_list(pipe_direction& to, const std::array<const_buffer, N>& list) noexcept
        : pipe_list<N>(list),
          pipe_send(to, std::span<const const_buffer>(pipe_list<N>::buffers_)) {}
};

}  // namespace detail

/// One end of a pipe: a stream as a connected socket is one, without leases. It moves. At most one
/// receive and one send at a time, and they may overlap. Both ends belong to one thread.
///
/// Destroyed or assigned to, it is closed: the other end receives what was sent, then the end of
/// the stream; its sends fail with std::errc::broken_pipe. Not while it is awaited.
class pipe_end {
public:
    /// A closed end: everything but assignment and destruction is misuse.
    pipe_end() noexcept = default;
    pipe_end(pipe_end&&) noexcept = default;
    pipe_end& operator=(pipe_end&& other) noexcept;
    ~pipe_end() { close(); }

    /// Completes when bytes are there, or will never be; returns the count, 0 at the end of the
    /// stream. `buffer` must live until then. Cancelled, it throws and has taken nothing.
    detail::pipe_receive recv(std::span<std::byte> buffer) noexcept {
        return detail::pipe_receive(*in_, buffer);
    }

    /// Completes when all of `data`, which must live until then, is in the pipe; waits while it is
    /// full. Throws stream_error, std::errc::broken_pipe, where nobody will receive it. Cut short
    /// by that or a cancellation, the error tells transferred(): so much is in the pipe.
    detail::pipe_send send(const_buffer data) noexcept { return {*out_, data}; }
    /// As send(const_buffer), for several buffers as if they were one; the list must live until it
    /// completes, too.
    detail::pipe_send send(std::span<const const_buffer> buffers) noexcept {
        return {*out_, buffers};
    }
    /// As send(const_buffer), for several buffers without a list of them: `send(header, body)`.
    template <std::convertible_to<const_buffer>... More>
    detail::pipe_send_list<2 + sizeof...(More)> send(const_buffer first, const_buffer second,
                                                     const More&... more) noexcept {
        const std::array<const_buffer, 2 + sizeof...(More)> list = {first, second,
                                                                    const_buffer(more)...};
        return {*out_, list};
    }

    /// As shutdown(2) of a socket. `send`: the other end receives what was sent, then the end of
    /// the stream. `receive`: this end does, and sends of the other end fail.
    void shutdown(shutdown_mode mode) noexcept;

    bool is_open() const noexcept { return in_ != nullptr; }

private:
    friend class pipe;
    pipe_end(std::shared_ptr<detail::pipe_direction> in,
             std::shared_ptr<detail::pipe_direction> out) noexcept
        : in_(std::move(in)), out_(std::move(out)) {}
    void close() noexcept;

    std::shared_ptr<detail::pipe_direction> in_;
    std::shared_ptr<detail::pipe_direction> out_;
};

/// Two ends, connected both ways. What one sends the other receives; a direction holds `capacity`
/// bytes, from 1 on, and a send waits while it is full.
///
///     rondo::pipe link;
///     co_await when_all(serve(link.a), talk_to(link.b));
class pipe {
public:
    static constexpr std::size_t default_capacity = 64 * 1024;

    explicit pipe(std::size_t capacity = default_capacity);

    pipe_end a;
    pipe_end b;
};

}  // namespace rondo::inline v0
