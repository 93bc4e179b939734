#include <rondo/io/receive_state.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <variant>

namespace rondo::inline v0::detail {

namespace {

using name_call = int (*)(int, sockaddr*, socklen_t*) noexcept;

socket_place ask(name_call call, int descriptor) noexcept {
    // Room for a name of either kind; an internet one is shorter.
    unix_socket_address name;
    if (call(descriptor, name.data(), name.size_pointer()) != 0) return {};
    if (const auto local = name.to_address()) return *local;
    socket_address internet;
    const std::uint32_t size = std::min(name.size(), internet.size());
    std::memcpy(internet.data(), name.data(), size);
    *internet.size_pointer() = size;
    errno = EAFNOSUPPORT;  // should it be of yet another kind
    if (const auto found = internet.to_endpoint()) return *found;
    return {};
}

template <typename Address>
Address ask_for(name_call call, int descriptor, const char* verb) {
    const socket_place found = ask(call, descriptor);
    if (const auto* address = std::get_if<Address>(&found)) return *address;
    throw_socket_error(verb, found.index() == 0 ? errno : EAFNOSUPPORT);
}

std::string text_of(const socket_place& place, const char* unknown) {
    if (const auto* internet = std::get_if<endpoint>(&place)) return internet->to_string();
    if (const auto* path = std::get_if<unix_address>(&place)) return path->to_string();
    return unknown;
}

}  // namespace

endpoint local_endpoint_of(int descriptor) {
    return ask_for<endpoint>(::getsockname, descriptor, "getsockname");
}

endpoint remote_endpoint_of(int descriptor) {
    return ask_for<endpoint>(::getpeername, descriptor, "getpeername");
}

unix_address local_address_of(int descriptor) {
    return ask_for<unix_address>(::getsockname, descriptor, "getsockname");
}

unix_address remote_address_of(int descriptor) {
    return ask_for<unix_address>(::getpeername, descriptor, "getpeername");
}

void remember_peer(receive_state& state, const socket_address& name) noexcept {
    std::memcpy(state.peer_name.data(), name.data(), name.size());
    state.peer_name_size = name.size();
}

void remember_peer(receive_state& state) noexcept {
    socket_address name;
    if (::getpeername(state.descriptor(), name.data(), name.size_pointer()) != 0) return;
    if (name.to_endpoint()) remember_peer(state, name);
}

socket_place peer_of(const receive_state& state) noexcept {
    if (state.peer_name_size == 0) {
        const socket_place peer = ask(::getpeername, state.descriptor());
        const auto* local = std::get_if<unix_address>(&peer);
        if (local == nullptr || !local->is_unnamed()) return peer;
        const socket_place own = ask(::getsockname, state.descriptor());
        local = std::get_if<unix_address>(&own);
        return local == nullptr || local->is_unnamed() ? socket_place() : own;
    }
    socket_address name;
    std::memcpy(name.data(), state.peer_name.data(), state.peer_name_size);
    *name.size_pointer() = state.peer_name_size;
    if (const auto kept = name.to_endpoint()) return *kept;
    return {};
}

std::string peer_text(const receive_state& state) {
    return text_of(peer_of(state), "a peer without a name");
}

std::string local_text(int descriptor) {
    return text_of(ask(::getsockname, descriptor), "a socket without a name");
}

void throw_local_error(const char* verb, int descriptor, int error) {
    throw_socket_error(verb, error, ask(::getsockname, descriptor));
}

void throw_peer_error(const char* verb, const receive_state& state, int error,
                      std::size_t transferred) {
    throw_socket_error(verb, error, peer_of(state), transferred);
}

connection_lost lost_error(const char* verb, const receive_state& state, int error,
                           std::size_t transferred) {
    return connection_lost(verb, error, peer_of(state), transferred);
}

void throw_failed(const char* verb, const receive_state& state, int error,
                  std::size_t transferred) {
    if (error == ECANCELED) throw operation_canceled(transferred);
    if (is_connection_lost(error)) throw lost_error(verb, state, error, transferred);
    throw_peer_error(verb, state, error, transferred);
}

}  // namespace rondo::inline v0::detail
