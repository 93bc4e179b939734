// Awaiting that descriptors have been sent or received along with a Unix datagram.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/datagram_operation.hpp>
#include <rondo/net/unix_address.hpp>
#include <rondo/net/unix_credentials.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace rondo::inline v0 {

/// What unix_datagram_socket::recv_descriptors() returns. truncated() is about the bytes.
struct received_descriptors_from : received_from<unix_address> {
    std::vector<detail::unique_fd> descriptors;  ///< close-on-exec
    /// More were sent, and are closed: more than asked for, or than this process may have open.
    bool descriptors_truncated = false;
    std::optional<unix_credentials> credentials;  ///< with pass_credentials
};

namespace detail {

/// send_descriptors() and send_descriptors_to(): SCM_RIGHTS, unix(7).
class [[nodiscard]] send_datagram_descriptors final : public send_datagram_base {
public:
    send_datagram_descriptors(datagram_state& state, std::span<const int> descriptors,
                              const_buffer data, const unix_address* to = nullptr);

    void await_resume();

private:
    void fill_message() noexcept;
    std::int32_t send_now() noexcept override;
    void prepare_send(io_uring_sqe& entry) noexcept override;

    std::optional<unix_address> to_;
    unix_socket_address wire_;
    std::vector<std::byte> control_;
    iovec part_;
    msghdr message_;
};

/// recv_descriptors(): a one-shot receive, as requests that stay armed have no room for them.
class [[nodiscard]] receive_datagram_descriptors final : public datagram_request {
public:
    receive_datagram_descriptors(datagram_state& state, std::span<std::byte> buffer,
                                 std::size_t most);

    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        begin(awaiting, context_at(awaiting, place));
    }
    received_descriptors_from await_resume();
    std::error_code error();
    std::string awaits() const override {
        return "recv_descriptors on " + local_text(state_->descriptor());
    }

private:
    void begin(std::coroutine_handle<> awaiting, context& where);
    void prepare(io_uring_sqe& entry) noexcept override;
    void fill_message() noexcept;
    std::int32_t receive_now() noexcept;
    void collect();
    void take_control();

    std::size_t most_;
    std::vector<std::byte> control_;
    received_descriptors_from received_;
    iovec part_;
    msghdr message_;
    alignas(8) std::array<std::byte, sizeof(sockaddr_storage)> name_;
    bool collected_ = false;  // received_ is final
};

}  // namespace detail

}  // namespace rondo::inline v0
