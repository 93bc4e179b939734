#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/socket_error.hpp>
#include <rondo/net/socket_file.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

namespace rondo::inline v0::detail {

namespace {

using namespace std::chrono_literals;

std::string absolute(const unix_address& local) {
    std::error_code failed;
    const auto path = std::filesystem::absolute(std::filesystem::path(local.name()), failed);
    if (failed) throw_socket_error("bind", failed.value(), local);
    return path.string();
}

/// Keeps servers that start in one directory apart: between the bind(2) and the listen(2) of one,
/// its file looks to another like one left behind.
unique_fd lock_directory_of(const std::string& path) {
    const std::string directory = std::filesystem::path(path).parent_path().string();
    unique_fd lock(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Where the directory may not be read, or somebody holds on to the lock, it goes without.
    for (int tries = 0; lock && tries < 200; ++tries) {
        if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) break;
        std::this_thread::sleep_for(1ms);
    }
    return lock;
}

bool is_same(const struct stat& a, dev_t device, ino_t inode) noexcept {
    return a.st_dev == device && a.st_ino == inode;
}

/// Whether the process that began to listen at the other end has ended.
bool has_ended(int connected) {
    ucred listening{};
    socklen_t size = sizeof listening;
    return ::getsockopt(connected, SOL_SOCKET, SO_PEERCRED, &listening, &size) == 0 &&
           listening.pid > 0 && ::kill(listening.pid, 0) != 0 && errno == ESRCH;
}

/// Somebody has this address, or might: whatever connect(2) says but that nobody does. To a socket
/// of another type it says so, too.
bool is_live(const unix_address& where) {
    const unix_socket_address name(where);
    // The kernel lets go of a killed process's io_uring, and so of a listener that it accepted
    // from, some 10 ms after the process has ended.
    for (int tries = 0;; ++tries) {
        const unique_fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!probe) throw_socket_error("socket", errno);
        if (::connect(probe.get(), name.data(), name.size()) != 0) {
            return errno != ECONNREFUSED && errno != ENOENT;
        }
        if (tries == 500 || !has_ended(probe.get())) return true;
        std::this_thread::sleep_for(1ms);
    }
}

/// Removes what a server that has ended left at `path`; throws where it is something else.
void remove_stale(const unix_address& where, const std::string& path) {
    struct stat found {};
    if (::lstat(path.c_str(), &found) != 0) {
        if (errno == ENOENT) return;
        throw_socket_error("bind", errno, where);
    }
    if (!S_ISSOCK(found.st_mode)) throw_socket_error("bind", EEXIST, where);
    if (is_live(where)) throw_socket_error("bind", EADDRINUSE, where);
    struct stat still {};
    if (::lstat(path.c_str(), &still) != 0 || !is_same(still, found.st_dev, found.st_ino)) return;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw_socket_error("bind", errno, where);
}

bool binds(int descriptor, const unix_address& local) {
    const unix_socket_address name(local);
    if (::bind(descriptor, name.data(), name.size()) == 0) return true;
    if (errno != EADDRINUSE) throw_socket_error("bind", errno, local);
    return false;
}

}  // namespace

// With the directory locked.
socket_file socket_file::make(int descriptor, const unix_address& local, const std::string& path,
                              std::optional<mode_t> permissions) {
    // The file gets the socket's mode, less the umask: never more than is asked for, at no time.
    if (permissions && ::fchmod(descriptor, *permissions) != 0) {
        throw_socket_error("chmod", errno, local);
    }
    if (!binds(descriptor, local)) {
        remove_stale(local, path);
        if (!binds(descriptor, local)) throw_socket_error("bind", EADDRINUSE, local);
    }
    struct stat made {};
    if (::lstat(path.c_str(), &made) != 0) throw_socket_error("bind", errno, local);
    socket_file file(path, made.st_dev, made.st_ino);
    const bool widens = permissions && (made.st_mode & 07777) != *permissions;
    if (widens && ::chmod(path.c_str(), *permissions) != 0) {
        throw_socket_error("chmod", errno, local);
    }
    return file;
}

socket_file socket_file::bind(int descriptor, const unix_address& local,
                              std::optional<mode_t> permissions) {
    const std::string path = absolute(local);
    const unique_fd lock = lock_directory_of(path);
    return make(descriptor, local, path, permissions);
}

socket_file socket_file::listen(int descriptor, const unix_address& local,
                                std::optional<mode_t> permissions, int backlog) {
    const std::string path = absolute(local);
    const unique_fd lock = lock_directory_of(path);
    socket_file file = make(descriptor, local, path, permissions);
    if (::listen(descriptor, backlog) != 0) throw_socket_error("listen", errno, local);
    return file;
}

void socket_file::remove() noexcept {
    if (path_.empty()) return;
    const int saved = errno;
    struct stat found {};
    if (::lstat(path_.c_str(), &found) == 0 && is_same(found, device_, inode_)) {
        ::unlink(path_.c_str());
    }
    errno = saved;
    path_.clear();
}

}  // namespace rondo::inline v0::detail
