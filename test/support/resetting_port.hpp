// A port at which a thread of the test accepts everybody, and resets the connection.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/tcp.hpp>

#include <fcntl.h>
#include <sys/socket.h>

#include <string>
#include <thread>
#include <utility>

namespace rondo::test {

class resetting_port {
public:
    /// At once; or, where there are `words`, when the peer has said something, and gets these.
    explicit resetting_port(std::string words = {})
        : words_(std::move(words)) {
        ::fcntl(listener_.descriptor(), F_SETFL, 0);  // so that accept4() waits
        worker_ = std::thread([this] { accept_all(); });
    }
    resetting_port(const resetting_port&) = delete;
    resetting_port& operator=(const resetting_port&) = delete;
    ~resetting_port() {
        ::shutdown(listener_.descriptor(), SHUT_RDWR);  // wakes accept4()
        worker_.join();
    }

    std::string where() const { return listener_.local_endpoint().to_string(); }

private:
    void accept_all() {
        for (;;) {
            const detail::unique_fd peer(
                ::accept4(listener_.descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!peer) return;
            char byte = 0;
            if (!words_.empty() && ::recv(peer.get(), &byte, 1, 0) != 1) continue;
            ::send(peer.get(), words_.data(), words_.size(), MSG_NOSIGNAL);
            const ::linger at_once{1, 0};
            ::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        }
    }

    std::string words_;
    tcp_listener listener_ = tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0));
    std::thread worker_;
};

}  // namespace rondo::test
