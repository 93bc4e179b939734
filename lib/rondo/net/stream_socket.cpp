#include <rondo/net/quiesce.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/net/stream_socket.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <tuple>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

task<> close_socket(owned_receive_state state) { return close_quiet(std::move(state)); }

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

}  // namespace detail

stream_socket::stream_socket(detail::unique_fd descriptor)
    : state_(receive_state::make(descriptor.get())) {
    std::ignore = descriptor.release();
}

void stream_socket::shutdown(shutdown_mode mode) {
    const int how = mode == shutdown_mode::receive ? SHUT_RD
                    : mode == shutdown_mode::send  ? SHUT_WR
                                                   : SHUT_RDWR;
    // The plain call: as a ring operation it would wake a kernel worker thread.
    if (::shutdown(descriptor(), how) != 0) {
        detail::throw_failed("shutdown", *state_, errno);
    }
}

}  // namespace rondo::inline v0
