// A listening socket: what TCP and Unix listeners share.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/io/accept_state.hpp>
#include <rondo/net/socket_option.hpp>
#include <rondo/net/stream_socket.hpp>
#include <rondo/task/task.hpp>

#include <memory>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

using owned_accept_state = std::unique_ptr<accept_state, abandon_state>;

task<> close_socket(owned_accept_state state);

}  // namespace detail

/// A listening socket, or one on its way to be one. It moves; it belongs to the scheduler it was
/// first used on. At most one accept at a time (more is misuse). tcp_listener and unix_listener add
/// where it listens and what accept() returns.
class stream_listener {
public:
    static constexpr int default_backlog = 4096;  ///< clipped by net.core.somaxconn

    /// listen(2). Throws socket_error.
    void listen(int backlog = default_backlog);

    /// As stream_socket::close(); connections that were accepted and not delivered are closed.
    task<> close() { return detail::close_socket(std::move(state_)); }

    /// setsockopt(2). Throws socket_error.
    template <socket_option Option>
    void set(const Option& option) {
        detail::set_or_throw(descriptor(), option);
    }
    /// getsockopt(2). Throws socket_error.
    template <socket_option Option>
    Option get() const {
        return get_option<Option>(descriptor());
    }

    bool is_open() const noexcept { return state_ != nullptr; }
    int descriptor() const noexcept { return state_->descriptor(); }
    accept_state& state() noexcept { return *state_; }

protected:
    stream_listener() noexcept = default;
    explicit stream_listener(detail::unique_fd descriptor);
    stream_listener(stream_listener&&) noexcept = default;
    stream_listener& operator=(stream_listener&&) noexcept = default;
    ~stream_listener() = default;

    detail::owned_accept_state state_;
};

}  // namespace rondo::inline v0
