#include <support/raw_udp.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <system_error>

namespace rondo::test {

namespace {

void check(bool done, const char* call) {
    if (!done) throw std::system_error(errno, std::generic_category(), call);
}

}  // namespace

raw_udp::raw_udp(const ip_address& local)
    : descriptor_(::socket(local.is_v4() ? AF_INET : AF_INET6,
                           SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    check(static_cast<bool>(descriptor_), "socket");
    const socket_address name(endpoint(local, 0));
    check(::bind(descriptor_.get(), name.data(), name.size()) == 0, "bind");
}

void raw_udp::send_to(std::string_view bytes, const endpoint& to) {
    const socket_address name(to);
    const ssize_t sent = ::sendto(descriptor_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL,
                                  name.data(), name.size());
    check(sent == static_cast<ssize_t>(bytes.size()), "sendto");
}

std::optional<raw_message> raw_udp::receive() {
    raw_message got;
    got.text.resize(65536);
    socket_address name;
    const ssize_t n = ::recvfrom(descriptor_.get(), got.text.data(), got.text.size(), 0,
                                 name.data(), name.size_pointer());
    if (n < 0 && errno == EAGAIN) return std::nullopt;
    check(n >= 0, "recvfrom");
    got.text.resize(static_cast<std::size_t>(n));
    got.from = *name.to_endpoint();
    return got;
}

std::vector<std::string> raw_udp::receive_all() {
    std::vector<std::string> all;
    while (auto next = receive()) all.push_back(std::move(next->text));
    return all;
}

endpoint raw_udp::local_endpoint() const {
    socket_address name;
    check(::getsockname(descriptor_.get(), name.data(), name.size_pointer()) == 0, "getsockname");
    return *name.to_endpoint();
}

endpoint nobody() {
    // Its port is free again once it is closed; that another one takes it at once is unlikely, as
    // the kernel chooses ports at random.
    const raw_udp gone;
    return gone.local_endpoint();
}

}  // namespace rondo::test
