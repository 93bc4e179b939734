#include <rondo/engine/feature_trial.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/abi.hpp>
#include <rondo/engine/ring_error.hpp>
#include <rondo/engine/ring_setup.hpp>

namespace rondo::inline v0::detail {

namespace {

/// A few pages of zeroed memory.
class pages {
public:
    explicit pages(std::size_t size)
        : size_(size),
          memory_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        if (memory_ == MAP_FAILED) fail_setup(errno, "mmap");
    }
    pages(const pages&) = delete;
    pages& operator=(const pages&) = delete;
    ~pages() { munmap(memory_, size_); }

    void* get() const noexcept { return memory_; }

private:
    std::size_t size_;
    void* memory_;
};

/// What a kernel can do, tried out on a ring of its own.
class feature_trial {
public:
    feature_trial() {
        set_up(ring_, {.entries = floor_entries, .completions = floor_completions},
               &io_uring_queue_init_params);
    }
    feature_trial(const feature_trial&) = delete;
    feature_trial& operator=(const feature_trial&) = delete;
    ~feature_trial() { io_uring_queue_exit(&ring_); }

    /// False where the kernel knows no buffer rings.
    bool add_buffers() {
        io_uring_buf_reg request{};
        request.ring_addr = reinterpret_cast<std::uintptr_t>(buffers_.get());
        request.ring_entries = buffer_count;
        const int error = -io_uring_register_buf_ring(&ring_, &request, 0);
        if (error == EINVAL) return false;
        if (error != 0) fail_setup(error, "io_uring_register");
        auto* slots = static_cast<abi::buffer_slot*>(buffers_.get());
        for (std::uint16_t n = 0; n != buffer_count; ++n) {
            slots[n].address = reinterpret_cast<std::uintptr_t>(data_.data() + n);
            slots[n].length = 1;
            slots[n].id = n;
        }
        std::atomic_ref<std::uint16_t>(slots[0].reserved)
            .store(buffer_count, std::memory_order_release);
        return true;
    }

    /// How many completions with a byte a multishot receive gives of `available` bytes and the end
    /// of the stream, when `limit` is its total unless 0; negative where it is not understood.
    int received(unsigned available, unsigned limit) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
            fail_setup(errno, "socketpair");
        const unique_fd reader(ends[0]);
        unique_fd writer(ends[1]);
        const std::array<char, buffer_count> text{};
        if (write(writer.get(), text.data(), available) != static_cast<ssize_t>(available))
            fail_setup(errno, "write");
        writer.reset();
        io_uring_sqe& entry = prepare(IORING_OP_RECV, reader.get());
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.ioprio = IORING_RECV_MULTISHOT;
        entry.file_index = limit;  // sqe->optlen in newer headers
        int count = 0;
        for (;;) {
            const auto [result, flags] = next();
            if (result < 0) return -1;
            if (result > 0) ++count;
            if (!(flags & IORING_CQE_F_MORE)) return count;
        }
    }

    /// Whether a multishot receive that waits is told of the end that follows a byte at once.
    /// Where it is not, the request goes on until the ring ends.
    bool tells_unix_end() {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
            fail_setup(errno, "socketpair");
        reader_.reset(ends[0]);
        unique_fd writer(ends[1]);
        io_uring_sqe& entry = prepare(IORING_OP_RECV, reader_.get());
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.ioprio = IORING_RECV_MULTISHOT;
        const int taken = io_uring_submit(&ring_);
        if (taken < 0) fail_setup(-taken, "io_uring_enter");
        if (write(writer.get(), "", 1) != 1) fail_setup(errno, "write");
        writer.reset();
        if (next().first != 1) return false;
        io_uring_cqe* seen = nullptr;
        if (io_uring_get_events(&ring_) < 0 || io_uring_peek_cqe(&ring_, &seen) != 0) return false;
        const bool told = seen->res == 0;
        io_uring_cqe_seen(&ring_, seen);
        return told;
    }

    /// Looks at the answer to what cannot succeed: no descriptor of a ring takes connections, but
    /// whether a multishot was understood is said before that.
    bool accepts_multishot() {
        prepare(IORING_OP_ACCEPT, ring_.ring_fd).ioprio = IORING_ACCEPT_MULTISHOT;
        return next().first == -ENOTSOCK;
    }

    /// To be asked near the end, as the request goes on.
    bool polls_multishot() {
        event_.reset(eventfd(1, EFD_CLOEXEC));
        if (!event_) fail_setup(errno, "eventfd");
        io_uring_sqe& entry = prepare(IORING_OP_POLL_ADD, event_.get());
        entry.len = IORING_POLL_ADD_MULTI;
        std::uint32_t events = POLLIN;
        if constexpr (std::endian::native == std::endian::big) events = std::rotl(events, 16);
        entry.poll32_events = events;
        return (next().second & IORING_CQE_F_MORE) != 0;
    }

    bool knows_opcodes() {
        constexpr unsigned room = 256;
        const auto size = sizeof(io_uring_probe) + room * sizeof(io_uring_probe_op);
        const pages memory(size);
        auto* const probe = static_cast<io_uring_probe*>(memory.get());
        const int error = -io_uring_register_probe(&ring_, probe, room);
        if (error != 0) fail_setup(error, "io_uring_register");
        // The last came with Linux 6.1. No probe shows how the others behave before: in 5.15 an
        // accept of a listener that does not block does not wait.
        constexpr int needed[] = {IORING_OP_POLL_ADD, IORING_OP_ACCEPT,  IORING_OP_ASYNC_CANCEL,
                                  IORING_OP_CONNECT,  IORING_OP_SEND,    IORING_OP_RECV,
                                  IORING_OP_SENDMSG,  IORING_OP_RECVMSG, IORING_OP_READ,
                                  IORING_OP_WRITE,    IORING_OP_OPENAT, IORING_OP_FSYNC,
                                  IORING_OP_FADVISE,  IORING_OP_CLOSE,   IORING_OP_SENDMSG_ZC};
        knows_zero_copy_ = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC) != 0;
        return std::all_of(std::begin(needed), std::end(needed), [probe](int opcode) {
            return io_uring_opcode_supported(probe, opcode) != 0;
        });
    }

    /// To be asked after knows_opcodes().
    bool knows_zero_copy() const noexcept { return knows_zero_copy_; }

private:
    static constexpr std::uint16_t buffer_count = 8;

    io_uring_sqe& prepare(int opcode, int descriptor) {
        io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
        if (entry == nullptr) fail_setup(EAGAIN, "io_uring_enter");
        *entry = io_uring_sqe{};
        entry->opcode = static_cast<std::uint8_t>(opcode);
        entry->fd = descriptor;
        return *entry;
    }

    /// Submits what is prepared; the result and flags of the next completion.
    std::pair<int, unsigned> next() {
        const int taken = io_uring_submit(&ring_);
        if (taken < 0) fail_setup(-taken, "io_uring_enter");
        io_uring_cqe* seen = nullptr;
        int error;
        do error = -io_uring_wait_cqe(&ring_, &seen);
        while (error == EINTR);
        if (error != 0) fail_setup(error, "io_uring_enter");
        const std::pair<int, unsigned> answer(seen->res, seen->flags);
        io_uring_cqe_seen(&ring_, seen);
        return answer;
    }

    pages buffers_{4096};
    std::array<char, buffer_count> data_{};
    unique_fd event_;
    unique_fd reader_;
    io_uring ring_{};
    bool knows_zero_copy_ = false;
};

feature_set probe_features() {
    feature_trial trial;
    if (!trial.knows_opcodes()) fail_too_old("socket operation in io_uring");
    feature_set found;
    if (trial.knows_zero_copy()) found = found | feature::send_zero_copy;
    if (trial.add_buffers()) {
        found = found | feature::buffer_ring;
        if (trial.received(2, 0) == 2) found = found | feature::multishot_recv;
        if (trial.received(2, 1) == 1) found = found | feature::receive_limit;
    }
    if (trial.accepts_multishot()) found = found | feature::multishot_accept;
    if (trial.polls_multishot()) found = found | feature::multishot_poll;
    if (found.has(feature::multishot_recv) && trial.tells_unix_end()) {
        found = found | feature::unix_end;
    }
    return found;
}

}  // namespace

feature_set probed_features() {
    static const feature_set found = probe_features();
    return found;
}

}  // namespace rondo::inline v0::detail
