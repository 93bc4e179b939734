// Files: open, read, write, sync, close.
#pragma once

#include <rondo/io/file_operation.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace rondo::inline v0 {

/// How a file is opened, open(2). They combine by `|`; close-on-exec is always set.
enum class open_flags : std::uint32_t {
    read = 1u << 0,
    write = 1u << 1,
    append = 1u << 2,      ///< every write goes to the end
    create = 1u << 3,      ///< made where it is missing
    create_new = 1u << 4,  ///< made, and EEXIST where it is there
    truncate = 1u << 5,    ///< emptied
    no_follow = 1u << 6,   ///< ELOOP for a symbolic link
};
constexpr open_flags operator|(open_flags a, open_flags b) noexcept {
    return static_cast<open_flags>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}

/// The permissions of a file that is made, less those of umask(2).
struct file_permissions {
    unsigned bits = 0644;
};

/// An open file. It moves; one scheduler at a time uses it. Operations may overlap, at offsets of
/// their own; closing or destroying it under one is misuse. They throw file_error, or
/// operation_canceled in a cancelled scope.
///
/// On io_uring the kernel reads what is in memory at once and waits for a disk by itself or on a
/// thread of its own; on epoll a helper thread does. Either way a request that has begun is rarely
/// interrupted: a cancellation waits for it, and reports what it did.
class file {
public:
    /// A closed file: everything but assignment and destruction is misuse.
    file() noexcept = default;
    /// Takes a descriptor, of a pipe or a terminal, too. `path` is for error texts.
    explicit file(detail::unique_fd descriptor, std::string path = {});

    /// Completes when the file is open; returns it. Throws file_error, for instance of ENOENT. A
    /// FIFO is not waited for: to write to one that nobody reads is ENXIO.
    static detail::file_open_operation open(std::string path, open_flags flags = open_flags::read,
                                       file_permissions permissions = {});

    /// Completes with what is there at the file's position, which moves on; returns the count. It
    /// may be short; 0 is the end of the file. `buffer` must live until then. Cancelled, it throws
    /// unless bytes had come.
    detail::file_read_operation read(std::span<std::byte> buffer) noexcept {
        return detail::file_read_operation(*state_, buffer, detail::at_position);
    }
    /// As read(), from `offset` on, pread(2): the position stays.
    detail::file_read_operation read_at(std::uint64_t offset,
                                        std::span<std::byte> buffer) noexcept {
        return detail::file_read_operation(*state_, buffer, offset);
    }

    /// Completes when the kernel has taken all of `data` (not: when the disk has it, see sync()),
    /// at the file's position. `data` must live until then. Cut short by failure or cancellation
    /// it throws, and the error tells transferred().
    detail::file_write_operation write(const_buffer data) noexcept {
        return detail::file_write_operation(*state_, data, detail::at_position);
    }
    /// As write(), from `offset` on, pwrite(2). In a file that appends, still at its end.
    detail::file_write_operation write_at(std::uint64_t offset, const_buffer data) noexcept {
        return detail::file_write_operation(*state_, data, offset);
    }

    /// Completes when all that was written is on the disk, fsync(2). Throws file_error: a failure
    /// is told once, and what was written before it may be lost.
    detail::file_sync_operation sync() noexcept {
        return detail::file_sync_operation(*state_, false);
    }
    /// As sync(), without what is not needed to read it again, fdatasync(2).
    detail::file_sync_operation sync_data() noexcept {
        return detail::file_sync_operation(*state_, true);
    }

    /// Completes when the file is closed, close(2): network file systems report here what earlier
    /// writes failed with. It is closed in any case, also where this throws or is cancelled.
    detail::file_close_operation close() noexcept {
        return detail::file_close_operation(std::move(state_));
    }

    /// In bytes, fstat(2). Throws file_error.
    std::uint64_t size() const;

    bool is_open() const noexcept { return state_ != nullptr; }
    int descriptor() const noexcept { return state_->descriptor.get(); }
    const std::string& path() const noexcept { return state_->path; }

    /// For the library's own operations.
    detail::open_file& state() noexcept { return *state_; }

private:
    std::unique_ptr<detail::open_file> state_;
};

}  // namespace rondo::inline v0
