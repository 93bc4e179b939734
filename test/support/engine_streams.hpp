// Connected descriptors to try an engine with, and what its peer does: plain calls, no engine.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <rondo/detail/unique_fd.hpp>

#include <support/engine_driver.hpp>

namespace rondo::test {

struct loopback {
    ::sockaddr_in address{};
    ::socklen_t size = sizeof(::sockaddr_in);

    ::sockaddr* get() { return reinterpret_cast<::sockaddr*>(&address); }
    std::uint64_t number() { return reinterpret_cast<std::uintptr_t>(&address); }
};

inline detail::unique_fd tcp_socket() {
    detail::unique_fd made(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    REQUIRE(made.get() >= 0);
    return made;
}

inline detail::unique_fd tcp_listener(loopback& at, int backlog = 128) {
    detail::unique_fd listener = tcp_socket();
    at.address.sin_family = AF_INET;
    at.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(listener.get(), at.get(), at.size) == 0);
    REQUIRE(::listen(listener.get(), backlog) == 0);
    REQUIRE(::getsockname(listener.get(), at.get(), &at.size) == 0);
    return listener;
}

/// A client whose connection the kernel has made; it waits in the listener's queue.
inline detail::unique_fd tcp_client(loopback& at) {
    detail::unique_fd client = tcp_socket();
    if (::connect(client.get(), at.get(), at.size) != 0) {
        REQUIRE(errno == EINPROGRESS);
        ::pollfd state{client.get(), POLLOUT, 0};
        REQUIRE(::poll(&state, 1, 5000) == 1);
    }
    return client;
}

inline pair tcp_pair() {
    loopback at;
    const detail::unique_fd listener = tcp_listener(at);
    detail::unique_fd client = tcp_client(at);
    detail::unique_fd served(
        ::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    REQUIRE(served.get() >= 0);
    // Fixed sizes do not grow under way: what is full stays full.
    const int size = 1 << 17;
    for (const int number : {served.get(), client.get()}) {
        for (const int name : {SO_SNDBUF, SO_RCVBUF}) {
            REQUIRE(::setsockopt(number, SOL_SOCKET, name, &size, sizeof size) == 0);
        }
    }
    return {std::move(served), std::move(client)};
}

inline pair either_pair() { return GENERATE(true, false) ? tcp_pair() : unix_pair(); }

inline void write_to(const detail::unique_fd& to, std::string_view text) {
    REQUIRE(::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(text.size()));
}

/// What can be read now, at most `most` bytes.
inline std::string read_from(const detail::unique_fd& from, std::size_t most = 1 << 20) {
    std::string text(most, '\0');
    const ssize_t got = ::recv(from.get(), text.data(), most, MSG_DONTWAIT);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
}

/// Sends until the socket takes no more; returns how much that was.
inline std::size_t fill_up(const detail::unique_fd& to) {
    const std::vector<char> data(4096, 'f');
    std::size_t total = 0;
    // On TCP an acknowledgement under way may make room once more.
    ::pollfd state{to.get(), POLLOUT, 0};
    do {
        ssize_t sent = 0;
        while ((sent = ::send(to.get(), data.data(), data.size(), MSG_DONTWAIT)) > 0) {
            total += static_cast<std::size_t>(sent);
        }
        REQUIRE(errno == EAGAIN);
    } while (::poll(&state, 1, 10) == 1);
    return total;
}

/// Waits until `size` bytes lie there: TCP may take its time even on one machine.
inline void await_arrival(const detail::unique_fd& at, std::size_t size) {
    std::vector<char> seen(size);
    const auto deadline = clock_type::now() + std::chrono::seconds(10);
    ssize_t there = 0;
    while (there < static_cast<ssize_t>(size)) {
        REQUIRE(clock_type::now() < deadline);
        ::pollfd state{at.get(), POLLIN, 0};
        ::poll(&state, 1, 1000);
        there = ::recv(at.get(), seen.data(), size, MSG_PEEK | MSG_DONTWAIT);
    }
}

inline void reset(detail::unique_fd& socket) {
    const ::linger hard{1, 0};
    REQUIRE(::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0);
    socket.reset();
}

inline std::vector<char> pattern(std::size_t size) {
    std::vector<char> data(size);
    for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<char>(i * 7 + i / 251);
    return data;
}

/// Turns, reading `peer` empty after each, until that request has completed.
inline std::string drain_until(driver& on, const detail::unique_fd& peer, std::uint64_t user_data) {
    std::string got;
    on.until([&] {
        got += read_from(peer);
        return !on.of(user_data).empty();
    });
    for (std::string part; !(part = read_from(peer)).empty();) got += part;
    return got;
}

inline std::string concatenate(const std::vector<completion>& parts, const buffers& pool) {
    std::string all;
    for (const completion& c : parts) {
        if ((c.flags & with_buffer) != 0) all += pool.text(c);
    }
    return all;
}

}  // namespace rondo::test
