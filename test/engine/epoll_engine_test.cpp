// What only epoll_engine promises; what it shares with the ring is in engine_contract_test.cpp.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/abi.hpp>
#include <rondo/engine/epoll_engine.hpp>
#include <rondo/log.hpp>

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using rondo::completion;
using rondo::engine;
using rondo::epoll_engine;
using rondo::detail::unique_fd;

namespace {

using clock_type = std::chrono::steady_clock;

constexpr std::uint32_t more = IORING_CQE_F_MORE;

io_uring_sqe& prepare(engine& on, int opcode, std::uint64_t user_data, int descriptor = -1) {
    io_uring_sqe* entry = on.next_entry();
    if (entry == nullptr) {
        on.enter(engine::no_wait);
        entry = on.next_entry();
    }
    REQUIRE(entry != nullptr);
    *entry = io_uring_sqe{};
    entry->opcode = static_cast<std::uint8_t>(opcode);
    entry->fd = descriptor;
    entry->user_data = user_data;
    return *entry;
}

io_uring_sqe& transfer(engine& on, int opcode, std::uint64_t user_data, int descriptor,
                       const void* data, std::size_t size, int flags = 0) {
    io_uring_sqe& entry = prepare(on, opcode, user_data, descriptor);
    entry.addr = reinterpret_cast<std::uintptr_t>(data);
    entry.len = static_cast<std::uint32_t>(size);
    entry.msg_flags = static_cast<std::uint32_t>(flags);
    return entry;
}

void arm(engine& on, std::uint64_t user_data, int descriptor) {
    io_uring_sqe& entry = prepare(on, IORING_OP_RECV, user_data, descriptor);
    entry.ioprio = IORING_RECV_MULTISHOT;
    entry.flags = IOSQE_BUFFER_SELECT;
    entry.buf_group = 1;
}

void cancel(engine& on, std::uint64_t user_data, std::uint64_t target) {
    prepare(on, IORING_OP_ASYNC_CANCEL, user_data).addr = target;
}

std::vector<completion> reap(engine& on) {
    std::vector<completion> seen;
    const unsigned end = on.completions_end();
    for (unsigned i = on.completions_begin(); i != end; ++i) seen.push_back(on.completion_at(i));
    on.completions_consumed(end);
    return seen;
}

/// What one turn brings; a signal that cuts the wait short does not end it.
std::vector<completion> turn(engine& on, engine::duration timeout = engine::no_wait) {
    const auto start = clock_type::now();
    on.enter(timeout);
    auto seen = reap(on);
    while (seen.empty() && timeout != engine::no_wait && clock_type::now() - start < 5s) {
        on.enter(timeout);
        seen = reap(on);
    }
    return seen;
}

/// Buffer group 1: 256 slots, each with a buffer of one size.
class buffers {
public:
    static constexpr unsigned entries = 256;

    buffers(engine& on, std::size_t size)
        : on_(on),
          size_(size),
          data_(entries * size),
          slots_(static_cast<rondo::abi::buffer_slot*>(
              ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
        REQUIRE_FALSE(on.register_buffer_ring(1, slots_, entries));
    }
    buffers(const buffers&) = delete;
    buffers& operator=(const buffers&) = delete;
    ~buffers() {
        on_.unregister_buffer_ring(1);
        ::munmap(slots_, 4096);
    }

    void give(unsigned count) {
        for (; count != 0; --count, ++tail_) {
            const std::uint16_t id = tail_ % entries;
            slots_[id].address = reinterpret_cast<std::uintptr_t>(data_.data() + id * size_);
            slots_[id].length = static_cast<std::uint32_t>(size_);
            slots_[id].id = id;
        }
        std::atomic_ref<std::uint16_t>(slots_[0].reserved).store(tail_, std::memory_order_release);
    }

    std::string text(const completion& c) const {
        if ((c.flags & IORING_CQE_F_BUFFER) == 0) return {};
        return {data_.data() + (c.flags >> IORING_CQE_BUFFER_SHIFT) * size_,
                static_cast<std::size_t>(c.result)};
    }

private:
    engine& on_;
    const std::size_t size_;
    std::vector<char> data_;
    rondo::abi::buffer_slot* slots_;
    std::uint16_t tail_ = 0;
};

struct pair {
    unique_fd a;
    unique_fd b;
};

pair unix_pair(int mode = SOCK_NONBLOCK) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | mode, 0, ends) == 0);
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}

struct listening {
    ::sockaddr_in address{};
    unique_fd socket;

    explicit listening(int mode = SOCK_NONBLOCK)
        : socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | mode, 0)) {
        ::socklen_t size = sizeof address;
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        REQUIRE(::bind(socket.get(), name(), size) == 0);
        REQUIRE(::listen(socket.get(), 128) == 0);
        REQUIRE(::getsockname(socket.get(), name(), &size) == 0);
    }

    ::sockaddr* name() { return reinterpret_cast<::sockaddr*>(&address); }

    unique_fd client() {
        unique_fd made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::connect(made.get(), name(), sizeof address) == 0);
        return made;
    }
};

pair tcp_pair() {
    listening at;
    unique_fd client = at.client();
    unique_fd served(::accept4(at.socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    REQUIRE(served.get() >= 0);
    return {std::move(served), std::move(client)};
}

void write_to(const unique_fd& to, std::string_view text) {
    REQUIRE(::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(text.size()));
}

/// Writes and sees it arrive: TCP may take its time even on one machine.
void pass(const pair& ends, std::string_view text) {
    write_to(ends.b, text);
    std::vector<char> seen(text.size());
    const auto start = clock_type::now();
    ssize_t there = 0;
    while (there < static_cast<ssize_t>(text.size())) {
        REQUIRE(clock_type::now() - start < 5s);
        ::pollfd state{ends.a.get(), POLLIN, 0};
        ::poll(&state, 1, 1000);
        there = ::recv(ends.a.get(), seen.data(), seen.size(), MSG_PEEK | MSG_DONTWAIT);
    }
}

/// Whether any epoll set of this process holds that number.
bool is_watched(int number) {
    bool found = false;
    for (const auto& file : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
        std::ifstream lines(file.path());
        for (std::string line; std::getline(lines, line);) {
            found = found || (line.starts_with("tfd:") && std::stoi(line.substr(4)) == number);
        }
    }
    return found;
}

/// What `action` returns in a forked child, where filters and limits harm nobody else.
template <class Action>
std::string in_child(Action action) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const unique_fd reader(ends[0]);
    unique_fd writer(ends[1]);
    const ::pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        std::string text;
        try {
            text = action();
        } catch (const std::exception& error) {
            text = error.what();
        }
        const ssize_t written = ::write(writer.get(), text.data(), text.size());
        ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
    }
    writer.reset();
    std::string text;
    std::array<char, 256> part{};
    for (ssize_t got; (got = ::read(reader.get(), part.data(), part.size())) > 0;) {
        text.append(part.data(), static_cast<std::size_t>(got));
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    return text;
}

/// From here on that system call fails with `error`, in this process for good.
bool refuse(std::uint32_t call, unsigned error) {
    ::sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(::seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const ::sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

}  // namespace

// Set-up

TEST_CASE("what is switched off is refused, as a kernel refuses what it does not know",
          "[engine][epoll][feature]") {
    epoll_engine off({.without = rondo::feature_set::all()});
    CHECK(off.features().empty());
    const pair ends = unix_pair();
    io_uring_sqe& receive = prepare(off, IORING_OP_RECV, 1, ends.a.get());
    receive.ioprio = IORING_RECV_MULTISHOT;
    receive.flags = IOSQE_BUFFER_SELECT;
    prepare(off, IORING_OP_ACCEPT, 2, ends.a.get()).ioprio = IORING_ACCEPT_MULTISHOT;
    prepare(off, IORING_OP_POLL_ADD, 3, ends.a.get()).len = IORING_POLL_ADD_MULTI;
    prepare(off, IORING_OP_NOP, 4).flags = IOSQE_CQE_SKIP_SUCCESS;
    prepare(off, IORING_OP_NOP, 5);
    off.enter(engine::no_wait);
    std::vector<int> results;
    off.reap([&](const completion& each) { results.push_back(each.result); });
    CHECK(results == std::vector<int>{-EINVAL, -EINVAL, -EINVAL, -EINVAL, 0});

    epoll_engine unlimited({.without = rondo::feature::receive_limit});
    io_uring_sqe& limited = prepare(unlimited, IORING_OP_RECV, 1, ends.a.get());
    limited.ioprio = IORING_RECV_MULTISHOT;
    limited.flags = IOSQE_BUFFER_SELECT;
    limited.file_index = 4096;
    unlimited.enter(engine::no_wait);
    results.clear();
    unlimited.reap([&](const completion& each) { results.push_back(each.result); });
    CHECK(results == std::vector<int>{-EINVAL});
}

#ifdef SYS_epoll_wait
constexpr std::uint32_t waiting_call = SYS_epoll_wait;
#else
constexpr std::uint32_t waiting_call = SYS_epoll_pwait;  // what newer architectures have
#endif

TEST_CASE("a failed set-up names the call and the remedy", "[engine][epoll]") {
    struct shortage {
        const char* call;
        std::uint32_t number;
        unsigned error;
        const char* remedy;
    };
    const shortage met = GENERATE(values<shortage>(
        {{"epoll_create1", SYS_epoll_create1, EMFILE, "ulimit -n"},
         {"epoll_create1", SYS_epoll_create1, ENFILE, "fs.file-max"},
         {"epoll_create1", SYS_epoll_create1, ENOMEM, "out of memory"},
         {"epoll_create1", SYS_epoll_create1, EPERM, "a seccomp filter forbids it"},
         {"epoll_ctl", SYS_epoll_ctl, EPERM, "a seccomp filter forbids it"},
         {"epoll_wait", waiting_call, ENOSYS, "a seccomp filter forbids it"}}));
    const std::string text = in_child([met]() -> std::string {
        if (!refuse(met.number, met.error)) return "no filter";
        epoll_engine subject;
        return "no error";
    });
    if (text == "no filter") SKIP("seccomp filters are not to be had");
    CHECK_THAT(text, ContainsSubstring(std::string(met.call) + ": "));
    CHECK_THAT(text, ContainsSubstring(std::strerror(static_cast<int>(met.error))));
    CHECK_THAT(text, ContainsSubstring(met.remedy));
}

TEST_CASE("any queue size asked for is rounded up", "[engine][epoll]") {
    epoll_engine subject({.entries = 5, .completions = 0});
    CHECK(subject.entry_capacity() == 8);
    CHECK(subject.completion_capacity() == 1);
    for (std::uint64_t n = 0; n < 8; ++n) prepare(subject, IORING_OP_NOP, n);
    for (std::uint64_t n = 0; n < 8; ++n) {
        const auto seen = turn(subject);
        REQUIRE(seen.size() == 1);
        CHECK(seen[0].user_data == n);
    }
}

TEST_CASE("a kernel without epoll_pwait2 is waited on in milliseconds", "[engine][epoll]") {
    const std::string text = in_child([]() -> std::string {
        if (!refuse(SYS_epoll_pwait2, ENOSYS)) return "no filter";
        epoll_engine subject;
        const auto start = clock_type::now();
        subject.enter(300us);
        return clock_type::now() - start >= 1ms ? "waited" : "returned early";
    });
    if (text == "no filter") SKIP("seccomp filters are not to be had");
    CHECK(text == "waited");
}

TEST_CASE("what epoll does not watch after all is not waited for", "[engine][epoll]") {
    const std::string text = in_child([]() -> std::string {
        epoll_engine subject;
        const pair ends = unix_pair();
        std::array<char, 4> in{};
        transfer(subject, IORING_OP_RECV, 1, ends.a.get(), in.data(), in.size());
        turn(subject);  // watched from now on
        write_to(ends.b, "abcd");
        if (turn(subject, 5s).size() != 1) return "nothing received";
        if (!refuse(SYS_epoll_ctl, ENOENT)) return "no filter";
        // Of an event that is not watched for yet: it is asked for in vain, in both ways.
        prepare(subject, IORING_OP_POLL_ADD, 2, ends.a.get()).poll32_events = POLLRDBAND;
        auto seen = turn(subject);
        if (seen.size() != 1 || seen[0].result != -ENOENT) return "the poll waits";
        transfer(subject, IORING_OP_RECV, 3, ends.a.get(), in.data(), in.size());
        seen = turn(subject);
        if (seen.size() != 1 || seen[0].result != -ENOENT) return "the receive waits";
        return "both failed";
    });
    if (text == "no filter") SKIP("seccomp filters are not to be had");
    CHECK(text == "both failed");
}

namespace {
std::string logged;
}  // namespace

TEST_CASE("where no helper thread is to be had files fail, and the log says why",
          "[engine][epoll][file]") {
    const std::string text = in_child([]() -> std::string {
        if (!refuse(SYS_clone, EAGAIN) || !refuse(SYS_clone3, EAGAIN)) return "no filter";
        rondo::set_log([](std::string_view line) noexcept { logged += std::string(line) + '\n'; });
        epoll_engine subject;
        for (std::uint64_t n = 1; n != 3; ++n) {
            io_uring_sqe& entry = prepare(subject, IORING_OP_OPENAT, n, AT_FDCWD);
            entry.addr = reinterpret_cast<std::uintptr_t>("/dev/null");
            entry.open_flags = O_RDONLY | O_CLOEXEC;
            const auto seen = turn(subject, 5s);
            if (seen.size() != 1 || seen[0].result != -ENOMEM) return "it does not fail";
        }
        return logged;
    });
    if (text == "no filter") SKIP("seccomp filters are not to be had");
    CHECK_THAT(text, ContainsSubstring("thread"));
    CHECK_THAT(text, ContainsSubstring(std::strerror(EAGAIN)));
    CHECK(std::ranges::count(text, '\n') == 1);
}

// Blocking descriptors

TEST_CASE("nothing blocks on blocking sockets", "[engine][epoll]") {
    epoll_engine subject;
    const pair ends = unix_pair(0);
    listening at(0);
    const std::vector<char> data(4 << 20, 'd');
    std::array<char, 4> in{};
    ::iovec part{in.data(), in.size()};
    ::msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    transfer(subject, IORING_OP_RECV, 1, ends.a.get(), in.data(), in.size());
    transfer(subject, IORING_OP_RECVMSG, 2, ends.b.get(), &header, 1);
    transfer(subject, IORING_OP_SEND, 3, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    prepare(subject, IORING_OP_ACCEPT, 4, at.socket.get()).ioprio = IORING_ACCEPT_MULTISHOT;
    const auto start = clock_type::now();
    auto seen = turn(subject);
    const unique_fd client = at.client();
    for (int i = 0; i < 4; ++i) {
        for (const completion& c : turn(subject)) seen.push_back(c);
    }
    CHECK(clock_type::now() - start < 5s);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].user_data == 2);
    CHECK(seen[0].result == 4);
    CHECK(seen[1].user_data == 4);
    const unique_fd served(seen[1].result);
    CHECK(served.get() >= 0);
    CHECK((::fcntl(ends.a.get(), F_GETFL) & O_NONBLOCK) == 0);
    CHECK((::fcntl(at.socket.get(), F_GETFL) & O_NONBLOCK) == 0);
}

// Steady state

TEST_CASE("a descriptor is registered once however many messages pass", "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 64);
    const pair ends = GENERATE(true, false) ? tcp_pair() : unix_pair();
    arm(subject, 1, ends.a.get());
    turn(subject);
    CHECK(subject.control_calls() == 1);
    std::array<char, 8> back{};
    for (int n = 0; n < 500; ++n) {
        pool.give(1);
        write_to(ends.b, "message");
        const auto seen = turn(subject, 5s);
        REQUIRE(seen.size() == 1);
        CHECK(pool.text(seen[0]) == "message");
        CHECK((seen[0].flags & more) != 0);
        transfer(subject, IORING_OP_SEND, 2, ends.a.get(), "message", 7, MSG_WAITALL).flags =
            IOSQE_CQE_SKIP_SUCCESS;
        CHECK(turn(subject).empty());
        REQUIRE(::recv(ends.b.get(), back.data(), back.size(), 0) == 7);
    }
    CHECK(subject.control_calls() == 1);
}

TEST_CASE("many ready descriptors cost one wait", "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 64);
    std::vector<pair> pairs;
    for (std::uint64_t n = 0; n < 100; ++n) {
        pairs.push_back(unix_pair());
        arm(subject, n, pairs.back().a.get());
    }
    turn(subject);
    pool.give(100);
    for (const pair& ends : pairs) write_to(ends.b, "x");
    const std::uint64_t before = subject.wait_calls();
    CHECK(turn(subject, 5s).size() == 100);
    CHECK(subject.wait_calls() == before + 1);
    CHECK(subject.control_calls() == 100);
}

TEST_CASE("what completes at once is not waited for", "[engine][epoll]") {
    epoll_engine subject;
    const pair ends = unix_pair();
    char byte = 0;
    transfer(subject, IORING_OP_RECV, 1, ends.a.get(), &byte, 1);
    turn(subject);
    const std::uint64_t before = subject.wait_calls();
    transfer(subject, IORING_OP_SEND, 2, ends.a.get(), "x", 1);
    CHECK(turn(subject, 10s).size() == 1);
    CHECK(subject.wait_calls() == before);
}

TEST_CASE("turns that are busy do not keep others from their readiness", "[engine][epoll]") {
    epoll_engine subject;
    const pair ends = unix_pair();
    char byte = 0;
    transfer(subject, IORING_OP_RECV, 1, ends.a.get(), &byte, 1);
    turn(subject);
    write_to(ends.b, "x");
    bool received = false;
    for (int turns = 0; turns < 6; ++turns) {
        prepare(subject, IORING_OP_NOP, 2);
        for (const completion& c : turn(subject)) received = received || c.user_data == 1;
    }
    CHECK(received);
}

TEST_CASE("enter makes no call while nothing waits for readiness", "[engine][epoll]") {
    epoll_engine subject;
    const pair ends = unix_pair();
    char byte = 0;
    transfer(subject, IORING_OP_RECV, 1, ends.a.get(), &byte, 1);
    CHECK(subject.enter(engine::no_wait));
    CHECK(subject.enter(engine::no_wait));
    cancel(subject, 2, 1);
    CHECK_FALSE(subject.enter(engine::no_wait));
    CHECK(reap(subject).size() == 2);
    CHECK_FALSE(subject.enter(engine::no_wait));
}

// Fairness

TEST_CASE("a descriptor delivers 32 buffers a turn and goes on in the next without waiting",
          "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 1);
    pool.give(256);
    std::array<pair, 2> pairs{tcp_pair(), unix_pair()};
    const bool waiting = GENERATE(true, false);
    const auto fill = [&] {
        for (const pair& ends : pairs) pass(ends, std::string(100, 'x'));
    };
    if (!waiting) fill();
    arm(subject, 0, pairs[0].a.get());
    arm(subject, 1, pairs[1].a.get());
    if (waiting) {
        CHECK(turn(subject).empty());
        fill();
    }
    for (const std::size_t expected : {32u, 32u, 32u, 4u}) {
        const auto seen = turn(subject, 5s);
        for (std::uint64_t n = 0; n < 2; ++n) {
            const auto of_n = [n](const completion& c) { return c.user_data == n; };
            CHECK(static_cast<std::size_t>(std::count_if(seen.begin(), seen.end(), of_n)) ==
                  expected);
        }
        for (const completion& c : seen) CHECK(c.flags >> IORING_CQE_BUFFER_SHIFT < 256);
    }
    CHECK(turn(subject).empty());
}

TEST_CASE("a receive stopped by its share can be cancelled at once", "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 1);
    pool.give(256);
    const pair ends = tcp_pair();
    pass(ends, std::string(100, 'x'));
    arm(subject, 1, ends.a.get());
    CHECK(turn(subject).size() == 32);
    cancel(subject, 2, 1);
    auto seen = turn(subject);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].result == -ECANCELED);
    CHECK(seen[1].result == 0);
    // What is left needs no further edge.
    arm(subject, 3, ends.a.get());
    seen = turn(subject, 5s);
    CHECK(seen.size() == 32);
    prepare(subject, IORING_OP_CLOSE, 4, ::dup(ends.a.get()));
    CHECK(turn(subject).size() == 33);
}

TEST_CASE("more ready descriptors than one wait tells of are all served", "[engine][epoll]") {
    epoll_engine subject;
    std::vector<pair> pairs;
    std::array<char, 300> in{};
    for (std::uint64_t n = 0; n < in.size(); ++n) {
        pairs.push_back(unix_pair());
        transfer(subject, IORING_OP_RECV, n, pairs.back().a.get(), &in[n], 1);
    }
    turn(subject);
    for (const pair& ends : pairs) write_to(ends.b, "x");
    std::size_t count = 0;
    while (count < in.size()) {
        const auto seen = turn(subject, 5s);
        REQUIRE_FALSE(seen.empty());
        count += seen.size();
    }
    CHECK(std::count(in.begin(), in.end(), 'x') == 300);
}

// Edges that do not come

namespace {

/// A descriptor with four bytes, and five more bytes behind them.
void send_with_descriptor(const unique_fd& by) {
    alignas(::cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    char text[] = "with";
    ::iovec part{text, 4};
    ::msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    ::cmsghdr* passed = CMSG_FIRSTHDR(&header);
    passed->cmsg_level = SOL_SOCKET;
    passed->cmsg_type = SCM_RIGHTS;
    passed->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = by.get();
    std::memcpy(CMSG_DATA(passed), &number, sizeof number);
    REQUIRE(::sendmsg(by.get(), &header, 0) == 4);
    write_to(by, "after");
}

/// As much as comes, up to `size` bytes.
std::string received(epoll_engine& subject, const buffers& pool, std::size_t size) {
    std::string got;
    while (got.size() < size) {
        const auto seen = turn(subject, 5s);
        REQUIRE_FALSE(seen.empty());
        for (const completion& c : seen) got += pool.text(c);
    }
    return got;
}

}  // namespace

TEST_CASE("a receive cut short by passed descriptors is not taken for the last",
          "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 64);
    pool.give(8);
    const pair ends = unix_pair();
    arm(subject, 1, ends.a.get());
    turn(subject);
    send_with_descriptor(ends.b);
    CHECK(received(subject, pool, 9) == "withafter");
}

TEST_CASE("the number of a connection that nobody used tells nothing of its next owner",
          "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 64);
    pool.give(8);
    listening at;
    const unique_fd client = at.client();
    prepare(subject, IORING_OP_ACCEPT, 7, at.socket.get());
    const auto accepted = turn(subject, 5s);
    REQUIRE(accepted.size() == 1);
    const int number = accepted[0].result;
    REQUIRE(number >= 0);
    REQUIRE(::close(number) == 0);
    pair ends = unix_pair();
    if (ends.a.get() != number) {
        REQUIRE(::dup3(ends.a.get(), number, O_CLOEXEC) == number);
        ends.a.reset(number);
    }
    arm(subject, 1, number);
    turn(subject);
    send_with_descriptor(ends.b);
    CHECK(received(subject, pool, 9) == "withafter");
}

TEST_CASE("a receive cut short by an urgent byte is not taken for the last", "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 64);
    pool.give(8);
    const pair ends = tcp_pair();
    arm(subject, 1, ends.a.get());
    turn(subject);
    write_to(ends.b, "before");
    REQUIRE(::send(ends.b.get(), "!", 1, MSG_OOB) == 1);
    write_to(ends.b, "after");
    CHECK(received(subject, pool, 11) == "beforeafter");
}

TEST_CASE("the end of a stream that came with its last bytes is told", "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 64);
    pool.give(8);
    pair ends = tcp_pair();
    const bool registered = GENERATE(true, false);
    if (registered) {
        arm(subject, 1, ends.a.get());
        turn(subject);
    }
    write_to(ends.b, "last");
    ends.b.reset();
    if (!registered) arm(subject, 1, ends.a.get());
    std::vector<completion> seen;
    while (seen.size() < 2) {
        const auto some = turn(subject, 5s);
        REQUIRE_FALSE(some.empty());
        seen.insert(seen.end(), some.begin(), some.end());
    }
    CHECK(pool.text(seen[0]) == "last");
    CHECK(seen[1].result == 0);
    CHECK((seen[1].flags & more) == 0);
}

// Buffers

TEST_CASE("an empty buffer ring is an error only when there is data", "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 64);
    const pair ends = tcp_pair();
    const pair ended = tcp_pair();
    arm(subject, 1, ends.a.get());
    arm(subject, 2, ended.a.get());
    CHECK(turn(subject).empty());
    REQUIRE(::shutdown(ended.b.get(), SHUT_WR) == 0);
    auto seen = turn(subject, 5s);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user_data == 2);
    CHECK(seen[0].result == 0);
    write_to(ends.b, "x");
    seen = turn(subject, 5s);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user_data == 1);
    CHECK(seen[0].result == -ENOBUFS);
    pool.give(1);
    arm(subject, 3, ends.a.get());
    seen = turn(subject, 5s);
    REQUIRE(seen.size() == 1);
    CHECK(pool.text(seen[0]) == "x");
}

TEST_CASE("the last buffer filled to the brim is no error", "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 4);
    pool.give(1);
    const pair ends = tcp_pair();
    write_to(ends.b, "full");
    arm(subject, 1, ends.a.get());
    const auto seen = turn(subject, 5s);
    REQUIRE(seen.size() == 1);
    CHECK(pool.text(seen[0]) == "full");
    CHECK((seen[0].flags & more) != 0);
    CHECK(turn(subject).empty());
}

// Numbers

TEST_CASE("close ends the requests of its descriptor", "[engine][epoll]") {
    epoll_engine subject;
    pair ends = unix_pair();
    std::array<char, 4> in{};
    transfer(subject, IORING_OP_RECV, 1, ends.a.get(), in.data(), in.size());
    prepare(subject, IORING_OP_POLL_ADD, 2, ends.a.get()).poll32_events = POLLIN;
    turn(subject);
    prepare(subject, IORING_OP_CLOSE, 3, ends.a.release());
    const auto seen = turn(subject);
    REQUIRE(seen.size() == 3);
    CHECK(seen[0].result == -ECANCELED);
    CHECK(seen[1].result == -ECANCELED);
    CHECK(seen[2].result == 0);
}

TEST_CASE("an accepted number carries nothing over from who had it before", "[engine][epoll]") {
    epoll_engine subject;
    buffers pool(subject, 64);
    pool.give(8);
    listening at;
    pair old = unix_pair();
    const int number = old.a.get();
    arm(subject, 1, number);
    CHECK(turn(subject).empty());
    cancel(subject, 2, 1);
    turn(subject);
    // Closed behind the engine's back, while a duplicate keeps the open file alive.
    const unique_fd duplicate(::fcntl(number, F_DUPFD_CLOEXEC, 200));
    old.a.reset();
    const unique_fd client(::fcntl(at.client().get(), F_DUPFD_CLOEXEC, 200));
    prepare(subject, IORING_OP_ACCEPT, 3, at.socket.get());
    auto seen = turn(subject, 5s);
    REQUIRE(seen.size() == 1);
    REQUIRE(seen[0].result == number);
    const unique_fd served(seen[0].result);
    arm(subject, 4, number);
    CHECK(turn(subject).empty());
    write_to(old.b, "stale");
    CHECK(turn(subject).empty());
    write_to(client, "fresh");
    seen = turn(subject, 5s);
    REQUIRE(seen.size() == 1);
    CHECK(pool.text(seen[0]) == "fresh");
}

TEST_CASE("events of a closed number do not reach who has it now", "[engine][epoll]") {
    epoll_engine subject;
    const pair old = unix_pair();
    const int number = ::fcntl(old.a.get(), F_DUPFD_CLOEXEC, 200);
    REQUIRE(number >= 0);
    prepare(subject, IORING_OP_POLL_ADD, 1, number).poll32_events = POLLIN;
    turn(subject);
    // old.a keeps the open file in epoll's set, under the number that is closed here.
    prepare(subject, IORING_OP_CLOSE, 2, number);
    CHECK(turn(subject).size() == 2);
    const pair fresh = unix_pair();
    const unique_fd again(::fcntl(fresh.a.get(), F_DUPFD_CLOEXEC, number));
    REQUIRE(again.get() == number);
    prepare(subject, IORING_OP_POLL_ADD, 3, number).poll32_events = POLLIN;
    turn(subject);
    write_to(old.b, "stale");
    CHECK(turn(subject).empty());
    write_to(fresh.b, "x");
    const auto seen = turn(subject, 5s);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user_data == 3);
}

TEST_CASE("forget takes a descriptor out of the set", "[engine][epoll]") {
    epoll_engine subject;
    const pair ends = unix_pair();
    subject.forget(ends.a.get());
    subject.forget(-1);
    CHECK(subject.control_calls() == 0);
    char byte = 0;
    transfer(subject, IORING_OP_RECV, 1, ends.a.get(), &byte, 1);
    turn(subject);
    cancel(subject, 2, 1);
    turn(subject);
    CHECK(is_watched(ends.a.get()));
    subject.forget(ends.a.get());
    CHECK_FALSE(is_watched(ends.a.get()));
    CHECK(subject.control_calls() == 2);
}

TEST_CASE("cancelling n of n waiting requests is not quadratic", "[engine][epoll]") {
    epoll_engine subject({.entries = 4096, .completions = 65536});
    const pair ends = unix_pair();
    const auto cancel_all = [&](std::uint64_t count) {
        for (std::uint64_t n = 0; n < count; ++n) {
            prepare(subject, IORING_OP_POLL_ADD, n * 256, ends.a.get()).poll32_events = POLLIN;
        }
        turn(subject);
        const auto start = clock_type::now();
        std::size_t seen = 0;
        for (std::uint64_t n = 0; n < count; ++n) {
            if (subject.pending_entries() == subject.entry_capacity()) seen += turn(subject).size();
            cancel(subject, count * 256, n * 256);
        }
        seen += turn(subject).size();
        CHECK(seen == 2 * count);
        return clock_type::now() - start;
    };
    cancel_all(1000);
    auto few = clock_type::duration::max();
    auto many = clock_type::duration::max();
    for (int i = 0; i < 3; ++i) {
        few = std::min(few, cancel_all(1000));
        many = std::min(many, cancel_all(100000));
    }
    // 100 times the work, and more for what the caches do not hold; a search through what waits
    // would make it 10,000 times.
    CHECK(many < few * 2000);
}
