#include <support/plain_client.hpp>

#include <rondo/net/endpoint.hpp>

#include <fmt/core.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace rondo::test {

namespace {

void check(bool done, const char* call) {
    if (!done) throw std::system_error(errno, std::generic_category(), call);
}

socket_address address_of(const std::string& where) {
    const auto parsed = endpoint::parse(where);
    if (!parsed) throw std::invalid_argument("no endpoint: " + where);
    return socket_address(*parsed);
}

detail::unique_fd socket_for(const socket_address& address) {
    detail::unique_fd made(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    check(static_cast<bool>(made), "socket");
    const timeval patience{30, 0};
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
        check(::setsockopt(made.get(), SOL_SOCKET, option, &patience, sizeof patience) == 0,
              "setsockopt");
    }
    // Or a message right behind another waits until that one is acknowledged: 40 ms.
    const int on = 1;
    check(::setsockopt(made.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "setsockopt");
    return made;
}

}  // namespace

plain_client::plain_client(const std::string& where, int receive_buffer) {
    const socket_address address = address_of(where);
    socket_ = socket_for(address);
    if (receive_buffer >= 0) {
        check(::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer,
                           sizeof receive_buffer) == 0,
              "setsockopt");
    }
    check(::connect(socket_.get(), address.data(), address.size()) == 0, "connect");
}

void plain_client::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        check(n > 0, "send");
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
}

std::string plain_client::send_until_stuck() {
    std::string sent;
    pollfd writable{socket_.get(), POLLOUT, 0};
    while (::poll(&writable, 1, 100) == 1) {
        const std::string part = long_text(65536);
        const ssize_t n =
            ::send(socket_.get(), part.data(), part.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        check(n > 0 || errno == EAGAIN, "send");
        if (n > 0) sent += part.substr(0, static_cast<std::size_t>(n));
    }
    return sent;
}

bool plain_client::is_read() {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    socket_address ours;
    check(::getsockname(socket_.get(), ours.data(), ours.size_pointer()) == 0, "getsockname");
    // A row is the number, both ends, the state, then TX_QUEUE:RX_QUEUE, in hexadecimal digits.
    const std::string end = fmt::format(" 0100007F:{:04X} ", ours.to_endpoint()->port());
    while (std::chrono::steady_clock::now() < give_up) {
        int unacknowledged = 0;
        check(::ioctl(socket_.get(), SIOCOUTQ, &unacknowledged) == 0, "ioctl");
        std::ifstream table("/proc/net/tcp");
        for (std::string line; unacknowledged == 0 && std::getline(table, line);) {
            // Not the row in which it is the near end. The far one may have closed already.
            const std::size_t at = line.find(end, line.find(": ") + 2);
            if (at != std::string::npos && line.substr(at + end.size() + 12, 8) == "00000000") {
                return true;
            }
        }
    }
    return false;
}

std::string plain_client::receive(std::size_t size) {
    while (received_.size() < size && receive_more()) {
    }
    std::string result = received_.substr(0, size);
    received_.erase(0, size);
    return result;
}

std::string plain_client::receive_all() { return receive(std::string::npos); }

std::string plain_client::read_line() {
    std::size_t end = 0;
    while ((end = received_.find('\n')) == std::string::npos) {
        if (!receive_more()) throw std::runtime_error("the stream has ended behind: " + received_);
    }
    std::string line = received_.substr(0, end);
    received_.erase(0, end + 1);
    return line;
}

bool plain_client::receive_more() {
    std::array<char, 65536> buffer;
    const ssize_t n = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    check(n >= 0, "recv");
    received_.append(buffer.data(), static_cast<std::size_t>(n));
    return n > 0;
}

bool plain_client::hears_within(int milliseconds) const {
    if (!received_.empty()) return true;
    pollfd readable{socket_.get(), POLLIN, 0};
    return ::poll(&readable, 1, milliseconds) == 1;
}

void plain_client::finish() { check(::shutdown(socket_.get(), SHUT_WR) == 0, "shutdown"); }

void plain_client::reset() {
    const linger at_once{1, 0};
    check(::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0,
          "setsockopt");
    socket_.reset();
}

std::string plain_client::local_name() const {
    socket_address name;
    check(::getsockname(socket_.get(), name.data(), name.size_pointer()) == 0, "getsockname");
    return name.to_endpoint()->to_string();
}

bool can_connect(const std::string& where) {
    const socket_address address = address_of(where);
    const detail::unique_fd socket = socket_for(address);
    const bool connected = ::connect(socket.get(), address.data(), address.size()) == 0;
    // Reset: the listener was closed in between.
    check(connected || errno == ECONNREFUSED || errno == ECONNRESET, "connect");
    return connected;
}

std::string long_text(std::size_t size) {
    std::string made(size, '\0');
    for (std::size_t i = 0; i < size; ++i) made[i] = static_cast<char>('!' + i * 7919 / 64 % 90);
    return made;
}

}  // namespace rondo::test
