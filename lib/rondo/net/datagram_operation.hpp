// Awaiting a datagram, on lease or into the caller's buffer, and awaiting that one has been sent.
#pragma once

#include <rondo/const_buffer.hpp>
#include <rondo/io/datagram_state.hpp>
#include <rondo/net/datagram.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/timer.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace rondo::inline v0::detail {

/// Throws what an operation on a datagram socket failed with; names the address it was about, or
/// else the one the socket is connected to.
template <typename Address>
[[noreturn, gnu::cold, gnu::noinline]] void fail_datagram(const char* verb, int error,
                                                          int descriptor,
                                                          const Address* where = nullptr) {
    if (error == ECANCELED) throw operation_canceled();
    Address remote;
    if (where == nullptr && datagram_address<Address>::find_remote(descriptor, remote)) {
        where = &remote;
    }
    datagram_address<Address>::fail(verb, error, where);
}

inline std::error_code datagram_error(std::int32_t result) noexcept {
    if (result >= 0) return {};
    return std::error_code(-result, std::generic_category());
}

/// recv_from() and recv(): behind it stands the armed request of the socket's state.
template <typename Address>
class [[nodiscard]] receive_datagram_operation final : public datagram_waiter {
public:
    receive_datagram_operation(datagram_state& state, const char* verb) noexcept
        : datagram_waiter(state), verb_(verb) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return wait(awaiting, context_at(awaiting, place));
    }
    basic_datagram<Address> await_resume() {
        resumed();
        if (result_ < 0) [[unlikely]] {
            fail_datagram<Address>(verb_, -result_, state_->descriptor());
        }
        return basic_datagram<Address>(std::move(taken_));
    }
    std::error_code error() noexcept {
        resumed();
        return datagram_error(result_);
    }
    std::string awaits() const override {
        return std::string(verb_) + " on " + local_text(state_->descriptor());
    }

private:
    const char* verb_;
};

/// The one-shot receive of a socket with nothing armed.
class direct_datagram final : public datagram_request {
public:
    direct_datagram(datagram_state& state, std::span<std::byte> buffer) noexcept;
    void begin(std::coroutine_handle<> awaiting, context& where);
    std::int32_t finished() noexcept {
        resumed();
        return result_;
    }
    std::span<const std::byte> name() const noexcept;
    std::string awaits() const override {
        return "recv_from on " + local_text(state_->descriptor());
    }

private:
    void prepare(io_uring_sqe& entry) noexcept override;

    iovec part_;
    msghdr message_;
    alignas(8) std::array<std::byte, sizeof(sockaddr_storage)> name_;
};

/// recv_from(buffer): a receive straight into the caller's memory, or a copy of what the armed
/// request has brought, once there is one.
class receive_into_base : public datagram_waiter {
public:
    receive_into_base(datagram_state& state, std::span<std::byte> buffer) noexcept
        : datagram_waiter(state), buffer_(buffer), direct_(state, buffer) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return begin(awaiting, context_at(awaiting, place));
    }
    std::error_code error() noexcept {
        collect();
        return datagram_error(result_);
    }
    std::string awaits() const override {
        return "recv_from on " + local_text(state_->descriptor());
    }

protected:
    ~receive_into_base() = default;

    /// Leaves the true size in result_, and the bytes in the buffer.
    void collect() noexcept;
    std::size_t true_size() const noexcept { return static_cast<std::size_t>(result_); }
    std::size_t stored() const noexcept;
    std::span<const std::byte> name() const noexcept;

private:
    bool begin(std::coroutine_handle<> awaiting, context& where);

    std::span<std::byte> buffer_;
    direct_datagram direct_;
    bool is_direct_ = false;
    bool collected_ = false;
};

template <typename Address>
class [[nodiscard]] receive_from_operation final : public receive_into_base {
public:
    using receive_into_base::receive_into_base;

    received_from<Address> await_resume() {
        collect();
        if (result_ < 0) fail_datagram<Address>("recv_from", -result_, state_->descriptor());
        received_from<Address> got;
        got.size = stored();
        got.from = datagram_address<Address>::from_wire(name());
        got.true_size = true_size();
        return got;
    }
};

/// recv(buffer), which tells the count alone.
template <typename Address>
class [[nodiscard]] receive_count_operation final : public receive_into_base {
public:
    using receive_into_base::receive_into_base;

    std::size_t await_resume() {
        collect();
        if (result_ < 0) fail_datagram<Address>("recv", -result_, state_->descriptor());
        return stored();
    }
};

/// What all sends share: a plain call first, and a request only where what others send leaves by
/// one system call together with it. Where there is no room it waits for it by a poll of its own
/// and tries again: a ring that does both would send an empty datagram in place of this one, since
/// the kernel has used up the message when it finds the peer's queue full (seen on Linux 6.18).
class send_datagram_base : public datagram_request, private timer {
public:
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return begin(awaiting, context_at(awaiting, place));
    }
    std::error_code error() noexcept {
        resumed();
        return operation::error();
    }
    std::string awaits() const override {
        return "send from " + local_text(state_->descriptor());
    }

protected:
    explicit send_datagram_base(datagram_state& state) noexcept : datagram_request(state) {}
    ~send_datagram_base() = default;

    /// Without a name the datagram goes to the connected peer. It must live as long as this.
    void set_name(const sockaddr* name, std::uint32_t size) noexcept {
        name_ = name;
        name_size_ = size;
    }

    const sockaddr* name_ = nullptr;
    std::uint32_t name_size_ = 0;

private:
    bool begin(std::coroutine_handle<> awaiting, context& where);
    void prepare(io_uring_sqe& entry) noexcept override;
    void fell_short() noexcept override;
    void cancel() noexcept override;
    void expire() noexcept override;
    void refused() noexcept;
    void end() noexcept;

    /// The system call; a count or a negated errno.
    virtual std::int32_t send_now() noexcept = 0;
    /// The same as a request, without waiting.
    virtual void prepare_send(io_uring_sqe& entry) noexcept = 0;

    bool polling_ = false;   // the request is a poll for room
    unsigned refusals_ = 0;  // times there was no room
};

/// One buffer.
class send_single : public send_datagram_base {
protected:
    send_single(datagram_state& state, const_buffer data) noexcept
        : send_datagram_base(state), data_(data) {}
    ~send_single() = default;

private:
    std::int32_t send_now() noexcept override;
    void prepare_send(io_uring_sqe& entry) noexcept override;

    const_buffer data_;
};

/// Several buffers, which make one datagram.
class send_gathered : public send_datagram_base {
protected:
    send_gathered(datagram_state& state, std::span<const const_buffer> buffers);
    ~send_gathered() = default;

private:
    static constexpr std::size_t few = 8;

    void fill_message() noexcept;
    std::int32_t send_now() noexcept override;
    void prepare_send(io_uring_sqe& entry) noexcept override;

    std::array<iovec, few> few_;
    std::vector<iovec> many_;      // where there are more than a few
    std::vector<std::byte> rest_;  // copied, where there are more than the kernel takes
    std::size_t count_;
    msghdr message_;
};

/// send(): to the connected peer. `Data` is send_single or send_gathered.
template <typename Address, typename Data>
class [[nodiscard]] send_connected_operation final : public Data {
public:
    template <typename Bytes>
    send_connected_operation(datagram_state& state, const Bytes& bytes) : Data(state, bytes) {}

    void await_resume() {
        this->resumed();
        if (this->result_ < 0) [[unlikely]] {
            fail_datagram<Address>("send", -this->result_, this->state_->descriptor());
        }
    }
};

/// send_to(): to an address of its own.
template <typename Address, typename Data>
class [[nodiscard]] send_to_operation final : public Data {
public:
    template <typename Bytes>
    send_to_operation(datagram_state& state, const Bytes& bytes, const Address& to)
        : Data(state, bytes), to_(to), wire_(to) {
        this->set_name(wire_.data(), wire_.size());
    }

    void await_resume() {
        this->resumed();
        if (this->result_ < 0) [[unlikely]] {
            fail_datagram<Address>("send_to", -this->result_, this->state_->descriptor(), &to_);
        }
    }

private:
    Address to_;
    typename datagram_address<Address>::wire wire_;
};

}  // namespace rondo::inline v0::detail
