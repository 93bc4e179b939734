#include <rondo/io/scheduler.hpp>
#include <rondo/net/datagram_socket.hpp>
#include <rondo/net/quiesce.hpp>
#include <rondo/net/socket_error.hpp>

#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

namespace rondo::inline v0::detail {

owned_datagram_state take_datagram_descriptor(unique_fd descriptor, std::size_t name_room) {
    owned_datagram_state made(
        datagram_state::make(descriptor.get(), static_cast<std::uint32_t>(name_room)));
    std::ignore = descriptor.release();
    return made;
}

task<> close_datagrams(owned_datagram_state state) { return close_quiet(std::move(state)); }

task<released_datagrams> release_datagrams(owned_datagram_state state) {
    co_await quiesce(*state);
    released_datagrams released;
    released.received = state->take_all();
    released.descriptor.reset(state.release()->surrender());
    co_return released;
}

std::uint64_t count_dropped(int descriptor) {
    std::array<std::uint32_t, SK_MEMINFO_VARS> counts{};
    socklen_t size = sizeof counts;
    if (::getsockopt(descriptor, SOL_SOCKET, SO_MEMINFO, counts.data(), &size) != 0) {
        throw_socket_error("get dropped", errno);
    }
    return counts[SK_MEMINFO_DROPS];
}

}  // namespace rondo::inline v0::detail
