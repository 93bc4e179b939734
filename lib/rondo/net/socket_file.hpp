// The file of a bound Unix socket: made without harm to others, removed with its socket.
#pragma once

#include <rondo/net/unix_address.hpp>

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>

namespace rondo::inline v0::detail {

/// Owns the file of one bound socket, or none. Removes it in the end, unless there is another
/// in its place: a server that came after is not cut off.
class socket_file {
public:
    socket_file() noexcept = default;
    socket_file(socket_file&& other) noexcept { swap(other); }
    socket_file& operator=(socket_file&& other) noexcept {
        socket_file old(std::move(other));
        swap(old);
        return *this;
    }
    ~socket_file() { remove(); }

    /// Binds a new socket to the path `local`. What was left behind by a server that has ended is
    /// replaced. Throws socket_error.
    static socket_file bind(int descriptor, const unix_address& local,
                            std::optional<mode_t> permissions = {});
    /// The same, and the socket listens before another server can look at the file.
    static socket_file listen(int descriptor, const unix_address& local,
                              std::optional<mode_t> permissions, int backlog);

    /// To be called while the socket is open: until then no other file can have its inode.
    void remove() noexcept;
    /// The file stays: somebody else has the socket now.
    void disown() noexcept { path_.clear(); }

private:
    static socket_file make(int descriptor, const unix_address& local, const std::string& path,
                            std::optional<mode_t> permissions);
    socket_file(std::string path, dev_t device, ino_t inode) noexcept
        : path_(std::move(path)), device_(device), inode_(inode) {}

    void swap(socket_file& other) noexcept {
        path_.swap(other.path_);
        std::swap(device_, other.device_);
        std::swap(inode_, other.inode_);
    }

    std::string path_;  // absolute; empty where none is owned
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

}  // namespace rondo::inline v0::detail
