#include <rondo/engine/epoll_files.hpp>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <liburing.h>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/log.hpp>

namespace rondo::inline v0::detail {

namespace {

// More than this is copied on a helper thread, however much of it is in memory.
constexpr std::uint32_t most_at_once = 1u << 20;

int check(const io_uring_sqe& entry) noexcept {
    if ((entry.flags & IOSQE_BUFFER_SELECT) != 0 || entry.ioprio != 0) return EINVAL;
    switch (entry.opcode) {
        case IORING_OP_OPENAT: return entry.file_index != 0 ? EINVAL : 0;
        case IORING_OP_FSYNC:
            return entry.addr != 0 || (entry.fsync_flags & ~IORING_FSYNC_DATASYNC) != 0 ? EINVAL
                                                                                         : 0;
        default: return 0;
    }
}

/// As the kernel does it for a ring: a FIFO or a line without its other side is not waited for.
int open_without_waiting(int directory, const char* path, int flags, ::mode_t mode) noexcept {
    const int number = ::openat(directory, path, flags | O_NONBLOCK, mode);
    // A lease is being broken: that ends by itself.
    if (number < 0 && errno == EAGAIN) return ::openat(directory, path, flags, mode);
    if (number >= 0 && (flags & O_NONBLOCK) == 0) {
        const int now = ::fcntl(number, F_GETFL);
        if (now < 0 || ::fcntl(number, F_SETFL, now & ~O_NONBLOCK) < 0) {
            const int error = errno;
            ::close(number);
            errno = error;
            return -1;
        }
    }
    return number;
}

}  // namespace

/// What is kept of an entry.
struct epoll_files::request {
    explicit request(const io_uring_sqe& entry) noexcept
        : user_data(entry.user_data),
          address(entry.addr),
          offset(entry.off),
          length(entry.len),
          flags(entry.msg_flags),
          descriptor(entry.fd),
          opcode(entry.opcode),
          skips_success((entry.flags & IOSQE_CQE_SKIP_SUCCESS) != 0) {}

    std::uint64_t user_data;
    std::uint64_t address;
    std::uint64_t offset;  // all ones: the file's own position
    std::uint32_t length;  // or the mode of a new file
    std::uint32_t flags;   // RWF_*, O_*, IORING_FSYNC_* or POSIX_FADV_*
    int descriptor;
    std::uint8_t opcode;
    bool skips_success;
};

/// Where helper threads leave what is done.
struct epoll_files::outbox {
    const unique_fd event{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    std::mutex mutex;
    job* done = nullptr;  // guarded by mutex; the last one first
};

class epoll_files::job final : public helper_job {
public:
    job(const io_uring_sqe& entry, outbox& to) : asked(entry), outbox_(&to) {
        // The kernel, too, reads the path at once and the bytes later.
        if (entry.opcode == IORING_OP_OPENAT) path_ = pointer<const char>(entry.addr);
    }

    void run() noexcept override {
        result = carry_out(0);
        outbox* const to = outbox_;
        // From here on the owner may free this.
        const std::lock_guard lock(to->mutex);
        next_done = std::exchange(to->done, this);
        const std::uint64_t one = 1;
        // Only overflow could fail, and then it is signalled long since.
        if (next_done == nullptr) std::ignore = ::write(to->event.get(), &one, sizeof one);
    }

    /// The result as a completion has it, of what is left to do.
    int carry_out(int flags) noexcept;

    const request asked;
    std::size_t place = 0;  // in jobs_
    std::uint32_t moved = 0;  // bytes, before the helper thread
    int result = 0;
    job* next_done = nullptr;  // guarded by the outbox's mutex

private:
    std::string path_;
    outbox* outbox_;
};

int epoll_files::job::carry_out(int flags) noexcept {
    const int number = asked.descriptor;
    const int entry_flags = static_cast<int>(asked.flags);
    const bool positioned = asked.offset != ~std::uint64_t{0};
    const auto at = static_cast<::off_t>(positioned ? asked.offset + moved : asked.offset);
    std::int64_t done = -1;
    switch (asked.opcode) {
        case IORING_OP_OPENAT:
            done = open_without_waiting(number, path_.c_str(), entry_flags, asked.length);
            break;
        case IORING_OP_FSYNC:
            done = (asked.flags & IORING_FSYNC_DATASYNC) != 0 ? ::fdatasync(number)
                                                              : ::fsync(number);
            break;
        case IORING_OP_FADVISE:
            return -::posix_fadvise(number, at, static_cast<::off_t>(asked.length), entry_flags);
        default: {
            const ::iovec data{pointer<std::byte>(asked.address) + moved, asked.length - moved};
            done = asked.opcode == IORING_OP_READ
                       ? ::preadv2(number, &data, 1, at, entry_flags | flags)
                       : ::pwritev2(number, &data, 1, at, entry_flags | flags);
        }
    }
    if (moved != 0) return static_cast<int>(std::max<std::int64_t>(done, 0) + moved);
    return done < 0 ? -errno : static_cast<int>(done);
}

epoll_files::epoll_files(int epoll, epoll_completions& completions)
    : epoll_(epoll), completions_(completions) {}

epoll_files::~epoll_files() {
    for (std::size_t i = jobs_.size(); i-- > 0;) {
        job& each = *jobs_[i];
        if (helpers_->withdraw(each)) take(each).reset();
    }
    helpers_.reset();
}

int epoll_files::takes(int descriptor) noexcept {
    struct ::stat about {};
    if (::fstat(descriptor, &about) != 0) return -errno;
    return S_ISREG(about.st_mode) || S_ISBLK(about.st_mode) || S_ISDIR(about.st_mode) ? 1 : 0;
}

void epoll_files::start(const io_uring_sqe& entry) {
    const auto refuse = [&](int error) { completions_.post(entry.user_data, -error, 0); };
    if (const int error = check(entry); error != 0) return refuse(error);
    try {
        if (!outbox_) {
            auto made = std::make_unique<outbox>();
            ::epoll_event event{};
            // On the edge: every write is one, whether what came before was read or not.
            event.events = EPOLLIN | EPOLLET;
            event.data.u64 = tag;
            if (!made->event ||
                ::epoll_ctl(epoll_, EPOLL_CTL_ADD, made->event.get(), &event) < 0) {
                return refuse(errno);
            }
            outbox_ = std::move(made);
        }
        if (!helpers_) helpers_ = std::make_unique<helper_pool>();
        begin(std::make_unique<job>(entry, *outbox_));
    } catch (const std::bad_alloc&) {
        refuse(ENOMEM);
    } catch (const std::system_error& error) {
        // No thread is to be had. EAGAIN, which says so, would mean: ask again at once. The cause
        // and its remedy have no place in a completion.
        if (!std::exchange(told_of_threads_, true)) {
            log(std::string("files: ") + error.what() + "; they fail with ENOMEM");
        }
        refuse(ENOMEM);
    }
}

/// What is in memory needs no thread, as in the kernel. False when something is left to be read.
bool epoll_files::read_at_once(job& which) {
    if (which.asked.opcode != IORING_OP_READ || which.asked.length > most_at_once) {
        return false;
    }
    const int result = which.carry_out(RWF_NOWAIT);
    if (result < 0) return false;
    which.result = result;
    // A short count is that of a file's end, or of what is in memory.
    if (result == 0 || static_cast<std::uint32_t>(result) == which.asked.length) return true;
    which.moved = static_cast<std::uint32_t>(result);
    return false;
}

void epoll_files::begin(std::unique_ptr<job> made) {
    if (read_at_once(*made)) return complete(*made);
    jobs_.reserve(jobs_.size() + 1);
    try {
        helpers_->submit(*made);
    } catch (const std::system_error&) {
        if (made->moved == 0) throw;
        made->result = static_cast<int>(made->moved);
        return complete(*made);
    }
    made->place = jobs_.size();
    jobs_.push_back(std::move(made));
}

std::unique_ptr<epoll_files::job> epoll_files::take(job& which) noexcept {
    const std::size_t place = which.place;
    std::unique_ptr<job> taken = std::move(jobs_[place]);
    if (place + 1 != jobs_.size()) {
        jobs_[place] = std::move(jobs_.back());
        jobs_[place]->place = place;
    }
    jobs_.pop_back();
    return taken;
}

void epoll_files::complete(const job& which) {
    if (which.result >= 0 && which.asked.skips_success) return;
    completions_.post(which.asked.user_data, which.result, 0);
}

int epoll_files::cancel(std::uint64_t user_data, bool all) {
    int count = 0;
    int otherwise = -ENOENT;
    for (std::size_t i = jobs_.size(); i-- > 0 && (all || count == 0);) {
        job& each = *jobs_[i];
        if (each.asked.user_data != user_data) continue;
        if (!helpers_->withdraw(each)) {
            otherwise = -EALREADY;
            continue;
        }
        take(each).reset();
        completions_.post(user_data, -ECANCELED, 0);
        ++count;
    }
    return count != 0 ? count : otherwise;
}

void epoll_files::reap() {
    job* done = nullptr;
    {
        const std::lock_guard lock(outbox_->mutex);
        done = std::exchange(outbox_->done, nullptr);
    }
    job* first = nullptr;
    while (done != nullptr) {
        job* const next = std::exchange(done->next_done, first);
        first = std::exchange(done, next);
    }
    while (first != nullptr) {
        job& each = *std::exchange(first, first->next_done);
        complete(each);
        take(each).reset();
    }
}

}  // namespace rondo::inline v0::detail
