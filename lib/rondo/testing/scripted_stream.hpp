// A stream whose other end follows a script: for tests of whatever speaks over a stream.
#pragma once

#include <rondo/const_buffer.hpp>
#include <rondo/shutdown_mode.hpp>
#include <rondo/task/context.hpp>
#include <rondo/task/waiter.hpp>

#include <coroutine>
#include <cstddef>
#include <deque>
#include <memory>
#include <source_location>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace rondo::inline v0::testing {

class scripted_receive;
class scripted_receive_bytes;
class scripted_receive_lease;
class scripted_send;

/// What was done is not what the script says. `what()` names the step, the place and the
/// difference: `scripted_stream: step 2 expects "PING\r\n", and "PONG\r\n" was sent: they differ at
/// byte 1 of the step, byte 1 of all that was sent`.
class script_error final : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
    script_error(const script_error&) noexcept = default;
    script_error& operator=(const script_error&) noexcept = default;
    ~script_error() override;
};

/// The bytes of an answer, or of the rest of it, until it is destroyed. False at the end.
class scripted_lease {
public:
    scripted_lease() noexcept = default;

    explicit operator bool() const noexcept { return bytes_ != nullptr; }
    std::size_t size() const noexcept { return bytes_ ? bytes_->size() : 0; }
    std::span<const std::byte> bytes() const noexcept { return std::as_bytes(std::span(text())); }
    std::string_view text() const noexcept {
        return bytes_ ? std::string_view(*bytes_) : std::string_view();
    }

private:
    friend scripted_receive_lease;
    scripted_lease(std::string_view bytes, std::shared_ptr<int> held)
        : bytes_(std::make_unique<const std::string>(bytes)), held_(std::move(held)) {}

    std::unique_ptr<const std::string> bytes_;
    std::shared_ptr<int> held_;  // its use count tells how many leases there are
};

/// One end of a connection; the other end is a script, written before the test:
///
///     scripted_stream server;
///     server.expect("PING\r\n").answer_in_pieces("+PONG\r\n", 1).end();
///     co_await ping(server);
///     server.verify();
///
/// What is sent must be what the script expects, however it is cut. An answer comes once everything
/// expected before it was sent; as behind a network, the script does not notice whether it was read
/// before more is sent. Each answer is a piece: a receive returns at most one. Where the code under
/// test leaves the script, its operation throws script_error, and so does every one after it.
///
/// A stream, a lease_stream and a gather_stream; it does no I/O. At most one receive and one send
/// at a time (more is misuse), and they may overlap. Operations awaited in a cancelled scope fail
/// and change nothing. It does not move, and belongs to one thread.
class scripted_stream {
public:
    scripted_stream();
    scripted_stream(const scripted_stream&) = delete;
    scripted_stream& operator=(const scripted_stream&) = delete;
    ~scripted_stream();

    // --- the script ---

    scripted_stream& expect(std::string bytes);  ///< `bytes` are sent next
    scripted_stream& expect_end();               ///< shutdown(send) comes next
    scripted_stream& answer(std::string bytes);  ///< received in one piece
    /// The same in pieces of `size` bytes.
    scripted_stream& answer_in_pieces(std::string_view bytes, std::size_t size);
    scripted_stream& end();                           ///< the end of the stream, from then on
    scripted_stream& fail_recv(std::error_code why);  ///< one receive fails with `why`
    scripted_stream& fail_send(std::error_code why);  ///< one send, once it gets here, fails
    /// A receive, or a send, that gets here waits until it is cancelled; then the script goes on.
    scripted_stream& stall_recv();
    scripted_stream& stall_send();

    // --- the stream ---

    /// Completes when the script has something to deliver; returns the count, 0 at the end. A
    /// scripted failure is thrown as a stream_error. `buffer` must live until then.
    scripted_receive_bytes recv(std::span<std::byte> buffer) noexcept;
    /// As recv(buffer), on lease: returns a whole answer, or the rest of it; false at the end.
    scripted_receive_lease recv() noexcept;

    /// Completes when all of `data`, which must live until then, is found to be expected, or a
    /// step says otherwise. A scripted failure is thrown as a stream_error, which tells
    /// transferred(), as does operation_canceled.
    scripted_send send(const_buffer data) noexcept;
    /// As send(const_buffer), for several buffers as if they were one; the list must live until it
    /// completes, too.
    scripted_send send(std::span<const const_buffer> buffers) noexcept;

    /// Ending the sending side is what expect_end() waits for; ending the receiving side lets every
    /// receive return the end of the stream. Throws script_error.
    void shutdown(shutdown_mode mode);

    // --- what came of it ---

    /// Throws script_error where the script was left, or has steps that were not reached.
    void verify() const;

    /// Leases that are alive.
    std::size_t leases_held() const noexcept {
        return static_cast<std::size_t>(leases_.use_count() - 1);
    }

private:
    friend scripted_receive;
    friend scripted_receive_bytes;
    friend scripted_receive_lease;
    friend scripted_send;

    enum class action : unsigned char { bytes, end, fail, stall };
    struct step {
        action what;
        std::size_t number;     // in the script, from 1
        std::size_t after = 0;  // receives: how many sending steps come before
        std::string bytes = {};
        std::error_code why = {};
    };

    scripted_stream& add_receive(action what, std::string bytes = {}, std::error_code why = {});
    scripted_stream& add_send(action what, std::string bytes = {}, std::error_code why = {});
    static std::string described(const step& open, const char* sending);
    std::string left_over() const;

    /// Whether a receive has not to wait, be it for an error.
    bool can_receive() const noexcept;
    bool receive_stalls() const noexcept;
    std::string_view next_piece(std::error_code& why);
    void piece_taken(std::size_t size);
    void pass_receive() noexcept;

    /// Goes on with a send; false where it stalls.
    bool match(std::span<const const_buffer> list, std::size_t& done, std::error_code& why);
    bool match_expected(std::string_view data, std::size_t& done);
    void pass_send() noexcept;
    /// The script is left; to be thrown by who left it and by all that follow.
    void leave(const std::string& sentence);
    void throw_if_left() const;

    std::deque<step> receives_;
    std::deque<step> sends_;
    std::size_t steps_ = 0;
    std::size_t sending_steps_ = 0;
    std::size_t sending_steps_done_ = 0;
    std::size_t offset_ = 0;       // bytes of the first answer, received
    std::size_t send_offset_ = 0;  // bytes of the first expectation, sent
    std::size_t sent_ = 0;
    bool at_end_ = false;
    std::string failure_;
    scripted_receive* reader_ = nullptr;
    scripted_send* sender_ = nullptr;
    std::shared_ptr<int> leases_;
};

/// What both forms of recv() share.
class [[nodiscard]] scripted_receive : public waiter {
public:
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return begin(awaiting, context_at(awaiting, place));
    }
    std::error_code error() {
        collect();
        return why_;
    }
    std::string awaits() const override { return "recv from a scripted_stream"; }

protected:
    explicit scripted_receive(scripted_stream& stream) noexcept : stream_(&stream) {}
    ~scripted_receive() = default;

    /// What the script delivers, to be called once resumed; throws where it is a failure.
    std::string_view delivered();

    scripted_stream* stream_;

private:
    bool begin(std::coroutine_handle<> awaiting, context& where);
    void cancel() noexcept override;
    void collect();

    bool cancelled_ = false;
    bool collected_ = false;
    std::string_view piece_;
    std::error_code why_;
};

/// What `scripted_stream::recv(buffer)` returns.
class scripted_receive_bytes final : public scripted_receive {
public:
    scripted_receive_bytes(scripted_stream& stream, std::span<std::byte> buffer) noexcept
        : scripted_receive(stream), buffer_(buffer) {}
    std::size_t await_resume();

private:
    std::span<std::byte> buffer_;
};

/// What `scripted_stream::recv()` returns.
class scripted_receive_lease final : public scripted_receive {
public:
    explicit scripted_receive_lease(scripted_stream& stream) noexcept : scripted_receive(stream) {}
    scripted_lease await_resume();
};

/// What `scripted_stream::send()` returns.
class [[nodiscard]] scripted_send final : public waiter {
public:
    scripted_send(scripted_stream& stream, const_buffer data) noexcept
        : stream_(&stream), one_(data), list_(&one_, 1) {}
    scripted_send(scripted_stream& stream, std::span<const const_buffer> list) noexcept
        : stream_(&stream), list_(list) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return begin(awaiting, context_at(awaiting, place));
    }
    void await_resume();
    std::error_code error() noexcept {
        leave();
        return why_;
    }
    std::string awaits() const override { return "send to a scripted_stream"; }

private:
    bool begin(std::coroutine_handle<> awaiting, context& where);
    void cancel() noexcept override;
    void leave() noexcept;

    scripted_stream* stream_;
    const_buffer one_;
    std::span<const const_buffer> list_;
    std::size_t transferred_ = 0;
    std::error_code why_;
};

inline scripted_receive_bytes scripted_stream::recv(std::span<std::byte> buffer) noexcept {
    return scripted_receive_bytes(*this, buffer);
}
inline scripted_receive_lease scripted_stream::recv() noexcept {
    return scripted_receive_lease(*this);
}
inline scripted_send scripted_stream::send(const_buffer data) noexcept {
    return scripted_send(*this, data);
}
inline scripted_send scripted_stream::send(std::span<const const_buffer> buffers) noexcept {
    return scripted_send(*this, buffers);
}

}  // namespace rondo::inline v0::testing
