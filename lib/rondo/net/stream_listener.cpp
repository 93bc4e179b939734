#include <rondo/net/quiesce.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/net/stream_listener.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <tuple>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

// A parameter would live as long as the frame, beyond the end of a task that is kept.
task<> close_socket(owned_accept_state state) {
    const owned_accept_state closing(std::move(state));
    co_await quiesce(*closing);
}

}  // namespace detail

stream_listener::stream_listener(detail::unique_fd descriptor)
    : state_(accept_state::make(descriptor.get())) {
    std::ignore = descriptor.release();
}

void stream_listener::listen(int backlog) {
    if (::listen(descriptor(), backlog) != 0) {
        detail::throw_local_error("listen", descriptor(), errno);
    }
}

}  // namespace rondo::inline v0
