// Unix datagram sockets, unix(7).
#pragma once

#include <rondo/net/datagram_descriptor_operation.hpp>
#include <rondo/net/datagram_operation.hpp>
#include <rondo/net/datagram_socket.hpp>
#include <rondo/net/socket_file.hpp>
#include <rondo/net/unix_address.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

template <>
struct datagram_address<unix_address> {
    using wire = unix_socket_address;
    static unix_address from_wire(std::span<const std::byte> name) noexcept;
    static bool find_remote(int descriptor, unix_address& remote) noexcept;
    [[noreturn]] static void fail(const char* verb, int error, const unix_address* where);
};

}  // namespace detail

/// What a unix_datagram_socket receives on lease.
using unix_datagram = basic_datagram<unix_address>;

/// A Unix datagram socket: see datagram_socket for what it can do. Between processes of one host
/// nothing is lost or out of order: where the receiver's queue is full (net.unix.max_dgram_qlen,
/// often 10 datagrams), a send waits. To be answered, a sender needs a name of its own.
class unix_datagram_socket : public datagram_socket<unix_address> {
public:
    /// A closed socket: everything but assignment and destruction is misuse.
    unix_datagram_socket() noexcept = default;
    unix_datagram_socket(unix_datagram_socket&&) noexcept = default;
    unix_datagram_socket& operator=(unix_datagram_socket&& other) noexcept {
        file_ = std::move(other.file_);  // the old one goes while its socket is open
        datagram_socket::operator=(std::move(other));
        return *this;
    }
    ~unix_datagram_socket() = default;
    /// Takes such a socket's descriptor, for instance a released one.
    explicit unix_datagram_socket(detail::unique_fd descriptor);

    /// A socket without a name. Throws socket_error.
    static unix_datagram_socket open();
    /// One with a name. A path becomes a socket file, which is removed with the socket; one that
    /// another socket has left behind is replaced, one in use is not. `*` lets the kernel choose an
    /// abstract name. Throws socket_error.
    static unix_datagram_socket bind(const unix_address& local);
    /// Two that are connected to each other, both without a name (socketpair(2)).
    static std::pair<unix_datagram_socket, unix_datagram_socket> pair();

    /// connect(2): from now on send() goes to `remote`, and what others send is not received.
    /// Never waits. Throws socket_error: ECONNREFUSED and ENOENT where nobody has this name.
    void connect(const unix_address& remote);

    /// As send(): completes when the kernel has taken `data`, and with it references to what
    /// `descriptors` stand for: these may be closed then. Both must live until then. 1 to 253
    /// descriptors, or it throws EINVAL. All or nothing: cancelled, it throws and has sent nothing.
    detail::send_datagram_descriptors send_descriptors(std::span<const int> descriptors,
                                                       const_buffer data) {
        return {*state_, descriptors, data};
    }
    /// As send_descriptors(), with one.
    detail::send_datagram_descriptors send_descriptor(int descriptor, const_buffer data) {
        return {*state_, std::span(&descriptor, 1), data};
    }
    /// As send_descriptors(), to an address of its own.
    detail::send_datagram_descriptors send_descriptors_to(std::span<const int> descriptors,
                                                          const_buffer data,
                                                          const unix_address& to) {
        return {*state_, descriptors, data, &to};
    }
    /// As send_descriptors(), with one, to an address of its own.
    detail::send_datagram_descriptors send_descriptor_to(int descriptor, const_buffer data,
                                                         const unix_address& to) {
        return {*state_, std::span(&descriptor, 1), data, &to};
    }

    /// As recv_from(buffer), together with the descriptors sent along, at most `most` of them (what
    /// is cut off, `descriptors_truncated` tells), and with pass_credentials who sent it.
    /// Cancelled, it throws and nothing is lost.
    ///
    /// recv_from() reads ahead, and what reads without asking for descriptors loses them. So both
    /// do not go together: after a recv_from() this is misuse, and after the first
    /// recv_descriptors() every other receive is.
    detail::receive_datagram_descriptors recv_descriptors(std::span<std::byte> buffer,
                                                          std::size_t most = 1) {
        return {*state_, buffer, most};
    }

    /// As datagram_socket::close(); removes the socket's file at once.
    task<> close() {
        file_.remove();
        return datagram_socket::close();
    }
    /// As datagram_socket::release(); leaves the socket's file.
    task<released> release() {
        file_.disown();
        return datagram_socket::release();
    }

    unix_address local_address() const;   ///< getsockname(2); throws socket_error
    unix_address remote_address() const;  ///< getpeername(2); throws socket_error

private:
    detail::socket_file file_;
};

}  // namespace rondo::inline v0
