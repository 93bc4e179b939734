#include <rondo/io/scheduler.hpp>
#include <rondo/net/socket_error.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace rondo::inline v0 {

using namespace std::chrono_literals;

namespace {

constexpr auto first_pause = 1ms;
constexpr auto longest_pause = 64ms;

}  // namespace

namespace detail {

namespace {

// 0 or an errno.
int try_to_connect(int descriptor, const unix_socket_address& name) noexcept {
    while (::connect(descriptor, name.data(), name.size()) != 0) {
        if (errno != EINTR) return errno;
    }
    return 0;
}

}  // namespace

unique_fd open_unix() {
    // Non-blocking on both engines: the ring does not care, epoll needs it.
    unique_fd made(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!made) throw_socket_error("socket", errno);
    return made;
}

unique_fd made_non_blocking(unique_fd descriptor) {
    const int flags = ::fcntl(descriptor.get(), F_GETFL);
    if (flags < 0 || ::fcntl(descriptor.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
        throw_socket_error("fcntl", errno);
    }
    return descriptor;
}

void bind_unix(int descriptor, const unix_address& local) {
    const unix_socket_address name(local);
    if (::bind(descriptor, name.data(), name.size()) != 0) {
        throw_socket_error("bind", errno, local);
    }
}

// A plain call, as it never waits: it connects at once, or says EAGAIN while the backlog is full,
// and then neither engine could tell when there is room (the ring would block a kernel thread).
task<> connect_unix(receive_state& state, unix_address remote) {
    context& here = co_await this_context();
    int error = 0;
    if (!here.cancelled()) {
        state.use_on(scheduler::of(here));
        error = try_to_connect(state.descriptor(), unix_socket_address(remote));
    }
    // The others' turn, and where a cancellation is noticed. The socket may be gone after it.
    co_await yield();
    if (error != 0) throw_socket_error("connect", error, remote);
}

}  // namespace detail

std::pair<unix_socket, unix_socket> unix_socket::pair() {
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        throw_socket_error("socketpair", errno);
    }
    detail::unique_fd first(ends[0]);
    detail::unique_fd second(ends[1]);
    return {unix_socket(std::move(first)), unix_socket(std::move(second))};
}

unix_credentials unix_socket::peer_credentials() const {
    ucred known{};
    socklen_t size = sizeof known;
    if (::getsockopt(descriptor(), SOL_SOCKET, SO_PEERCRED, &known, &size) != 0) {
        detail::throw_local_error("get peer_credentials", descriptor(), errno);
    }
    return {known.pid, known.uid, known.gid};
}

unix_address unix_socket::local_address() const { return detail::local_address_of(descriptor()); }
unix_address unix_socket::remote_address() const { return detail::remote_address_of(descriptor()); }

unix_listener unix_listener::listen(const unix_address& local, const unix_listen_options& options) {
    unix_listener made(detail::open_unix());
    if (local.is_path()) {
        made.file_ = detail::socket_file::listen(made.descriptor(), local, options.permissions,
                                                 options.backlog);
    } else {
        detail::bind_unix(made.descriptor(), local);
        made.stream_listener::listen(options.backlog);
    }
    return made;
}

unix_address unix_listener::local_address() const { return detail::local_address_of(descriptor()); }

task<unix_socket> unix_connect(unix_address remote) {
    unix_socket made = unix_socket::create();
    auto pause = std::chrono::milliseconds(first_pause);
    for (;;) {
        auto connected = co_await as_result(made.connect(remote));
        if (connected) co_return made;
        if (connected.error() != std::errc::resource_unavailable_try_again) connected.value();
        co_await sleep_for(pause);
        pause = std::min<std::chrono::milliseconds>(pause * 2, longest_pause);
    }
}

}  // namespace rondo::inline v0
