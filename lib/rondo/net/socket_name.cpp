#include <rondo/io/receive_state.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace rondo::inline v0::detail {

namespace {

using name_call = int (*)(int, sockaddr*, socklen_t*) noexcept;

std::optional<endpoint> ask(name_call call, int descriptor) noexcept {
    socket_address name;
    if (call(descriptor, name.data(), name.size_pointer()) != 0) return std::nullopt;
    errno = EAFNOSUPPORT;  // should it be no internet address
    return name.to_endpoint();
}

}  // namespace

endpoint local_endpoint_of(int descriptor) {
    const auto found = ask(::getsockname, descriptor);
    if (!found) throw_socket_error("getsockname", errno);
    return *found;
}

endpoint remote_endpoint_of(int descriptor) {
    const auto found = ask(::getpeername, descriptor);
    if (!found) throw_socket_error("getpeername", errno);
    return *found;
}

std::optional<endpoint> find_remote_endpoint(int descriptor) noexcept {
    return ask(::getpeername, descriptor);
}

void remember_peer(receive_state& state, const socket_address& name) noexcept {
    std::memcpy(state.peer_name.data(), name.data(), name.size());
    state.peer_name_size = name.size();
}

void remember_peer(receive_state& state) noexcept {
    socket_address name;
    if (::getpeername(state.descriptor(), name.data(), name.size_pointer()) != 0) return;
    remember_peer(state, name);
}

std::optional<endpoint> peer_of(const receive_state& state) noexcept {
    if (state.peer_name_size == 0) return find_remote_endpoint(state.descriptor());
    socket_address name;
    std::memcpy(name.data(), state.peer_name.data(), state.peer_name_size);
    *name.size_pointer() = state.peer_name_size;
    return name.to_endpoint();
}

void throw_local_error(const char* verb, int descriptor, int error) {
    const auto local = ask(::getsockname, descriptor);
    throw_socket_error(verb, error, local ? &*local : nullptr);
}

void throw_peer_error(const char* verb, const receive_state& state, int error,
                      std::size_t transferred) {
    const auto peer = peer_of(state);
    throw_socket_error(verb, error, peer ? &*peer : nullptr, transferred);
}

connection_lost lost_error(const char* verb, const receive_state& state, int error,
                           std::size_t transferred) {
    const auto peer = peer_of(state);
    return connection_lost(verb, error, peer ? &*peer : nullptr, transferred);
}

void throw_failed(const char* verb, const receive_state& state, int error,
                  std::size_t transferred) {
    if (error == ECANCELED) throw operation_canceled(transferred);
    if (is_connection_lost(error)) throw lost_error(verb, state, error, transferred);
    throw_peer_error(verb, state, error, transferred);
}

}  // namespace rondo::inline v0::detail
