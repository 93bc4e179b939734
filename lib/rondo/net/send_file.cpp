#include <rondo/detail/misuse.hpp>
#include <rondo/io/file.hpp>
#include <rondo/io/file_error.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/send_file.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/net/stream_socket.hpp>

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <utility>

namespace rondo::inline v0::detail {

namespace {

// In large calls, each of which costs less than many small ones; what is left over waits for the
// next turn.
constexpr std::size_t most_in_a_turn = std::size_t{4} << 20;
// Whether the last byte of so much is in memory is asked. The kernel reads no more ahead than a
// device takes at once, mostly 128 KiB or more: the start may still be waited for, not for long.
constexpr std::size_t probe = std::size_t{256} << 10;

/// sendfile(2) knows no MSG_NOSIGNAL. A SIGPIPE of its making is taken back, one that was there
/// before is left alone.
class pipe_signal_withheld {
public:
    pipe_signal_withheld() noexcept {
        ::sigemptyset(&pipe_);
        ::sigaddset(&pipe_, SIGPIPE);
        ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
        ::sigset_t pending;
        ::sigpending(&pending);
        was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    }
    pipe_signal_withheld(const pipe_signal_withheld&) = delete;
    pipe_signal_withheld& operator=(const pipe_signal_withheld&) = delete;
    ~pipe_signal_withheld() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

    ::ssize_t send(int socket, int file, ::off_t& offset, std::size_t count) noexcept {
        const ::ssize_t sent = ::sendfile(socket, file, &offset, count);
        if (sent < 0 && errno == EPIPE && !was_pending_) {
            const ::timespec at_once{};
            ::sigtimedwait(&pipe_, nullptr, &at_once);
            errno = EPIPE;
        }
        return sent;
    }

private:
    ::sigset_t pipe_;
    ::sigset_t before_;
    bool was_pending_ = false;
};

/// cachestat(2), of Linux 6.5 and newer than the C library: whether all pages are in memory. File
/// systems in memory answer it, which know no read that does not wait.
bool cached(int file, std::uint64_t begin, std::uint64_t end) noexcept {
    struct {
        std::uint64_t offset;
        std::uint64_t length;
    } range{begin, end - begin};
    struct {
        std::uint64_t cached, dirty, writeback, evicted, recently_evicted;
    } found{};
    constexpr long cachestat_number = 451;  // the same on all architectures
    if (::syscall(cachestat_number, file, &range, &found, 0u) != 0) return false;
    const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return found.cached >= (end + page - 1) / page - begin / page;
}

bool is_about_the_file(int error) noexcept {
    return error == EIO || error == EINVAL || error == EBADF || error == EISDIR ||
           error == EACCES || error == EOVERFLOW || error == ESPIPE;
}

}  // namespace

void send_file_operation::begin(std::coroutine_handle<> awaiting, context& where) {
    state_->use_on(scheduler::of(where));
    require(state_->sender == nullptr, "two sends at once on one socket");
    state_->sender = this;
    entered_ = true;
    ++file_->under_way;
    struct ::stat about {};
    if (::fstat(file_->descriptor.get(), &about) == 0) {
        file_size_ = static_cast<std::uint64_t>(about.st_size);
    }
    start(awaiting, where);
}

void send_file_operation::leave() noexcept {
    state_->sender = nullptr;
    if (std::exchange(entered_, false)) --file_->under_way;
}

bool send_file_operation::is_there(std::uint64_t end) noexcept {
    const ::iovec last{&last_, 1};
    const int file = file_->descriptor.get();
    if (::preadv2(file, &last, 1, static_cast<::off_t>(end - 1), RWF_NOWAIT) >= 0) return true;
    return errno == EOPNOTSUPP && cached(file, there_until_, end);
}

/// How many of the next `wanted` bytes can be sent without waiting for a disk.
std::size_t send_file_operation::in_memory(std::size_t wanted) noexcept {
    const std::uint64_t begin = offset_ + sent_;
    there_until_ = std::max(there_until_, begin);
    while (there_until_ < std::min(begin + wanted, file_size_)) {
        const std::uint64_t next = std::min(there_until_ + probe, file_size_);
        if (!is_there(next)) break;
        there_until_ = next;
    }
    // What has been added since it began is in memory.
    if (there_until_ >= file_size_) return wanted;
    return static_cast<std::size_t>(std::min<std::uint64_t>(wanted, there_until_ - begin));
}

/// As sendfile(2), through memory. What the socket has no room for is read again.
std::ptrdiff_t send_file_operation::copy_some(std::size_t count) noexcept {
    std::array<std::byte, 16384> memory;
    const ::ssize_t n = ::pread(file_->descriptor.get(), memory.data(),
                                std::min(count, memory.size()),
                                static_cast<::off_t>(offset_ + sent_));
    if (n <= 0) return n;
    return ::send(state_->descriptor(), memory.data(), static_cast<std::size_t>(n),
                  MSG_DONTWAIT | MSG_NOSIGNAL);
}

/// Sends until something has to be waited for, and says what.
send_file_operation::step send_file_operation::send_some() noexcept {
    pipe_signal_withheld quietly;
    std::size_t budget = most_in_a_turn;
    while (sent_ != size_) {
        if (budget == 0) return step::room;
        const std::size_t count = in_memory(std::min(size_ - sent_, budget));
        if (count == 0) {
            cold_until_ = std::min(there_until_ + probe, file_size_);
            return step::advice;
        }
        auto at = static_cast<::off_t>(offset_ + sent_);
        const ::ssize_t sent =
            copies_ ? copy_some(count)
                    : quietly.send(state_->descriptor(), file_->descriptor.get(), at, count);
        if (sent < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) return step::room;
            if (errno == EINVAL && !std::exchange(copies_, true)) continue;
            error_ = errno;
            return step::end;
        }
        if (sent == 0) break;
        sent_ += static_cast<std::size_t>(sent);
        budget -= static_cast<std::size_t>(sent);
    }
    size_ = sent_;
    return step::end;
}

void send_file_operation::prepare(io_uring_sqe& entry) noexcept {
    enough_ = std::numeric_limits<std::int32_t>::max();
    if (step_ != step::data && step_ != step::byte) step_ = send_some();
    entry = {};
    entry.fd = file_->descriptor.get();
    switch (step_) {
        case step::room:
            entry.opcode = IORING_OP_POLL_ADD;
            entry.fd = state_->descriptor();
            entry.poll32_events = __BYTE_ORDER == __BIG_ENDIAN ? POLLOUT << 16 : POLLOUT;
            break;
        case step::byte:
            entry.opcode = IORING_OP_SEND;
            entry.fd = state_->descriptor();
            entry.addr = reinterpret_cast<std::uint64_t>(&last_);
            entry.len = 1;
            entry.msg_flags = MSG_NOSIGNAL;
            break;
        case step::advice:
            entry.opcode = IORING_OP_FADVISE;
            entry.off = offset_ + sent_;
            entry.len = static_cast<std::uint32_t>(cold_until_ - entry.off);
            entry.fadvise_advice = POSIX_FADV_WILLNEED;
            break;
        case step::data:
            entry.opcode = IORING_OP_READ;
            entry.off = cold_until_ - 1;
            entry.addr = reinterpret_cast<std::uint64_t>(&last_);
            entry.len = 1;
            break;
        case step::end: entry.opcode = IORING_OP_NOP; break;
    }
}

/// A peer that has said its end makes every poll complete at once, room or none: who would only
/// poll again would spin. A send waits for room, so the next byte goes by one.
bool send_file_operation::ended_without_room() const noexcept {
    return step_ == step::room && result_ > 0 && (result_ & (POLLOUT | POLLERR | POLLHUP)) == 0;
}

bool send_file_operation::read_byte() noexcept {
    return ::pread(file_->descriptor.get(), &last_, 1, static_cast<::off_t>(offset_ + sent_)) == 1;
}

void send_file_operation::fell_short() noexcept {
    if (step_ == step::byte && result_ == 1) ++sent_;
    const bool ends = step_ == step::end || cancel_requested_;
    if (!ends) {
        if (step_ == step::advice) {
            // Refused or not: it was advice.
            step_ = step::data;
        } else if (step_ == step::data && !asks_again()) {
            // Should it have failed, sendfile(2) says so, and of which byte.
            there_until_ = cold_until_;
            step_ = step::room;
        } else if (result_ < 0 && !asks_again()) {
            error_ = -result_;
            step_ = step::end;
        } else if (step_ == step::byte) {
            if (result_ > 0) step_ = step::room;
        } else if (ended_without_room() && read_byte()) {
            step_ = step::byte;
        }
        unfinished_ = true;
        loop().attend_to(*state_);
        return;
    }
    const bool all = error_ == 0 && (step_ == step::end || sent_ == size_);
    result_ = all ? 0 : error_ != 0 ? -error_ : -ECANCELED;
    finish();
    state_->wake_closer();
}

std::string send_file_operation::awaits() const {
    return "send_file " + file_->path + " to " + peer_text(*state_);
}

std::size_t send_file_operation::await_resume() {
    leave();
    const int error = -result_;
    if (error > 0 && is_about_the_file(error)) {
        throw file_error("send_file", error, file_->path, sent_);
    }
    if (error > 0) throw_failed("send_file", *state_, error, sent_);
    return sent_;
}

std::error_code send_file_operation::error() noexcept {
    leave();
    return operation::error();
}

}  // namespace rondo::inline v0::detail

namespace rondo::inline v0 {

detail::send_file_operation send_file(stream_socket& socket, file& source, std::uint64_t offset,
                                      std::size_t count) noexcept {
    return detail::send_file_operation(socket.state(), source.state(), offset, count);
}

}  // namespace rondo::inline v0
