#include <rondo/io/scheduler.hpp>
#include <rondo/net/quiesce.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/result.hpp>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <tuple>

namespace rondo::inline v0 {

namespace detail {

unique_fd open_tcp(ip_version version) {
    const int family = version == ip_version::v4 ? AF_INET : AF_INET6;
    // Non-blocking on both engines: the ring does not care, epoll needs it.
    unique_fd made(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!made) throw_socket_error("socket", errno);
    return made;
}

void bind_tcp(int descriptor, const endpoint& local) {
    const socket_address name(local);
    if (::bind(descriptor, name.data(), name.size()) != 0) {
        throw_socket_error("bind", errno, &local);
    }
}

task<> close_socket(owned_receive_state state) { co_await quiesce(*state); }

task<> close_socket(owned_accept_state state) { co_await quiesce(*state); }

task<released_socket> release_socket(owned_receive_state state) {
    co_await quiesce(*state);
    released_socket released;
    released.received = state->take_all();
    if (const int pending = state->pending_error()) {
        released.error = std::error_code(pending, std::generic_category());
    }
    released.descriptor.reset(state.release()->surrender());
    co_return released;
}

void accept_operation::collect() noexcept {
    if (collected_) return;
    collected_ = true;
    leave();
    if (result_ >= 0) result_ = state_->take();
}

tcp_socket accept_operation::await_resume() {
    collect();
    if (result_ == -ECANCELED) throw_canceled();
    if (result_ < 0) {
        const endpoint local = local_endpoint_of(state_->descriptor());
        throw_socket_error("accept", -result_, &local);
    }
    return tcp_socket(unique_fd(result_));
}

std::error_code accept_operation::error() noexcept {
    collect();
    return operation::error();
}

}  // namespace detail

tcp_socket::tcp_socket(detail::unique_fd descriptor)
    : state_(receive_state::make(descriptor.get())) {
    std::ignore = descriptor.release();
}

void tcp_socket::shutdown(shutdown_mode mode) {
    const int how = mode == shutdown_mode::receive ? SHUT_RD
                    : mode == shutdown_mode::send  ? SHUT_WR
                                                   : SHUT_RDWR;
    // The plain call: as a ring operation it would wake a kernel worker thread.
    if (::shutdown(descriptor(), how) != 0) {
        detail::throw_failed("shutdown", *state_, errno);
    }
}

endpoint tcp_socket::local_endpoint() const { return detail::local_endpoint_of(descriptor()); }
endpoint tcp_socket::remote_endpoint() const { return detail::remote_endpoint_of(descriptor()); }

tcp_listener::tcp_listener(ip_version version) {
    detail::unique_fd opened = detail::open_tcp(version);
    if (version == ip_version::v6) {
        // So that [::]:80 and 0.0.0.0:80 can be listened on side by side.
        const int on = 1;
        ::setsockopt(opened.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    state_.reset(accept_state::make(opened.get()));
    std::ignore = opened.release();
}

void tcp_listener::listen(int backlog) {
    if (::listen(descriptor(), backlog) != 0) {
        const int error = errno;
        const endpoint local = local_endpoint();
        throw_socket_error("listen", error, &local);
    }
}

endpoint tcp_listener::local_endpoint() const { return detail::local_endpoint_of(descriptor()); }

task<tcp_socket> tcp_connect(endpoint remote) {
    tcp_socket made(remote.address().is_v4() ? ip_version::v4 : ip_version::v6);
    co_await made.connect(remote);
    co_return made;
}

task<tcp_socket> tcp_connect(std::string host_port) {
    const std::vector<endpoint> candidates = parse_endpoints(host_port, "connect");
    for (std::size_t i = 0; i + 1 < candidates.size(); ++i) {
        tcp_socket made(candidates[i].address().is_v4() ? ip_version::v4 : ip_version::v6);
        auto tried = co_await as_result(made.connect(candidates[i]));
        if (tried) co_return made;
        if (tried.error() == std::errc::operation_canceled) detail::throw_canceled();
    }
    tcp_socket made = co_await tcp_connect(candidates.back());
    co_return made;
}

}  // namespace rondo::inline v0
