// The far end of datagrams, driven by plain system calls: what it does, it does at once.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/endpoint.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rondo::test {

struct raw_message {
    std::string text;
    endpoint from;
};

/// A UDP socket on a loopback address, at a port of the kernel's choice. Throws std::system_error
/// where a system call fails in a way no method expects.
class raw_udp {
public:
    explicit raw_udp(const ip_address& local = ip_address::v4_loopback());

    void send_to(std::string_view bytes, const endpoint& to);
    /// The next datagram that is there; nothing where none is.
    std::optional<raw_message> receive();
    /// All that is there.
    std::vector<std::string> receive_all();

    endpoint local_endpoint() const;
    int descriptor() const { return descriptor_.get(); }
    void close() { descriptor_.reset(); }

private:
    detail::unique_fd descriptor_;
};

/// An address of 127.0.0.1 where nobody receives.
endpoint nobody();

}  // namespace rondo::test
