#include <rondo/net/quiesce.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/net/stream_listener.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <tuple>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

task<> close_socket(owned_accept_state state) { return close_quiet(std::move(state)); }

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
