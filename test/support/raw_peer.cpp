#include <support/raw_peer.hpp>
#include <support/tcp_pair.hpp>

#include <rondo/net/endpoint.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace rondo::test {

namespace {

void require_call(bool succeeded, const char* call) {
    if (!succeeded) throw std::system_error(errno, std::generic_category(), call);
}

}  // namespace

std::string pattern(std::size_t size, std::size_t id, std::size_t offset) {
    std::string made(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        made[i] = static_cast<char>(pattern_byte(id, offset + i));
    }
    return made;
}

raw_peer raw_peer::connect_to(const endpoint& remote) {
    const int family = remote.address().is_v4() ? AF_INET : AF_INET6;
    detail::unique_fd made(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    require_call(static_cast<bool>(made), "socket");
    const socket_address name(remote);
    require_call(::connect(made.get(), name.data(), name.size()) == 0, "connect");
    require_call(::fcntl(made.get(), F_SETFL, O_NONBLOCK) == 0, "fcntl");
    return raw_peer(std::move(made));
}

std::size_t raw_peer::send_some(std::string_view bytes) {
    const auto sent = ::send(descriptor(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) return 0;
    require_call(sent >= 0, "send");
    return static_cast<std::size_t>(sent);
}

void raw_peer::send(std::string_view bytes) {
    if (send_some(bytes) != bytes.size()) {
        throw std::runtime_error("the socket buffers have no room for the test's bytes");
    }
}

std::ptrdiff_t raw_peer::receive(char* to, std::size_t size, int flags) {
    const auto received = ::recv(descriptor(), to, size, flags);
    return received < 0 ? -errno : received;
}

std::string raw_peer::read() {
    std::string all;
    std::array<char, 65536> part;
    for (;;) {
        const auto received = receive(part.data(), part.size(), 0);
        if (received <= 0) return all;
        all.append(part.data(), static_cast<std::size_t>(received));
    }
}

bool raw_peer::reads(std::string_view text) {
    collected_ += read();
    if (collected_ != text) return false;
    collected_.clear();
    return true;
}

bool raw_peer::at_end() {
    char one = 0;
    return receive(&one, 1, MSG_PEEK) == 0;
}

bool raw_peer::was_reset() {
    char one = 0;
    return receive(&one, 1, MSG_PEEK) == -ECONNRESET;
}

void raw_peer::finish() { require_call(::shutdown(descriptor(), SHUT_WR) == 0, "shutdown"); }

void raw_peer::reset() {
    const ::linger at_once = {1, 0};
    require_call(::setsockopt(descriptor(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0,
                 "setsockopt");
    close();
}

endpoint raw_peer::local_endpoint() const {
    socket_address name;
    require_call(::getsockname(descriptor(), name.data(), name.size_pointer()) == 0,
                 "getsockname");
    return name.to_endpoint().value();
}

raw_pair connected_to_raw_peer() {
    tcp_listener listener = listen_on_loopback();
    raw_peer peer = raw_peer::connect_to(listener.local_endpoint());
    detail::unique_fd accepted(
        ::accept4(listener.descriptor(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!accepted && errno == EAGAIN) throw std::runtime_error("no connection to accept");
    require_call(static_cast<bool>(accepted), "accept4");
    return {tcp_socket(std::move(accepted)), std::move(peer)};
}

bool is_open(int descriptor) { return ::fcntl(descriptor, F_GETFD) >= 0; }

}  // namespace rondo::test
