#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <liburing.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/abi.hpp>
#include <rondo/engine/uring_engine.hpp>

#include <support/needs_ring.hpp>

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using rondo::completion;
using rondo::engine;
using rondo::feature;
using rondo::feature_set;
using rondo::uring_engine;
using rondo::test::needs_ring;

namespace {

io_uring_sqe& prepare(engine& ring, int opcode, std::uint64_t user_data, int descriptor = -1) {
    io_uring_sqe* const entry = ring.next_entry();
    REQUIRE(entry != nullptr);
    *entry = io_uring_sqe{};
    entry->opcode = static_cast<std::uint8_t>(opcode);
    entry->fd = descriptor;
    entry->user_data = user_data;
    return *entry;
}

std::vector<completion> reap(engine& ring) {
    std::vector<completion> seen;
    const unsigned end = ring.completions_end();
    for (unsigned n = ring.completions_begin(); n != end; ++n)
        seen.push_back(ring.completion_at(n));
    ring.completions_consumed(end);
    return seen;
}

/// enter() until something can be read. The notice by which an earlier ring's end reaches this
/// thread ends a wait as a signal does, so one wait cut short proves nothing.
bool enter_for_one(engine& ring, engine::duration timeout = engine::forever) {
    bool called = false;
    int tries = 0;
    do {
        called = ring.enter(timeout) || called;
    } while (ring.completions_begin() == ring.completions_end() && ++tries < 100);
    return called;
}

/// One request through the whole engine.
void check_works(engine& ring) {
    prepare(ring, IORING_OP_NOP, 42);
    CHECK(enter_for_one(ring));
    const auto seen = reap(ring);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user_data == 42);
    CHECK(seen[0].result == 0);
}

/// What `action` returns in a forked child, where limits and filters harm nobody else.
template <class Action>
std::string in_child(Action action) {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const rondo::detail::unique_fd reader(ends[0]);
    rondo::detail::unique_fd writer(ends[1]);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        std::string text;
        try {
            text = action();
        } catch (const std::exception& error) {
            text = std::string("thrown: ") + error.what();
        }
        const ssize_t written = write(writer.get(), text.data(), text.size());
        _exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
    }
    writer.reset();
    std::string text;
    std::array<char, 512> part{};
    for (ssize_t got; (got = read(reader.get(), part.data(), part.size())) > 0;)
        text.append(part.data(), static_cast<std::size_t>(got));
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    return text;
}

/// From here on io_uring_enter(2) with entries to take, or each one, fails with `error`.
void refuse_enter(unsigned error, bool with_entries_only) {
    const std::uint32_t kept = with_entries_only ? 0 : ~0u;
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_enter, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kept, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        throw std::system_error(errno, std::system_category(), "seccomp");
}

void limit(decltype(RLIMIT_NOFILE) resource, rlim_t value) {
    const rlimit wanted{value, value};
    if (setrlimit(resource, &wanted) != 0)
        throw std::system_error(errno, std::system_category(), "setrlimit");
}

/// The text of the exception that `options` and `setup` give, empty without one.
std::string setup_failure(const rondo::engine_options& options = {},
                          uring_engine::setup_call setup = nullptr) {
    try {
        const uring_engine ring(options, setup);
    } catch (const std::system_error& error) {
        return std::to_string(error.code().value()) + " " + error.what();
    }
    return {};
}

/// The entries of a ring made without privilege when `bytes` may be locked, or why there is none.
/// What is locked is counted per user and given back some time after a ring is closed, so each
/// `run` is a user of its own.
std::string capacity_under(rlim_t bytes, unsigned run) {
    const uid_t user = 20'000 + static_cast<uid_t>(getpid()) % 10'000 * 4 + run;
    return in_child([bytes, user]() -> std::string {
        if (geteuid() == 0 && setresuid(user, user, user) != 0) return "setresuid failed";
        limit(RLIMIT_MEMLOCK, bytes);
        const uring_engine ring;
        return std::to_string(ring.entry_capacity());
    });
}

// What the stand-ins for io_uring_queue_init_params refuse, and what they were asked.
unsigned refused_flags = 0;
unsigned largest_entries = 0;
unsigned largest_completions = 0;
int refusal = 0;
unsigned times_asked = 0;

int picky_setup(unsigned entries, io_uring* ring, io_uring_params* params) {
    ++times_asked;
    if (params->flags & refused_flags) return -EINVAL;
    return io_uring_queue_init_params(entries, ring, params);
}

int poor_setup(unsigned entries, io_uring* ring, io_uring_params* params) {
    ++times_asked;
    if (entries > largest_entries || params->cq_entries > largest_completions) return -ENOMEM;
    return io_uring_queue_init_params(entries, ring, params);
}

int failing_setup(unsigned entries, io_uring*, io_uring_params* params) {
    ++times_asked;
    largest_entries = entries;
    largest_completions = params->cq_entries;
    return -refusal;
}

/// A buffer group of `count` one-page buffers.
class buffer_group {
public:
    explicit buffer_group(unsigned count) : data_(count * 4096) {
        ring_ = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(ring_ != MAP_FAILED);
        auto* const slots = static_cast<rondo::abi::buffer_slot*>(ring_);
        for (unsigned n = 0; n != count; ++n) {
            slots[n].address = reinterpret_cast<std::uintptr_t>(data_.data() + n * 4096);
            slots[n].length = 4096;
            slots[n].id = static_cast<std::uint16_t>(n);
        }
        std::atomic_ref<std::uint16_t>(slots[0].reserved)
            .store(static_cast<std::uint16_t>(count), std::memory_order_release);
    }
    buffer_group(const buffer_group&) = delete;
    buffer_group& operator=(const buffer_group&) = delete;
    ~buffer_group() { munmap(ring_, 4096); }

    void* ring() const { return ring_; }
    std::string text(const completion& seen) const {
        return {data_.data() + (seen.flags >> IORING_CQE_BUFFER_SHIFT) * 4096,
                static_cast<std::size_t>(seen.result)};
    }

private:
    std::vector<char> data_;
    void* ring_ = nullptr;
};

struct socket_pair {
    rondo::detail::unique_fd near;
    rondo::detail::unique_fd far;
    socket_pair() {
        int ends[2];
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        near.reset(ends[0]);
        far.reset(ends[1]);
    }
    void write(std::string_view text) const {
        REQUIRE(::write(far.get(), text.data(), text.size()) ==
                static_cast<ssize_t>(text.size()));
    }
};

io_uring_sqe& prepare_receive(engine& ring, const socket_pair& pair, std::uint64_t user_data) {
    io_uring_sqe& entry = prepare(ring, IORING_OP_RECV, user_data, pair.near.get());
    entry.ioprio = IORING_RECV_MULTISHOT;
    entry.flags = IOSQE_BUFFER_SELECT;
    return entry;
}

}  // namespace

TEST_CASE_METHOD(needs_ring,
                 "the ring completes entries in their order however often the queues wrap",
                 "[engine]") {
    uring_engine ring({.entries = 4, .completions = 8});
    CHECK(ring.name() == "uring");
    CHECK(ring.entry_capacity() == 4);
    CHECK(ring.completion_capacity() == 8);
    std::uint64_t given = 0;
    std::uint64_t taken = 0;
    while (given < 1000) {
        for (std::uint64_t n = 1 + given % 4; n != 0; --n) prepare(ring, IORING_OP_NOP, given++);
        REQUIRE(ring.enter(engine::no_wait));
        CHECK(ring.pending_entries() == 0);
        for (const completion& seen : reap(ring)) CHECK(seen.user_data == taken++);
    }
    CHECK(taken == given);
    CHECK(ring.overflows() == 0);
}

TEST_CASE_METHOD(needs_ring,
                 "a full submission queue gives no entry until enter makes room", "[engine]") {
    uring_engine ring({.entries = 4, .completions = 8});
    for (std::uint64_t n = 0; n != 4; ++n) prepare(ring, IORING_OP_NOP, n);
    CHECK(ring.next_entry() == nullptr);
    CHECK(ring.pending_entries() == 4);
    CHECK(ring.enter(engine::no_wait));
    CHECK(ring.next_entry() != nullptr);
}

TEST_CASE_METHOD(needs_ring,
                 "an entry the kernel refuses does not hold up those behind it", "[engine]") {
    uring_engine ring;
    prepare(ring, 255, 1);
    prepare(ring, IORING_OP_NOP, 2);
    CHECK(ring.enter(engine::no_wait));
    const auto seen = reap(ring);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].result == -EINVAL);
    CHECK(seen[1].result == 0);
}

TEST_CASE_METHOD(needs_ring, "enter makes no system call when there is nothing to do", "[engine]") {
    CHECK(in_child([] {
              uring_engine ring;
              refuse_enter(ENOSYS, false);
              return std::string(ring.enter(engine::no_wait) ? "called" : "not called");
          }) == "not called");
}

TEST_CASE_METHOD(needs_ring,
                 "enter throws a sentence when the kernel refuses for good", "[engine]") {
    const std::string text = in_child([]() -> std::string {
        uring_engine ring;
        refuse_enter(ENOSYS, false);
        *ring.next_entry() = io_uring_sqe{};
        ring.enter(engine::no_wait);
        return "nothing thrown";
    });
    CHECK_THAT(text, ContainsSubstring("thrown: io_uring_enter: Function not implemented ("));
}

TEST_CASE_METHOD(needs_ring,
                 "enter keeps what the kernel has no memory for, and pauses", "[engine]") {
    const std::string text = in_child([] {
        uring_engine ring;
        *ring.next_entry() = io_uring_sqe{};
        refuse_enter(EAGAIN, true);
        const auto start = std::chrono::steady_clock::now();
        const bool called = ring.enter(engine::forever);
        const bool paused = std::chrono::steady_clock::now() - start >= 1ms;
        return std::to_string(called) + std::to_string(paused) +
               std::to_string(ring.pending_entries());
    });
    CHECK(text == "111");
}

TEST_CASE_METHOD(needs_ring, "enter does not wait while completions can be read", "[engine]") {
    uring_engine ring;
    prepare(ring, IORING_OP_NOP, 1);
    CHECK(enter_for_one(ring));
    CHECK_FALSE(ring.enter(engine::forever));
    // This one never completes: waiting for it would hang.
    const rondo::detail::unique_fd event(eventfd(0, EFD_CLOEXEC));
    prepare(ring, IORING_OP_POLL_ADD, 2, event.get()).poll32_events = POLLIN;
    CHECK(enter_for_one(ring));
    CHECK(ring.pending_entries() == 0);
    CHECK(reap(ring).size() == 1);
}

TEST_CASE_METHOD(needs_ring, "enter waits as long as it was told and no longer", "[engine]") {
    uring_engine ring;
    std::chrono::nanoseconds waited{};
    for (int tries = 0; tries < 100 && waited < 20ms; ++tries) {
        const auto start = std::chrono::steady_clock::now();
        CHECK(ring.enter(20ms));
        waited = std::chrono::steady_clock::now() - start;
    }
    CHECK(waited >= 20ms);
    CHECK(waited < 10s);
    CHECK(reap(ring).empty());
}

TEST_CASE_METHOD(needs_ring,
                 "a time-out beyond the kernel's clock waits for a completion", "[engine]") {
    uring_engine ring;
    const auto far = GENERATE(engine::duration::max() - 1ns, engine::duration::max() / 2,
                              engine::duration::max() / 2 + 1ns, engine::forever);
    __kernel_timespec soon{0, 5'000'000};
    io_uring_sqe& entry = prepare(ring, IORING_OP_TIMEOUT, 7);
    entry.addr = reinterpret_cast<std::uintptr_t>(&soon);
    entry.len = 1;
    CHECK(enter_for_one(ring, far));
    const auto seen = reap(ring);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].result == -ETIME);
}

TEST_CASE_METHOD(needs_ring,
                 "enter(forever) returns when another thread causes a completion", "[engine]") {
    uring_engine ring;
    const rondo::detail::unique_fd event(eventfd(0, EFD_CLOEXEC));
    prepare(ring, IORING_OP_POLL_ADD, 3, event.get()).poll32_events = POLLIN;
    CHECK(ring.enter(engine::no_wait));
    std::thread other([&] { CHECK(eventfd_write(event.get(), 1) == 0); });
    CHECK(enter_for_one(ring));
    other.join();
    const auto seen = reap(ring);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user_data == 3);
}

TEST_CASE_METHOD(needs_ring, "announced work is collected without waiting", "[engine]") {
    uring_engine ring;
    const rondo::detail::unique_fd event(eventfd(0, EFD_CLOEXEC));
    prepare(ring, IORING_OP_POLL_ADD, 3, event.get()).poll32_events = POLLIN;
    CHECK(ring.enter(engine::no_wait));
    CHECK_FALSE(ring.enter(engine::no_wait));
    REQUIRE(eventfd_write(event.get(), 1) == 0);
    CHECK(reap(ring).empty());
    CHECK(ring.enter(engine::no_wait));
    CHECK(reap(ring).size() == 1);
}

TEST_CASE_METHOD(needs_ring, "a signal ends the wait of enter", "[engine]") {
    uring_engine ring;
    struct sigaction action {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    struct sigaction previous {};
    REQUIRE(sigaction(SIGALRM, &action, &previous) == 0);
    // It repeats, for the first could come before the wait.
    const itimerval often{{0, 5000}, {0, 5000}};
    REQUIRE(setitimer(ITIMER_REAL, &often, nullptr) == 0);
    CHECK(enter_for_one(ring));
    const itimerval never{};
    REQUIRE(setitimer(ITIMER_REAL, &never, nullptr) == 0);
    sigaction(SIGALRM, &previous, nullptr);
    CHECK(reap(ring).empty());
}

TEST_CASE_METHOD(needs_ring,
                 "an overflowing completion queue loses nothing and is counted", "[engine]") {
    uring_engine ring({.entries = 4, .completions = 8});
    std::uint64_t given = 0;
    for (int batch = 0; batch != 5; ++batch) {
        for (int n = 0; n != 4; ++n) prepare(ring, IORING_OP_NOP, given++);
        CHECK(ring.enter(engine::no_wait));
    }
    std::uint64_t expected = 0;
    while (expected != given) {
        const auto seen = reap(ring);
        REQUIRE_FALSE(seen.empty());
        for (const completion& each : seen) CHECK(each.user_data == expected++);
        ring.enter(engine::no_wait);
    }
    CHECK_FALSE(ring.enter(engine::no_wait));
    CHECK(ring.overflows() > 0);
}

TEST_CASE_METHOD(needs_ring, "a cancel by user_data ends a request accepted earlier", "[engine]") {
    uring_engine ring;
    const rondo::detail::unique_fd event(eventfd(0, EFD_CLOEXEC));
    prepare(ring, IORING_OP_POLL_ADD, 3, event.get()).poll32_events = POLLIN;
    io_uring_sqe& cancel = prepare(ring, IORING_OP_ASYNC_CANCEL, 4);
    cancel.addr = 3;
    cancel.flags = IOSQE_CQE_SKIP_SUCCESS;
    CHECK(enter_for_one(ring));
    const auto seen = reap(ring);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user_data == 3);
    CHECK(seen[0].result == -ECANCELED);
}

TEST_CASE_METHOD(needs_ring,
                 "a multishot receive takes its buffers from a registered ring", "[engine]") {
    uring_engine ring;
    REQUIRE(ring.has(feature::buffer_ring));
    REQUIRE(ring.has(feature::multishot_recv));
    buffer_group group(4);
    REQUIRE_FALSE(ring.register_buffer_ring(9, group.ring(), 4));
    const socket_pair pair;
    prepare_receive(ring, pair, 5).buf_group = 9;
    CHECK(ring.enter(engine::no_wait));
    for (const std::string_view text : {"one", "two"}) {
        pair.write(text);
        CHECK(enter_for_one(ring));
        const auto seen = reap(ring);
        REQUIRE(seen.size() == 1);
        CHECK((seen[0].flags & IORING_CQE_F_MORE) != 0);
        CHECK(group.text(seen[0]) == text);
    }
    CHECK(ring.register_buffer_ring(9, group.ring(), 4) == std::errc::file_exists);
    CHECK(ring.register_buffer_ring(10, group.ring(), 3) == std::errc::invalid_argument);
    ring.unregister_buffer_ring(9);
    CHECK_FALSE(ring.register_buffer_ring(9, group.ring(), 4));
}

TEST_CASE_METHOD(needs_ring,
                 "a receive limit ends a multishot once its total is reached", "[engine]") {
    uring_engine ring;
    if (!ring.has(feature::receive_limit)) SKIP("this kernel has no receive limit (6.17)");
    buffer_group group(8);
    REQUIRE_FALSE(ring.register_buffer_ring(9, group.ring(), 8));
    const socket_pair pair;
    io_uring_sqe& entry = prepare_receive(ring, pair, 5);
    entry.buf_group = 9;
    entry.len = 4;           // of each receive
    entry.file_index = 10;  // sqe->optlen: the total
    pair.write("aaaabbbbccccdddd");
    CHECK(enter_for_one(ring));
    const auto seen = reap(ring);
    // It ends with the receive that reaches the total; that receive is not cut.
    REQUIRE(seen.size() == 3);
    CHECK(group.text(seen[2]) == "cccc");
    CHECK((seen[1].flags & IORING_CQE_F_MORE) != 0);
    CHECK((seen[2].flags & IORING_CQE_F_MORE) == 0);
}

TEST_CASE_METHOD(needs_ring, "the ring is asked for what is fastest", "[engine][setup]") {
    const uring_engine ring;
    constexpr unsigned best = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                              IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
                              IORING_SETUP_TASKRUN_FLAG;
    CHECK((ring.setup_flags() & best) == best);
    CHECK(ring.entry_capacity() == 256);
    CHECK(ring.completion_capacity() == 4096);
    CHECK(ring.has(feature::multishot_accept));
}

TEST_CASE_METHOD(needs_ring,
                 "set-up flags the kernel does not know are left out", "[engine][setup]") {
    struct step {
        unsigned refused;
        unsigned kept;
    };
    constexpr unsigned cooperative = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    const step taken = GENERATE(
        step{IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER | cooperative},
        step{IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_SUBMIT_ALL | cooperative},
        step{IORING_SETUP_TASKRUN_FLAG, IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE},
        step{IORING_SETUP_SUBMIT_ALL, IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE},
        step{~0u, 0u});
    refused_flags = taken.refused;
    uring_engine ring({}, &picky_setup);
    CHECK((ring.setup_flags() & taken.refused) == 0);
    CHECK((ring.setup_flags() & taken.kept) == taken.kept);
    check_works(ring);
}

TEST_CASE_METHOD(needs_ring,
                 "a set-up flag that is switched off is not asked for",
                 "[engine][setup][feature]") {
    struct step {
        feature_set without;
        unsigned avoided;
        unsigned kept;
    };
    constexpr unsigned cooperative = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    constexpr unsigned deferred = IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER;
    const step taken = GENERATE(
        step{feature::deferred_taskrun, IORING_SETUP_DEFER_TASKRUN,
             IORING_SETUP_SINGLE_ISSUER | cooperative},
        step{feature::single_issuer, deferred, IORING_SETUP_SUBMIT_ALL | cooperative},
        step{feature::cooperative_taskrun, IORING_SETUP_COOP_TASKRUN, deferred},
        step{feature::single_issuer | feature::cooperative_taskrun,
             deferred | IORING_SETUP_COOP_TASKRUN, IORING_SETUP_SUBMIT_ALL},
        step{feature::submit_all, IORING_SETUP_SUBMIT_ALL, deferred},
        step{feature_set::all(), deferred | cooperative | IORING_SETUP_SUBMIT_ALL, 0});
    uring_engine ring({.without = taken.without});
    CHECK((ring.setup_flags() & taken.avoided) == 0);
    CHECK((ring.setup_flags() & taken.kept) == taken.kept);
    CHECK((ring.features() - taken.without) == ring.features());
    check_works(ring);
}

TEST_CASE_METHOD(needs_ring,
                 "a ring that is not registered with its thread works as one that is",
                 "[engine][setup][feature]") {
    uring_engine ring({.without = feature::registered_ring});
    CHECK_FALSE(ring.has(feature::registered_ring));
    check_works(ring);
    CHECK(uring_engine().has(feature::registered_ring));
}

TEST_CASE_METHOD(needs_ring,
                 "a set-up refused with every flag ends in an error", "[engine][setup]") {
    refusal = EINVAL;
    times_asked = 0;
    CHECK_THAT(setup_failure({}, &failing_setup), ContainsSubstring("22 io_uring_setup: "));
    CHECK(times_asked >= 6);
}

TEST_CASE_METHOD(needs_ring, "sizes are halved until memory suffices", "[engine][setup]") {
    largest_entries = 64;
    largest_completions = 1024;
    uring_engine ring({}, &poor_setup);
    CHECK(ring.entry_capacity() == 64);
    CHECK(ring.completion_capacity() == 1024);
    check_works(ring);
}

TEST_CASE_METHOD(needs_ring,
                 "sizes are not halved below 4 entries and 8 completions", "[engine][setup]") {
    refusal = ENOMEM;
    CHECK_THAT(setup_failure({}, &failing_setup),
               ContainsSubstring("12 io_uring_setup: ") && ContainsSubstring("memory ("));
    CHECK(largest_entries == 4);
    CHECK(largest_completions == 8);
    setup_failure({.entries = 2, .completions = 2}, &failing_setup);
    CHECK(largest_entries == 2);
    CHECK(largest_completions == 2);
}

TEST_CASE_METHOD(needs_ring,
                 "memory that may not be locked makes a smaller ring or a named error",
                 "[engine][setup]") {
    CHECK(capacity_under(64 * 1024, 0) == "128");
    CHECK_THAT(capacity_under(0, 1),
               ContainsSubstring("thrown: io_uring_setup: Cannot allocate memory (") &&
                   ContainsSubstring("RLIMIT_MEMLOCK is 0 bytes: raise it by ulimit -l"));
}

TEST_CASE_METHOD(needs_ring,
                 "a lack of descriptors is an error that tells the limit", "[engine][setup]") {
    const std::string text = in_child([] {
        limit(RLIMIT_NOFILE, 3);
        return setup_failure();
    });
    CHECK_THAT(text, ContainsSubstring("24 io_uring_setup: ") &&
                         ContainsSubstring("RLIMIT_NOFILE is 3:") &&
                         ContainsSubstring("ulimit -n"));
    refusal = ENFILE;
    CHECK_THAT(setup_failure({}, &failing_setup), ContainsSubstring("fs.file-max"));
}

TEST_CASE_METHOD(needs_ring,
                 "another thread may not enter the ring, with or without one of its own",
                 "[engine][owner]") {
    uring_engine ring;
    const bool own = GENERATE(false, true);
    prepare(ring, IORING_OP_NOP, 1);
    std::string text;
    std::thread([&] {
        std::unique_ptr<uring_engine> other;
        if (own) other = std::make_unique<uring_engine>();
        try {
            ring.enter(engine::no_wait);
        } catch (const std::system_error& error) {
            text = error.what();
        }
    }).join();
    CHECK_THAT(text, ContainsSubstring("belongs to the thread that made it"));
    CHECK(ring.pending_entries() == 1);
    CHECK(ring.enter(engine::no_wait));
}

TEST_CASE_METHOD(needs_ring, "a forked child may not enter its parent's ring", "[engine][owner]") {
    uring_engine ring;
    const std::string text = in_child([&]() -> std::string {
        *ring.next_entry() = io_uring_sqe{};
        ring.enter(engine::no_wait);
        return "entered";
    });
    CHECK_THAT(text, ContainsSubstring("a forked child must make its own"));
    check_works(ring);
}

TEST_CASE_METHOD(needs_ring,
                 "a forked child may drop its parent's ring and use its own", "[engine][owner]") {
    // With SINGLE_ISSUER the kernel itself keeps the child from the parent's ring.
    refused_flags = GENERATE(0u, unsigned{IORING_SETUP_SINGLE_ISSUER});
    auto inherited = std::make_unique<uring_engine>(rondo::engine_options{}, &picky_setup);
    const std::string text = in_child([&] {
        uring_engine own;
        inherited.reset();
        *own.next_entry() = io_uring_sqe{};
        own.enter(engine::forever);
        return std::to_string(own.completions_end() - own.completions_begin());
    });
    CHECK(text == "1");
    check_works(*inherited);
}
