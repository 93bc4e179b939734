// The far end of a connection, driven by plain system calls: what it does, it does at once.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/tcp.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace rondo::test {

/// Byte `offset` of stream `id`: neighbours, streams and shifts by a buffer all differ.
inline std::byte pattern_byte(std::size_t id, std::size_t offset) {
    const std::size_t mixed = (offset + 1) * 2654435761u + (offset >> 12) * 40503u + id * 97u;
    return static_cast<std::byte>((mixed >> 7) & 0xFFu);
}
/// `size` bytes of stream `id` from `offset` on.
std::string pattern(std::size_t size, std::size_t id = 0, std::size_t offset = 0);

/// Throws std::system_error where a system call fails in a way no method expects.
class raw_peer {
public:
    /// A connection to `remote`, with its handshake done.
    static raw_peer connect_to(const endpoint& remote);
    explicit raw_peer(detail::unique_fd descriptor) : descriptor_(std::move(descriptor)) {}

    /// Sends what the kernel takes now; returns how much.
    std::size_t send_some(std::string_view bytes);
    /// Sends all of a text that fits into the socket buffers; throws where it does not.
    void send(std::string_view bytes);
    /// Reads what is there now; empty where nothing is, or the stream has ended or was reset.
    std::string read();
    /// Reads what is there; true once all that came since the last true is `text`.
    bool reads(std::string_view text);
    /// The other side has ended the stream, and everything before was read.
    bool at_end();
    /// The other side has reset the connection.
    bool was_reset();

    /// No more will be sent.
    void finish();
    /// Aborts the connection: the other side gets ECONNRESET.
    void reset();
    void close() { descriptor_.reset(); }

    endpoint local_endpoint() const;
    int descriptor() const { return descriptor_.get(); }

private:
    // As recv(2), with a negated errno.
    std::ptrdiff_t receive(char* to, std::size_t size, int flags);

    detail::unique_fd descriptor_;
    std::string collected_;  // by reads()
};

struct raw_pair {
    tcp_socket socket;
    raw_peer peer;
};
/// A connected socket that no scheduler has seen yet, and its peer.
raw_pair connected_to_raw_peer();

/// Whether a descriptor of this number is open in this process.
bool is_open(int descriptor);

}  // namespace rondo::test
