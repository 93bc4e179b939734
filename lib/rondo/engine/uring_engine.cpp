#include <rondo/engine/uring_engine.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include <liburing.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/abi.hpp>

namespace rondo::inline v0 {
namespace {

static_assert(sizeof(completion) == sizeof(io_uring_cqe) &&
              offsetof(completion, user_data) == offsetof(io_uring_cqe, user_data) &&
              offsetof(completion, result) == offsetof(io_uring_cqe, res) &&
              offsetof(completion, flags) == offsetof(io_uring_cqe, flags));
static_assert(offsetof(io_uring_sqe, user_data) == abi::user_data_offset);
static_assert(sizeof(abi::buffer_slot) == sizeof(io_uring_buf));

constexpr unsigned floor_entries = 4;
constexpr unsigned floor_completions = 8;

// Timeouts from here on (146 years) could overflow when the kernel adds its clock.
constexpr engine::duration::rep unbounded = engine::duration::rep{1} << 62;

// A registered ring is named by an index of the calling thread: in another thread, or in a forked
// child, the same index is another ring or none. This number tells them apart without a call; 0
// means none yet, and is what a forked child starts with.
[[gnu::tls_model("initial-exec")]] constinit thread_local std::uint64_t this_thread = 0;

std::uint64_t name_this_thread() {
    static std::atomic<std::uint64_t> last{0};
    [[maybe_unused]] static const int registered =
        pthread_atfork(nullptr, nullptr, [] { this_thread = 0; });
    if (this_thread == 0) this_thread = last.fetch_add(1, std::memory_order_relaxed) + 1;
    return this_thread;
}

/// std::system_error whose text ends with the remedy: "CALL: MESSAGE (REMEDY)".
class ring_error final : public std::system_error {
public:
    ring_error(int error, const std::string& call, const std::string& remedy)
        : std::system_error(error, std::system_category(), call),
          text_(call + ": " + code().message() + " (" + remedy + ")") {}

    const char* what() const noexcept override { return text_.what(); }

private:
    std::runtime_error text_;  // a string that copies without an exception
};

/// The value after `key` in a file of "key value" lines, or the first word for an empty key.
std::string read_word(const char* path, std::string_view key = {}) {
    std::ifstream file(path);
    std::string word;
    while (file >> word) {
        if (key.empty()) return word;
        if (word != key) continue;
        file >> word;
        return word;
    }
    return {};
}

/// The soft limit, RLIM_INFINITY also where it cannot be told.
rlim_t soft_limit(decltype(RLIMIT_NOFILE) resource) {
    rlimit limit{};
    return getrlimit(resource, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

bool has_capability(unsigned number) {
    const std::string effective = read_word("/proc/self/status", "CapEff:");
    return (std::strtoull(effective.c_str(), nullptr, 16) >> number & 1) != 0;
}

/// Whether kernel.io_uring_disabled=1 lets this process in: its group, or an administrator.
bool is_privileged() {
    if (has_capability(CAP_SYS_ADMIN)) return true;
    const std::string group = read_word("/proc/sys/kernel/io_uring_group");
    const auto is_member = [&](gid_t mine) { return std::to_string(mine) == group; };
    std::array<gid_t, 1024> groups{};
    const int count = getgroups(static_cast<int>(groups.size()), groups.data());
    return is_member(getegid()) ||
           std::any_of(groups.begin(), groups.begin() + std::max(count, 0), is_member);
}

std::string forbidden_remedy() {
    const std::string disabled = read_word("/proc/sys/kernel/io_uring_disabled");
    if (disabled == "2")
        return "kernel.io_uring_disabled is 2, nobody may use io_uring: "
               "sysctl kernel.io_uring_disabled=0, or RONDO_ENGINE=epoll";
    if (disabled == "1" && !is_privileged())
        return "kernel.io_uring_disabled is 1, only members of group " +
               read_word("/proc/sys/kernel/io_uring_group") +
               " (kernel.io_uring_group) may use io_uring: join it, "
               "sysctl kernel.io_uring_disabled=0, or RONDO_ENGINE=epoll";
    const std::string filter = read_word("/proc/self/status", "Seccomp:");
    if (filter == "1" || filter == "2")
        return "a seccomp filter forbids it, as those of containers do: allow io_uring_setup, "
               "io_uring_enter and io_uring_register there (docker: --security-opt seccomp=...), "
               "or RONDO_ENGINE=epoll";
    return "a security module forbids it: see its audit log, or RONDO_ENGINE=epoll";
}

std::string missing_remedy() {
    const std::string filter = read_word("/proc/self/status", "Seccomp:");
    if (filter == "1" || filter == "2")
        return "a seccomp filter hides it, as those of containers do, or the kernel was built "
               "without CONFIG_IO_URING: allow the io_uring calls, or RONDO_ENGINE=epoll";
    return "the kernel was built without CONFIG_IO_URING, or is older than 6.1: use a newer one, "
           "or RONDO_ENGINE=epoll";
}

std::string memory_remedy() {
    const rlim_t limit = soft_limit(RLIMIT_MEMLOCK);
    if (limit == RLIM_INFINITY || has_capability(CAP_IPC_LOCK))
        return "the kernel found no memory for the smallest ring: free some, or raise the limit "
               "of the control group";
    return "the ring is locked into memory, RLIMIT_MEMLOCK is " +
           std::to_string(limit) +
           " bytes: raise it by ulimit -l or LimitMEMLOCK=, or end other rings of this user";
}

std::string remedy(int error) {
    switch (error) {
        case EPERM:
        case EACCES: return forbidden_remedy();
        case ENOSYS: return missing_remedy();
        case ENOMEM: return memory_remedy();
        case EMFILE:
            return "all descriptors of this process are in use, RLIMIT_NOFILE is " +
                   std::to_string(soft_limit(RLIMIT_NOFILE)) +
                   ": raise it by ulimit -n or LimitNOFILE=";
        case ENFILE:
            return "all descriptors of this machine are in use: raise sysctl fs.file-max";
        default: return "unexpected; see io_uring_setup(2)";
    }
}

[[noreturn]] void fail_setup(int error, const std::string& call) {
    throw ring_error(error, call, remedy(error));
}

[[noreturn]] void fail_too_old(const std::string& what) {
    throw ring_error(ENOSYS, "io_uring",
                     "this kernel has no " + what +
                         ": Linux 6.1 or newer is needed, or RONDO_ENGINE=epoll");
}

// What to ask for, best first. SUBMIT_ALL: one bad entry must not hold up those behind it.
// DEFER_TASKRUN exists only with SINGLE_ISSUER, TASKRUN_FLAG only with one of the TASKRUNs.
constexpr unsigned base_flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
constexpr unsigned best_flags = base_flags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
                                IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
constexpr unsigned flag_choices[] = {
#ifdef IORING_SETUP_NO_SQARRAY
    best_flags | IORING_SETUP_NO_SQARRAY,
#endif
    best_flags,
    base_flags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    base_flags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    base_flags | IORING_SETUP_SUBMIT_ALL,
    base_flags,
    0,
};

/// The first choice from `choice` on without any of these flags; the last one has none at all.
const unsigned* next_choice(const unsigned* choice, unsigned avoided) noexcept {
    while ((*choice & avoided) != 0) ++choice;
    return choice;
}

/// Sets `ring` up; what was granted is in ring.flags and ring.features.
void set_up(io_uring& ring, const engine_options& options, uring_engine::setup_call setup) {
    const feature_set without = options.without;
    // SUBMIT_ALL goes with every good choice, so it is taken out instead of passing them over.
    const unsigned asked = without.has(feature::submit_all) ? ~IORING_SETUP_SUBMIT_ALL : ~0u;
    unsigned avoided = 0;
    if (without.has(feature::single_issuer)) avoided |= IORING_SETUP_SINGLE_ISSUER;
    if (without.has(feature::deferred_taskrun)) avoided |= IORING_SETUP_DEFER_TASKRUN;
    if (without.has(feature::cooperative_taskrun)) avoided |= IORING_SETUP_COOP_TASKRUN;
    unsigned entries = std::max(options.entries, 1u);
    unsigned completions = std::max(options.completions, entries);
    const unsigned* flags = next_choice(std::begin(flag_choices), avoided);
    for (;;) {
        io_uring_params params{};
        params.flags = *flags & asked;
        params.cq_entries = completions;
        const int error = -setup(entries, &ring, &params);
        if (error == 0) return;
        const bool above_floor = entries > floor_entries || completions > floor_completions;
        if (error == EINVAL && flags + 1 != std::end(flag_choices)) {
            flags = next_choice(flags + 1, avoided);
        } else if (error == ENOMEM && above_floor) {
            entries = std::max(entries / 2, std::min(entries, floor_entries));
            completions = std::max({completions / 2, entries,
                                    std::min(completions, floor_completions)});
        } else {
            fail_setup(error, "io_uring_setup");
        }
    }
}

}  // namespace

namespace {

// ThreadSanitizer does not see that the memory of a ring is unmapped, and takes a later ring of
// another thread at the same address for the same memory: tell it that one comes after the other.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RONDO_THREAD_SANITIZER
#endif
#elif defined(__SANITIZE_THREAD__)
#define RONDO_THREAD_SANITIZER
#endif
#ifdef RONDO_THREAD_SANITIZER
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
char ring_memory;
void ring_mapped() noexcept { __tsan_acquire(&ring_memory); }
void ring_unmapped() noexcept { __tsan_release(&ring_memory); }
#else
void ring_mapped() noexcept {}
void ring_unmapped() noexcept {}
#endif

}  // namespace

struct uring_engine::ring_state {
    io_uring ring{};

    ring_state(const engine_options& options, setup_call setup) {
        set_up(ring, options, setup);
        ring_mapped();
    }
    ring_state(const ring_state&) = delete;
    ring_state& operator=(const ring_state&) = delete;
    ~ring_state() {
        ring_unmapped();
        io_uring_queue_exit(&ring);
    }
};

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
        const detail::unique_fd reader(ends[0]);
        detail::unique_fd writer(ends[1]);
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
        detail::unique_fd writer(ends[1]);
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
        constexpr int needed[] = {IORING_OP_POLL_ADD, IORING_OP_ACCEPT,  IORING_OP_ASYNC_CANCEL,
                                  IORING_OP_CONNECT,  IORING_OP_SEND,    IORING_OP_RECV,
                                  IORING_OP_SENDMSG,  IORING_OP_RECVMSG, IORING_OP_READ,
                                  IORING_OP_WRITE,    IORING_OP_OPENAT, IORING_OP_FSYNC,
                                  IORING_OP_FADVISE,  IORING_OP_CLOSE};
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
    detail::unique_fd event_;
    detail::unique_fd reader_;
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

/// Tried once per process; a trial that could not be made is made again next time.
feature_set probed_features() {
    static const feature_set found = probe_features();
    return found;
}

/// What was granted at the set-up of this ring.
feature_set granted_features(const io_uring& ring) noexcept {
    feature_set found;
    if (ring.flags & IORING_SETUP_SINGLE_ISSUER) found = found | feature::single_issuer;
    if (ring.flags & IORING_SETUP_DEFER_TASKRUN) found = found | feature::deferred_taskrun;
    if (ring.flags & IORING_SETUP_COOP_TASKRUN) found = found | feature::cooperative_taskrun;
    if (ring.flags & IORING_SETUP_SUBMIT_ALL) found = found | feature::submit_all;
    if (ring.features & IORING_FEAT_CQE_SKIP) found = found | feature::skip_success;
    if (ring.features & abi::feat_no_iowait) found = found | feature::no_iowait;
    return found;
}

}  // namespace

uring_engine::uring_engine(const engine_options& options, setup_call setup)
    : owner_(name_this_thread()) {
    const feature_set probed = probed_features();
    ring_ = std::make_unique<ring_state>(options, setup ? setup : &io_uring_queue_init_params);
    io_uring& ring = ring_->ring;
    if (!(ring.features & IORING_FEAT_EXT_ARG)) fail_too_old("timeout for io_uring_enter");
    features_ = (probed | granted_features(ring)) - options.without;

    sq_.entries = reinterpret_cast<std::byte*>(ring.sq.sqes);
    sq_.capacity = *ring.sq.kring_entries;
    sq_.mask = *ring.sq.kring_mask;
    sq_.tail = *ring.sq.ktail;
    set_taken(sq_.tail);
    cq_.entries = reinterpret_cast<completion*>(ring.cq.cqes);
    cq_.head = ring.cq.khead;
    cq_.tail = ring.cq.ktail;
    cq_.mask = *ring.cq.kring_mask;
#ifdef IORING_SETUP_NO_SQARRAY
    const bool indirect = !(ring.flags & IORING_SETUP_NO_SQARRAY);
#else
    constexpr bool indirect = true;
#endif
    // Entries are always used in the order of their slots, so the indirection is filled once.
    for (unsigned n = 0; indirect && n != sq_.capacity; ++n) ring.sq.array[n] = n;

    // Work that is neither announced nor run at any system call would be missed: enter anyway.
    const bool cooperative =
        ring.flags & (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN);
    if (cooperative && !(ring.flags & IORING_SETUP_TASKRUN_FLAG)) doubt_ = ~0u;

    enter_flags_ = IORING_ENTER_GETEVENTS;
    if (has(feature::no_iowait)) enter_flags_ |= abi::enter_no_iowait;
    const bool registered = !options.without.has(feature::registered_ring) &&
                            io_uring_register_ring_fd(&ring) == 1;
    if (registered) {
        features_ = features_ | feature::registered_ring;
        enter_flags_ |= IORING_ENTER_REGISTERED_RING;
    }
    enter_descriptor_ = registered ? ring.enter_ring_fd : ring.ring_fd;
    flags_ = ring.sq.kflags;
    published_tail_ = ring.sq.ktail;
    taken_head_ = ring.sq.khead;
}

uring_engine::~uring_engine() {
    // The index means nothing outside the owner: make sure that no other ring is unregistered.
    if (owner_ != this_thread) ring_->ring.enter_ring_fd = std::numeric_limits<int>::max();
}

bool uring_engine::enter(duration timeout) {
    const unsigned prepared = sq_.tail - sq_.head;
    const bool wait = timeout.count() > 0 && completions_begin() == completions_end();
    const unsigned seen = std::atomic_ref<unsigned>(*flags_).load(std::memory_order_relaxed);
    if (prepared == 0 && !wait &&
        !((seen | doubt_) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)))
        return false;
    if (seen & IORING_SQ_CQ_OVERFLOW) [[unlikely]] ++overflows_;
    if (owner_ != this_thread) [[unlikely]] fail(EEXIST);

    std::atomic_ref<unsigned>(*published_tail_).store(sq_.tail, std::memory_order_release);
    int result;
    if (wait && timeout.count() < unbounded) {
        __kernel_timespec limit{timeout.count() / 1'000'000'000, timeout.count() % 1'000'000'000};
        io_uring_getevents_arg argument{};
        argument.ts = reinterpret_cast<std::uintptr_t>(&limit);
        result = io_uring_enter2(static_cast<unsigned>(enter_descriptor_), prepared, 1,
                                 enter_flags_ | IORING_ENTER_EXT_ARG,
                                 reinterpret_cast<sigset_t*>(&argument), sizeof argument);
    } else {
        result = io_uring_enter2(static_cast<unsigned>(enter_descriptor_), prepared, wait ? 1 : 0,
                                 enter_flags_, nullptr, 0);
    }
    // The kernel's own account: what a partly taken batch returns depends on why it stopped.
    set_taken(std::atomic_ref<unsigned>(*taken_head_).load(std::memory_order_acquire));
    if (result < 0) [[unlikely]] after_error(-result, wait);
    return true;
}

void uring_engine::after_error(int error, bool wait) {
    if (error == ETIME || error == EINTR) return;
    if (error != EAGAIN && error != EBUSY) fail(error);
    // Short of memory, or of room for completions. With something to reap the caller can help;
    // without, a pause is all there is, and keeps a caller that must get through from spinning.
    const bool stuck = wait || pending_entries() == sq_.capacity;
    if (stuck && completions_begin() == completions_end()) {
        __kernel_timespec pause{0, 1'000'000};
        io_uring_getevents_arg argument{};
        argument.ts = reinterpret_cast<std::uintptr_t>(&pause);
        io_uring_enter2(static_cast<unsigned>(enter_descriptor_), 0, 1,
                        enter_flags_ | IORING_ENTER_EXT_ARG,
                        reinterpret_cast<sigset_t*>(&argument), sizeof argument);
    }
}

void uring_engine::fail(int error) const {
    if (owner_ != this_thread || error == EEXIST)
        throw ring_error(EEXIST, "io_uring_enter",
                         "an engine belongs to the thread that made it: another thread or a "
                         "forked child must make its own");
    if (error == EBADR)
        throw ring_error(error, "io_uring_enter",
                         "the kernel had no memory left to keep completions, some are lost");
    throw ring_error(error, "io_uring_enter", "unexpected; see io_uring_enter(2)");
}

std::error_code uring_engine::register_buffer_ring(std::uint16_t group, void* ring,
                                                   unsigned entries) {
    if (!has(feature::buffer_ring)) return {EINVAL, std::system_category()};
    io_uring_buf_reg request{};
    request.ring_addr = reinterpret_cast<std::uintptr_t>(ring);
    request.ring_entries = entries;
    request.bgid = group;
    const int error = -io_uring_register_buf_ring(&ring_->ring, &request, 0);
    // These slots are locked into memory as the ring is, and a code cannot tell the remedy.
    if (error == ENOMEM) fail_setup(error, "io_uring_register");
    return {error, std::system_category()};
}

void uring_engine::unregister_buffer_ring(std::uint16_t group) noexcept {
    io_uring_unregister_buf_ring(&ring_->ring, group);
}

std::uint64_t uring_engine::overflows() const noexcept {
    const unsigned lost =
        std::atomic_ref<unsigned>(*ring_->ring.cq.koverflow).load(std::memory_order_relaxed);
    return overflows_ + lost;
}

unsigned uring_engine::setup_flags() const noexcept { return ring_->ring.flags; }

}  // namespace rondo::inline v0
