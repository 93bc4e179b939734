// Unix sockets: streams between processes of one host, which can carry descriptors, too.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/accept_operation.hpp>
#include <rondo/net/descriptor_operation.hpp>
#include <rondo/net/socket_file.hpp>
#include <rondo/net/stream_listener.hpp>
#include <rondo/net/stream_socket.hpp>
#include <rondo/net/unix_address.hpp>
#include <rondo/net/unix_credentials.hpp>
#include <rondo/task/task.hpp>

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <span>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

unique_fd open_unix();
unique_fd made_non_blocking(unique_fd descriptor);
void bind_unix(int descriptor, const unix_address& local);
task<> connect_unix(receive_state& state, unix_address remote);

}  // namespace detail

/// A stream between two processes of this host, or a socket on its way to be one, unix(7). What
/// receive and send do on a TCP connection they do here; there is no way to abort one but to close
/// it with data unread, which the peer sees as a reset.
class unix_socket : public stream_socket {
public:
    /// A closed socket: everything but assignment and destruction is misuse.
    unix_socket() noexcept = default;
    /// Takes a connected (or new) descriptor, non-blocking, for instance a released one.
    explicit unix_socket(detail::unique_fd descriptor) : stream_socket(std::move(descriptor)) {}
    /// Takes a connection that is known to be a Unix socket.
    explicit unix_socket(stream_socket&& connected) noexcept
        : stream_socket(std::move(connected)) {}

    /// A new socket, not connected. Throws socket_error.
    static unix_socket create() { return unix_socket(detail::open_unix()); }
    /// socketpair(2): two sockets, connected to each other. Throws socket_error.
    static std::pair<unix_socket, unix_socket> pair();

    /// bind(2): a name for this end. The file of a path is the caller's to remove.
    void bind(const unix_address& local) { detail::bind_unix(descriptor(), local); }

    /// Completes when the connection is established, which is at once. Throws what connect(2)
    /// reports, EAGAIN where the server's backlog is full: unix_connect() waits for room. After a
    /// failure the socket may be connected again.
    task<> connect(const unix_address& remote) { return detail::connect_unix(*state_, remote); }

    /// Completes when the kernel has taken all of `data`, and with its first byte references to
    /// what `descriptors` stand for: these may be closed then. Both must live until then. 1 to 253
    /// descriptors and at least one byte, or it throws EINVAL. Counts as a send. Cut short after
    /// the first byte it throws, transferred() tells, and the descriptors are on their way.
    detail::send_descriptors_operation send_descriptors(std::span<const int> descriptors,
                                                        const_buffer data) {
        return detail::send_descriptors_operation(*state_, descriptors, data);
    }
    /// As send_descriptors(), with one.
    detail::send_descriptors_operation send_descriptor(int descriptor, const_buffer data) {
        return detail::send_descriptors_operation(*state_, std::span(&descriptor, 1), data);
    }

    /// As recv(buffer), together with descriptors sent along: at most `most` of them, and of one
    /// send. What is cut off, `truncated` tells. `buffer` must not be empty. Cancelled, it throws
    /// and nothing is lost.
    ///
    /// recv() reads ahead, and what reads without asking for descriptors loses them. So both do
    /// not go together: after a recv() this is misuse, and after the first recv_descriptors()
    /// every other receive is.
    detail::receive_descriptors_operation recv_descriptors(std::span<std::byte> buffer,
                                                           std::size_t most = 1) {
        return detail::receive_descriptors_operation(*state_, buffer, most);
    }

    unix_credentials peer_credentials() const;  ///< throws socket_error
    unix_address local_address() const;         ///< getsockname(2); throws socket_error
    unix_address remote_address() const;        ///< getpeername(2); throws socket_error
};

/// How a unix_listener listens.
struct unix_listen_options {
    int backlog = stream_listener::default_backlog;
    /// Of the file, as chmod(2) takes them, whatever the umask says: who may write may connect.
    /// Without, the umask decides.
    std::optional<mode_t> permissions = {};
};

/// A listening Unix socket. Closed or destroyed, it removes its file, if it is still its own.
class unix_listener : public stream_listener {
public:
    /// A closed listener.
    unix_listener() noexcept = default;
    /// Takes a listening descriptor, for instance a received or inherited one, makes it
    /// non-blocking, and leaves its file alone. Throws socket_error.
    explicit unix_listener(detail::unique_fd descriptor)
        : stream_listener(detail::made_non_blocking(std::move(descriptor))) {}
    unix_listener(unix_listener&&) noexcept = default;
    unix_listener& operator=(unix_listener&& other) noexcept {
        file_ = std::move(other.file_);  // first: the old file goes while its socket is open
        stream_listener::operator=(std::move(other));
        return *this;
    }
    ~unix_listener() = default;

    /// socket(2), bind(2), listen(2). A file that a server left behind, so that nobody listens
    /// there, is replaced; one where somebody does is address_in_use; one that is no socket is
    /// file_exists. To know it, it connects there once. Throws socket_error.
    static unix_listener listen(const unix_address& local, const unix_listen_options& options = {});

    /// Completes when a connection is there; returns it. Throws socket_error: EMFILE, ENFILE and
    /// ENOBUFS leave the connection in the backlog for a later call. Cancelled, it throws, and who
    /// connects meanwhile is there for the next call.
    detail::accept_operation<unix_socket> accept() noexcept {
        return detail::accept_operation<unix_socket>(*state_);
    }

    /// As stream_listener::close(). The file is removed at once.
    task<> close() {
        file_.remove();
        return stream_listener::close();
    }

    unix_address local_address() const;  ///< getsockname(2); throws socket_error

private:
    detail::socket_file file_;
};

/// Opens a connection to `remote`; returns it. While the server's backlog is full it waits, trying
/// now and then. Throws socket_error, or operation_canceled; nothing is left open then.
task<unix_socket> unix_connect(unix_address remote);

}  // namespace rondo::inline v0
