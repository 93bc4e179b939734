#include <rondo/detail/misuse.hpp>
#include <rondo/io/file.hpp>
#include <rondo/io/file_error.hpp>
#include <rondo/io/file_operation.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <tuple>
#include <utility>

namespace rondo::inline v0::detail {

namespace {

// A completion's result has 31 bits.
constexpr std::size_t most_at_once = std::size_t{1} << 30;
constexpr std::int32_t never_enough = std::numeric_limits<std::int32_t>::max();

void prepare_transfer(io_uring_sqe& entry, int opcode, const open_file& target,
                      const std::byte* data, std::size_t size, std::uint64_t offset) noexcept {
    entry = {};
    entry.opcode = static_cast<std::uint8_t>(opcode);
    entry.fd = target.descriptor.get();
    entry.addr = reinterpret_cast<std::uint64_t>(data);
    entry.len = static_cast<std::uint32_t>(size);
    entry.off = offset;
}

void prepare_poll(io_uring_sqe& entry, const open_file& target, unsigned events) noexcept {
    entry = {};
    entry.opcode = IORING_OP_POLL_ADD;
    entry.fd = target.descriptor.get();
    entry.poll32_events = __BYTE_ORDER == __BIG_ENDIAN ? events << 16 : events;
}

}  // namespace

open_file::~open_file() {
    require(under_way == 0, "a file is closed while it is read or written");
}

void file_operation::begin(std::coroutine_handle<> awaiting, context& where) {
    entered_ = true;
    ++file_->under_way;
    start(awaiting, where);
}

void file_operation::leave() noexcept {
    if (std::exchange(entered_, false)) --file_->under_way;
}

void file_operation::again() noexcept {
    if (!cancel_requested_) return go_on();
    result_ = -ECANCELED;
    finish();
}

void file_operation::fell_short() noexcept {
    if (asks_again()) return again();
    finish();
}

void file_operation::fail(const char* verb, std::size_t transferred) const {
    if (result_ == -ECANCELED) throw_canceled(transferred);
    throw file_error(verb, -result_, file_->path, transferred);
}

// --- reading and writing ---------------------------------------------------------------------

void file_read_operation::prepare(io_uring_sqe& entry) noexcept {
    enough_ = polls_ ? never_enough : 0;
    if (polls_) return prepare_poll(entry, *file_, POLLIN);
    prepare_transfer(entry, IORING_OP_READ, *file_, buffer_.data(),
                     std::min(buffer_.size(), most_at_once), offset_);
}

void file_read_operation::fell_short() noexcept {
    if (polls_) {
        if (result_ < 0 && !asks_again()) return finish();
        polls_ = false;
        return again();
    }
    if (!asks_again()) return finish();
    polls_ = result_ == -EAGAIN;
    again();
}

std::size_t file_read_operation::await_resume() {
    leave();
    if (result_ < 0) fail("read");
    return static_cast<std::size_t>(result_);
}

void file_write_operation::prepare(io_uring_sqe& entry) noexcept {
    enough_ = never_enough;
    if (polls_) return prepare_poll(entry, *file_, POLLOUT);
    const std::size_t size = std::min(size_ - written_, most_at_once);
    if (written_ + size == size_) enough_ = static_cast<std::int32_t>(size);
    prepare_transfer(entry, IORING_OP_WRITE, *file_, data_ + written_, size,
                     offset_ == at_position ? offset_ : offset_ + written_);
}

void file_write_operation::fell_short() noexcept {
    if (polls_) {
        if (result_ < 0 && !asks_again()) return finish();
        polls_ = false;
        return again();
    }
    if (result_ > 0) {
        written_ += static_cast<std::size_t>(result_);
        return written_ == size_ ? finish() : again();
    }
    // No progress and no reason: to ask again would never end.
    if (result_ == 0) result_ = size_ == 0 ? 0 : -EIO;
    if (!asks_again()) return finish();
    polls_ = result_ == -EAGAIN;
    again();
}

void file_write_operation::await_resume() {
    leave();
    if (result_ < 0) fail("write", written_);
}

void file_sync_operation::prepare(io_uring_sqe& entry) noexcept {
    enough_ = 0;
    entry = {};
    entry.opcode = IORING_OP_FSYNC;
    entry.fd = file_->descriptor.get();
    entry.fsync_flags = data_only_ ? IORING_FSYNC_DATASYNC : 0;
}

void file_sync_operation::await_resume() {
    leave();
    if (result_ < 0) fail("sync");
}

// --- opening and closing ---------------------------------------------------------------------

void file_open_operation::prepare(io_uring_sqe& entry) noexcept {
    enough_ = 0;
    entry = {};
    entry.opcode = IORING_OP_OPENAT;
    entry.fd = AT_FDCWD;
    entry.addr = reinterpret_cast<std::uint64_t>(path_.c_str());
    entry.open_flags = static_cast<std::uint32_t>(flags_);
    entry.len = permissions_;
}

void file_open_operation::fell_short() noexcept {
    if (result_ != -EINTR) return finish();
    if (!cancel_requested_) return go_on();
    result_ = -ECANCELED;
    finish();
}

file file_open_operation::await_resume() {
    if (result_ == -ECANCELED) throw_canceled();
    if (result_ < 0) throw file_error("open", -result_, path_);
    return file(unique_fd(result_), std::move(path_));
}

void file_close_operation::begin(std::coroutine_handle<> awaiting, context& where) {
    require(file_ != nullptr, "a closed file is closed");
    require(file_->under_way == 0, "a file is closed while it is read or written");
    start(awaiting, where);
}

void file_close_operation::prepare(io_uring_sqe& entry) noexcept {
    enough_ = 0;
    entry = {};
    entry.opcode = IORING_OP_CLOSE;
    entry.fd = file_->descriptor.get();
}

// close(2) closes also where it fails: only a request that was withdrawn has not.
void file_close_operation::settle() noexcept {
    if (result_ != -ECANCELED && file_) std::ignore = file_->descriptor.release();
}

void file_close_operation::await_resume() {
    settle();
    if (result_ == -ECANCELED) throw_canceled();
    if (result_ < 0) throw file_error("close", -result_, file_->path);
}

std::error_code file_close_operation::error() noexcept {
    settle();
    return operation::error();
}

}  // namespace rondo::inline v0::detail
