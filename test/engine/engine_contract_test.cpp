// What every engine promises, held against each of them through the interface alone.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <rondo/detail/unique_fd.hpp>

#include <support/engine_driver.hpp>

using namespace rondo::test;
using namespace std::chrono_literals;
using rondo::completion;
using rondo::engine;
using rondo::engine_options;
using rondo::feature;
using rondo::detail::unique_fd;

namespace {

struct loopback {
    ::sockaddr_in address{};
    ::socklen_t size = sizeof(::sockaddr_in);

    ::sockaddr* get() { return reinterpret_cast<::sockaddr*>(&address); }
    std::uint64_t number() { return reinterpret_cast<std::uintptr_t>(&address); }
};

unique_fd tcp_socket() {
    unique_fd made(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    REQUIRE(made.get() >= 0);
    return made;
}

unique_fd tcp_listener(loopback& at, int backlog = 128) {
    unique_fd listener = tcp_socket();
    at.address.sin_family = AF_INET;
    at.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(listener.get(), at.get(), at.size) == 0);
    REQUIRE(::listen(listener.get(), backlog) == 0);
    REQUIRE(::getsockname(listener.get(), at.get(), &at.size) == 0);
    return listener;
}

/// A client whose connection the kernel has made; it waits in the listener's queue.
unique_fd tcp_client(loopback& at) {
    unique_fd client = tcp_socket();
    if (::connect(client.get(), at.get(), at.size) != 0) {
        REQUIRE(errno == EINPROGRESS);
        ::pollfd state{client.get(), POLLOUT, 0};
        REQUIRE(::poll(&state, 1, 5000) == 1);
    }
    return client;
}

pair tcp_pair() {
    loopback at;
    const unique_fd listener = tcp_listener(at);
    unique_fd client = tcp_client(at);
    unique_fd served(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    REQUIRE(served.get() >= 0);
    // Fixed sizes do not grow under way: what is full stays full.
    const int size = 1 << 17;
    for (const int number : {served.get(), client.get()}) {
        for (const int name : {SO_SNDBUF, SO_RCVBUF}) {
            REQUIRE(::setsockopt(number, SOL_SOCKET, name, &size, sizeof size) == 0);
        }
    }
    return {std::move(served), std::move(client)};
}

pair either_pair() { return GENERATE(true, false) ? tcp_pair() : unix_pair(); }

void write_to(const unique_fd& to, std::string_view text) {
    REQUIRE(::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(text.size()));
}

/// What can be read now, at most `most` bytes.
std::string read_from(const unique_fd& from, std::size_t most = 1 << 20) {
    std::string text(most, '\0');
    const ssize_t got = ::recv(from.get(), text.data(), most, MSG_DONTWAIT);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
}

/// Sends until the socket takes no more; returns how much that was.
std::size_t fill_up(const unique_fd& to) {
    const std::vector<char> data(4096, 'f');
    std::size_t total = 0;
    // On TCP an acknowledgement under way may make room once more.
    ::pollfd state{to.get(), POLLOUT, 0};
    do {
        ssize_t sent = 0;
        while ((sent = ::send(to.get(), data.data(), data.size(), MSG_DONTWAIT)) > 0) {
            total += static_cast<std::size_t>(sent);
        }
        REQUIRE(errno == EAGAIN);
    } while (::poll(&state, 1, 10) == 1);
    return total;
}

/// Waits until `size` bytes lie there: TCP may take its time even on one machine.
void await_arrival(const unique_fd& at, std::size_t size) {
    std::vector<char> seen(size);
    const auto deadline = clock_type::now() + 10s;
    ssize_t there = 0;
    while (there < static_cast<ssize_t>(size)) {
        REQUIRE(clock_type::now() < deadline);
        ::pollfd state{at.get(), POLLIN, 0};
        ::poll(&state, 1, 1000);
        there = ::recv(at.get(), seen.data(), size, MSG_PEEK | MSG_DONTWAIT);
    }
}

void reset(unique_fd& socket) {
    const ::linger hard{1, 0};
    REQUIRE(::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0);
    socket.reset();
}

std::vector<char> pattern(std::size_t size) {
    std::vector<char> data(size);
    for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<char>(i * 7 + i / 251);
    return data;
}

/// Turns, reading `peer` empty after each, until that request has completed.
std::string drain_until(driver& on, const unique_fd& peer, std::uint64_t user_data) {
    std::string got;
    on.until([&] {
        got += read_from(peer);
        return !on.of(user_data).empty();
    });
    for (std::string part; !(part = read_from(peer)).empty();) got += part;
    return got;
}

std::string concatenate(const std::vector<completion>& parts, const buffers& pool) {
    std::string all;
    for (const completion& c : parts) {
        if ((c.flags & with_buffer) != 0) all += pool.text(c);
    }
    return all;
}

}  // namespace

// Nothing, and nonsense

TEST_CASE("a no-op completes with 0 and its user_data", "[engine][contract]") {
    driver on;
    on.prepare(IORING_OP_NOP, 0xfeedfacecafebeef);
    CHECK(on.get().pending_entries() == 1);
    const completion c = on.wait(0xfeedfacecafebeef);
    CHECK(on.get().pending_entries() == 0);
    CHECK(c.result == 0);
    CHECK(c.flags == 0);
}

TEST_CASE("an unknown opcode completes with EINVAL and holds up nothing", "[engine][contract]") {
    driver on;
    on.prepare(250, 1);
    on.prepare(IORING_OP_NOP, 2);
    CHECK(on.wait(2).result == 0);
    CHECK(on.wait(1).result == -EINVAL);
}

TEST_CASE("a request on no descriptor completes with EBADF", "[engine][contract]") {
    driver on;
    std::array<char, 4> data{};
    const int number = GENERATE(-1, 987654321);
    on.recv(1, number, data.data(), data.size());
    on.send(2, number, data.data(), data.size());
    on.poll(3, number, POLLIN);
    on.prepare(IORING_OP_ACCEPT, 4, number);
    on.prepare(IORING_OP_CLOSE, 5, number);
    for (std::uint64_t n = 1; n <= 5; ++n) CHECK(on.wait(n).result == -EBADF);
}

TEST_CASE("a request on a closed number completes with EBADF", "[engine][contract]") {
    driver on;
    pair ends = unix_pair();
    const int number = ends.a.get();
    ends.a.reset();
    std::array<char, 4> data{};
    on.recv(1, number, data.data(), data.size());
    on.poll(2, number, POLLIN);
    CHECK(on.wait(1).result == -EBADF);
    CHECK(on.wait(2).result == -EBADF);
}

TEST_CASE("socket requests on something else complete with ENOTSOCK", "[engine][contract]") {
    driver on;
    const unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    std::array<char, 4> data{};
    on.recv(1, file.get(), data.data(), data.size());
    on.send(2, file.get(), data.data(), data.size());
    on.prepare(IORING_OP_ACCEPT, 3, file.get());
    for (std::uint64_t n = 1; n <= 3; ++n) CHECK(on.wait(n).result == -ENOTSOCK);
}

// Order and queues

TEST_CASE("entries are carried out in their order", "[engine][contract]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 8> data{};
    on.send(1, ends.b.get(), "one", 3);
    on.recv(2, ends.a.get(), data.data(), data.size());
    on.send(3, ends.b.get(), "two", 3);
    on.wait(3);
    CHECK(on.wait(1).result == 3);
    CHECK(on.wait(2).result == 3);
    CHECK(std::string_view(data.data(), 3) == "one");
}

TEST_CASE("a full submission queue gives no entry until enter made room", "[engine][contract]") {
    driver on({.entries = 4, .completions = 64});
    engine& subject = on.get();
    REQUIRE(subject.entry_capacity() == 4);
    for (int round = 0; round < 5; ++round) {
        for (std::uint64_t n = 0; n < 4; ++n) on.prepare(IORING_OP_NOP, n);
        CHECK(subject.next_entry() == nullptr);
        CHECK(subject.pending_entries() == 4);
        on.enter(engine::no_wait);
        CHECK(subject.pending_entries() == 0);
    }
    on.until([&] { return on.seen().size() == 20; });
    for (std::size_t i = 0; i < 20; ++i) CHECK(on.seen()[i].user_data == i % 4);
}

TEST_CASE("a completion queue that runs over loses nothing", "[engine][contract]") {
    driver on({.entries = 4, .completions = 8});
    REQUIRE(on.get().completion_capacity() == 8);
    constexpr std::uint64_t count = 100;
    for (std::uint64_t n = 0; n < count; ++n) on.prepare(IORING_OP_NOP, n);
    on.until([&] { return on.seen().size() == count; });
    for (std::size_t i = 0; i < count; ++i) CHECK(on.seen()[i].user_data == i);
    CHECK(on.get().overflows() > 0);
    on.settle();
    CHECK(on.seen().size() == count);
}

TEST_CASE("a completion queue that never runs over counts no overflow", "[engine][contract]") {
    driver on;
    for (std::uint64_t n = 0; n < 100; ++n) on.prepare(IORING_OP_NOP, n);
    on.until([&] { return on.seen().size() == 100; });
    CHECK(on.get().overflows() == 0);
}

TEST_CASE("a multishot receive that overruns the completions ends in order", "[engine][contract]") {
    driver on({.entries = 4, .completions = 8});
    buffers pool(on.get(), 1, 4);
    const pair ends = either_pair();
    for (std::uint64_t n = 0; n < 6; ++n) on.prepare(IORING_OP_NOP, 100 + n);
    on.enter(engine::no_wait);
    pool.give_all();
    write_to(ends.b, "aaaabbbbccccddddeeeeffff");
    await_arrival(ends.a, 24);
    on.recv_multishot(1, ends.a.get(), 1);
    for (int i = 0; i < 4; ++i) on.enter(engine::no_wait);
    on.until([&] { return !on.of(1).empty() && (on.of(1).back().flags & more) == 0; });
    on.settle();
    const auto got = on.of(1);
    const std::string text = concatenate(got, pool);
    CHECK(got.size() < 6);
    CHECK(std::string_view("aaaabbbbccccddddeeeeffff").substr(0, text.size()) == text);
    CHECK(read_from(ends.a) == std::string_view("aaaabbbbccccddddeeeeffff").substr(text.size()));
    CHECK(on.get().overflows() > 0);
    for (std::size_t i = 0; i + 1 < got.size(); ++i) CHECK((got[i].flags & more) != 0);
}

TEST_CASE("the completions of one request keep their order", "[engine][contract]") {
    driver on;
    buffers pool(on.get(), 1, 3);
    const pair ends = either_pair();
    on.recv_multishot(1, ends.a.get(), 1);
    const std::string text = "the quick brown fox jumps over the lazy dog, again and again";
    std::string got;
    std::size_t read = 0;
    pool.give_all();
    write_to(ends.b, text);
    on.until([&] {
        const auto all = on.of(1);
        for (; read < all.size(); ++read) {
            if ((all[read].flags & with_buffer) != 0) {
                got += pool.text(all[read]);
                pool.give(buffers::id_of(all[read]));
            }
            if ((all[read].flags & more) == 0) on.recv_multishot(1, ends.a.get(), 1);
        }
        return got.size() == text.size();
    });
    CHECK(got == text);
}

// Waiting

TEST_CASE("enter without anything to do makes no system call", "[engine][contract]") {
    driver on;
    CHECK_FALSE(on.enter(engine::no_wait));
    CHECK(on.get().completions_begin() == on.get().completions_end());
}

// A ring that was closed before sends its thread a last notice, which ends a wait as a signal does:
// one wait cut short proves nothing.

TEST_CASE("enter waits as long as it was told, more precisely than a millisecond",
          "[engine][contract]") {
    driver on;
    int whole = 0;
    auto shortest = engine::duration::max();
    for (int tries = 0; tries < 1000 && whole < 20; ++tries) {
        const auto start = clock_type::now();
        CHECK(on.enter(200us));
        const engine::duration waited = clock_type::now() - start;
        if (waited < 200us) continue;
        ++whole;
        shortest = std::min(shortest, waited);
    }
    CHECK(whole == 20);
    CHECK(shortest < 900us);
}

TEST_CASE("enter waits its whole time for requests that do not complete", "[engine][contract]") {
    driver on;
    const pair ends = either_pair();
    char byte = 0;
    on.recv(1, ends.a.get(), &byte, 1);
    int whole = 0;
    for (int tries = 0; tries < 100 && whole < 3; ++tries) {
        const auto start = clock_type::now();
        on.enter(15ms);
        whole += clock_type::now() - start >= 15ms;
    }
    CHECK(whole == 3);
    on.reap();
    CHECK(on.seen().empty());
}

TEST_CASE("enter does not wait while a completion is unread", "[engine][contract]") {
    driver on;
    on.prepare(IORING_OP_NOP, 1);
    on.enter(engine::forever);
    const auto start = clock_type::now();
    on.enter(10s);
    on.prepare(IORING_OP_NOP, 2);
    on.enter(10s);
    CHECK(clock_type::now() - start < 5s);
    on.reap();
    CHECK(on.seen().size() == 2);
}

namespace {
volatile std::sig_atomic_t alarms = 0;
}

TEST_CASE("enter returns early on a signal", "[engine][contract]") {
    driver on;
    struct sigaction action {};
    action.sa_handler = [](int) { alarms = alarms + 1; };
    action.sa_flags = SA_RESTART;
    struct sigaction before {};
    REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
    const ::itimerval every{{0, 5000}, {0, 5000}};
    alarms = 0;
    REQUIRE(::setitimer(ITIMER_REAL, &every, nullptr) == 0);
    const auto start = clock_type::now();
    while (alarms == 0 && clock_type::now() - start < 5s) on.enter(10s);
    const auto waited = clock_type::now() - start;
    const ::itimerval never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    ::sigaction(SIGALRM, &before, nullptr);
    CHECK(alarms > 0);
    CHECK(waited < 5s);
    CHECK(on.get().completions_begin() == on.get().completions_end());
}

TEST_CASE("nothing is completed between two calls of enter", "[engine][contract]") {
    driver on;
    const pair ends = either_pair();
    char byte = 0;
    on.recv(1, ends.a.get(), &byte, 1);
    on.enter(engine::no_wait);
    write_to(ends.b, "x");
    CHECK(on.get().completions_begin() == on.get().completions_end());
    CHECK(byte == 0);
    CHECK(on.wait(1).result == 1);
    CHECK(byte == 'x');
}

// Success in silence

TEST_CASE("a skipped success completes without a word, a failure does not", "[engine][contract]") {
    driver on;
    const pair ends = either_pair();
    on.prepare(IORING_OP_NOP, 1).flags = IOSQE_CQE_SKIP_SUCCESS;
    on.send(2, ends.b.get(), "quiet", 5, MSG_WAITALL).flags = IOSQE_CQE_SKIP_SUCCESS;
    on.send(3, -1, "loud", 4, MSG_WAITALL).flags = IOSQE_CQE_SKIP_SUCCESS;
    on.cancel(4, 999).flags = IOSQE_CQE_SKIP_SUCCESS;
    on.prepare(IORING_OP_NOP, 5);
    on.wait(5);
    CHECK(on.wait(3).result == -EBADF);
    CHECK(on.wait(4).result == -ENOENT);
    on.settle();
    CHECK(on.seen().size() == 3);
    CHECK(read_from(ends.a) == "quiet");
}

TEST_CASE("a send of all that is cut short is told even if success is skipped",
          "[engine][contract]") {
    driver on;
    const pair ends = either_pair();
    const auto data = pattern(2 << 20);
    on.send(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL).flags = IOSQE_CQE_SKIP_SUCCESS;
    on.enter(engine::no_wait);
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    const completion c = on.wait(1);
    CHECK(c.result > 0);
    CHECK(c.result < static_cast<int>(data.size()));
}

// Accept and connect

TEST_CASE("accept takes one connection, waiting or there", "[engine][contract][accept]") {
    driver on;
    loopback at;
    const unique_fd listener = tcp_listener(at);
    const bool there = GENERATE(true, false);
    unique_fd client;
    if (there) client = tcp_client(at);
    loopback peer;
    io_uring_sqe& entry = on.prepare(IORING_OP_ACCEPT, 1, listener.get());
    entry.addr = peer.number();
    entry.addr2 = reinterpret_cast<std::uintptr_t>(&peer.size);
    entry.accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    if (!there) {
        on.settle();
        CHECK(on.seen().empty());
        client = tcp_client(at);
    }
    const completion c = on.wait(1);
    REQUIRE(c.result >= 0);
    CHECK((c.flags & more) == 0);
    const unique_fd served(c.result);
    CHECK((::fcntl(served.get(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(served.get(), F_GETFD) & FD_CLOEXEC) != 0);
    loopback local;
    REQUIRE(::getsockname(client.get(), local.get(), &local.size) == 0);
    CHECK(peer.address.sin_port == local.address.sin_port);

    const unique_fd second = tcp_client(at);
    on.settle();
    CHECK(on.of(1).size() == 1);
    on.get().forget(listener.get());
}

TEST_CASE("a multishot accept takes connections until it is cancelled",
          "[engine][contract][accept]") {
    driver on;
    loopback at;
    const unique_fd listener = tcp_listener(at);
    std::vector<unique_fd> sockets;
    for (int i = 0; i < 3; ++i) sockets.push_back(tcp_client(at));
    on.prepare(IORING_OP_ACCEPT, 1, listener.get()).ioprio = IORING_ACCEPT_MULTISHOT;
    on.wait(1, 3);
    for (int i = 0; i < 3; ++i) sockets.push_back(tcp_client(at));
    on.wait(1, 6);
    for (const completion& c : on.of(1)) {
        REQUIRE(c.result >= 0);
        sockets.emplace_back(c.result);
        CHECK((c.flags & more) != 0);
    }
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    const completion last = on.wait(1, 7);
    CHECK(last.result == -ECANCELED);
    CHECK((last.flags & more) == 0);
}

TEST_CASE("a multishot accept ends when descriptors run out", "[engine][contract][accept]") {
    driver on;
    loopback at;
    const unique_fd listener = tcp_listener(at);
    unique_fd client = tcp_client(at);
    ::rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    const unique_fd next(::dup(listener.get()));
    ::rlimit tight = before;
    tight.rlim_cur = static_cast<::rlim_t>(next.get() + 1);
    std::vector<unique_fd> holes;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
    for (int hole; (hole = ::dup(listener.get())) >= 0;) holes.emplace_back(hole);
    on.prepare(IORING_OP_ACCEPT, 1, listener.get()).ioprio = IORING_ACCEPT_MULTISHOT;
    const completion c = on.wait(1);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(c.result == -EMFILE);
    CHECK((c.flags & more) == 0);

    on.prepare(IORING_OP_ACCEPT, 2, listener.get());
    const completion again = on.wait(2);
    REQUIRE(again.result >= 0);
    const unique_fd served(again.result);
    on.get().forget(listener.get());
}

TEST_CASE("connect reaches a listener, whatever the socket's mode", "[engine][contract][connect]") {
    driver on;
    loopback at;
    const unique_fd listener = tcp_listener(at);
    const int mode = GENERATE(0, SOCK_NONBLOCK);
    const unique_fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | mode, 0));
    io_uring_sqe& entry = on.prepare(IORING_OP_CONNECT, 1, client.get());
    entry.addr = at.number();
    entry.off = at.size;
    CHECK(on.wait(1).result == 0);
    CHECK(((::fcntl(client.get(), F_GETFL) & O_NONBLOCK) != 0) == (mode != 0));
    on.send(2, client.get(), "hello", 5);
    CHECK(on.wait(2).result == 5);
    io_uring_sqe& again = on.prepare(IORING_OP_CONNECT, 3, client.get());
    again.addr = at.number();
    again.off = at.size;
    CHECK(on.wait(3).result == -EISCONN);
}

TEST_CASE("connect to where nobody listens is refused", "[engine][contract][connect]") {
    driver on;
    loopback at;
    unique_fd listener = tcp_listener(at);
    listener.reset();
    const unique_fd client = tcp_socket();
    io_uring_sqe& entry = on.prepare(IORING_OP_CONNECT, 1, client.get());
    entry.addr = at.number();
    entry.off = at.size;
    CHECK(on.wait(1).result == -ECONNREFUSED);
}

// Receive

TEST_CASE("recv gives what is there, or waits for it", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 16> data{};
    write_to(ends.b, "first");
    on.recv(1, ends.a.get(), data.data(), data.size());
    const completion first = on.wait(1);
    CHECK(first.result == 5);
    CHECK((first.flags & (more | with_buffer)) == 0);
    on.recv(2, ends.a.get(), data.data(), data.size());
    on.settle();
    CHECK(on.of(2).empty());
    write_to(ends.b, "later");
    CHECK(on.wait(2).result == 5);
    CHECK(std::string_view(data.data(), 5) == "later");
}

TEST_CASE("requests that wait first find what is there", "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 4);
    pool.give_all();
    const pair ends = either_pair();
    write_to(ends.b, "already");
    const bool multishot = GENERATE(true, false);
    std::array<char, 8> data{};
    if (multishot) {
        on.recv_multishot(1, ends.a.get(), 1).ioprio |= IORING_RECVSEND_POLL_FIRST;
        on.wait(1, 2);
        CHECK(concatenate(on.of(1), pool) == "already");
    } else {
        on.recv(1, ends.a.get(), data.data(), data.size()).ioprio = IORING_RECVSEND_POLL_FIRST;
        CHECK(on.wait(1).result == 7);
    }
    on.send(2, ends.b.get(), "more", 4).ioprio = IORING_RECVSEND_POLL_FIRST;
    CHECK(on.wait(2).result == 4);
}

TEST_CASE("recv in small pieces finds all that is left", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 4> data{};
    write_to(ends.b, "aaaabbbbcc");
    std::string got;
    for (std::uint64_t n = 0; n < 3; ++n) {
        on.recv(n, ends.a.get(), data.data(), data.size());
        got.append(data.data(), static_cast<std::size_t>(on.wait(n).result));
    }
    CHECK(got == "aaaabbbbcc");
    on.recv(9, ends.a.get(), data.data(), data.size());
    on.settle();
    CHECK(on.of(9).empty());
    write_to(ends.b, "dd");
    CHECK(on.wait(9).result == 2);
}

TEST_CASE("recv looks at data without taking it", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 16> data{};
    write_to(ends.b, "peek");
    for (std::uint64_t n = 1; n <= 3; ++n) {
        on.recv(n, ends.a.get(), data.data(), data.size(), n < 3 ? MSG_PEEK : 0);
        CHECK(on.wait(n).result == 4);
    }
}

TEST_CASE("recv returns 0 after the peer shut down, every time", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 16> data{};
    on.recv(1, ends.a.get(), data.data(), data.size());
    on.enter(engine::no_wait);
    write_to(ends.b, "end");
    REQUIRE(::shutdown(ends.b.get(), SHUT_WR) == 0);
    CHECK(on.wait(1).result == 3);
    for (std::uint64_t n = 2; n <= 4; ++n) {
        on.recv(n, ends.a.get(), data.data(), data.size());
        CHECK(on.wait(n).result == 0);
    }
}

TEST_CASE("recv waiting when the peer resets fails", "[engine][contract][recv]") {
    driver on;
    pair ends = tcp_pair();
    std::array<char, 16> data{};
    on.recv(1, ends.a.get(), data.data(), data.size());
    on.enter(engine::no_wait);
    reset(ends.b);
    CHECK(on.wait(1).result == -ECONNRESET);
}

TEST_CASE("recv that must not wait says so", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 16> data{};
    on.recv(1, ends.a.get(), data.data(), data.size(), MSG_DONTWAIT);
    CHECK(on.wait(1).result == -EAGAIN);
    write_to(ends.b, "now");
    await_arrival(ends.a, 3);
    on.recv(2, ends.a.get(), data.data(), data.size(), MSG_DONTWAIT);
    CHECK(on.wait(2).result == 3);
}

TEST_CASE("recv of all waits for all, unless the stream ends", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 10> data{};
    on.recv(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    for (const char* part : {"abc", "def", "ghi"}) {
        write_to(ends.b, part);
        on.settle();
        CHECK(on.of(1).empty());
    }
    write_to(ends.b, "jk");
    CHECK(on.wait(1).result == 10);
    CHECK(std::string_view(data.data(), 10) == "abcdefghij");
    on.recv(2, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    on.settle();
    CHECK(on.of(2).empty());
    REQUIRE(::shutdown(ends.b.get(), SHUT_WR) == 0);
    CHECK(on.wait(2).result == 1);
}

TEST_CASE("recv of all that is cancelled half-way returns the half", "[engine][contract][recv]") {
    driver on;
    const pair ends = either_pair();
    std::array<char, 10> data{};
    on.recv(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    write_to(ends.b, "abc");
    on.settle();
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    CHECK(on.wait(1).result == 3);
}

TEST_CASE("recv takes a buffer of its group only for data", "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 7, 16);
    const pair ends = either_pair();
    pool.give(5);
    for (std::uint64_t n = 1; n <= 3; ++n) {
        io_uring_sqe& entry = on.recv(n, ends.a.get(), nullptr, n == 1 ? 3 : 0);
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.buf_group = 7;
        if (n == 1) {
            on.settle();
            CHECK(on.seen().empty());
            write_to(ends.b, "select");
        }
        if (n == 3) REQUIRE(::shutdown(ends.b.get(), SHUT_WR) == 0);
        const completion c = on.wait(n);
        CHECK(c.result == (n == 3 ? 0 : 3));
        CHECK((c.flags & more) == 0);
        CHECK(((c.flags & with_buffer) != 0) == (n != 3));
        if (n == 3) continue;
        CHECK(buffers::id_of(c) == 5);
        CHECK(pool.text(c) == (n == 1 ? "sel" : "ect"));
        pool.give(5);
    }
}

TEST_CASE("a multishot receive delivers in buffers up to the end of the stream",
          "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    const pair ends = either_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1);
    for (std::size_t n = 1; n <= 3; ++n) {
        write_to(ends.b, "message");
        const completion c = on.wait(1, n);
        CHECK((c.flags & more) != 0);
        REQUIRE((c.flags & with_buffer) != 0);
        CHECK(buffers::id_of(c) == n - 1);
        CHECK(pool.text(c) == "message");
    }
    write_to(ends.b, "last");
    REQUIRE(::shutdown(ends.b.get(), SHUT_WR) == 0);
    CHECK(pool.text(on.wait(1, 4)) == "last");
    const completion end = on.wait(1, 5);
    CHECK(end.result == 0);
    CHECK((end.flags & (more | with_buffer)) == 0);
    on.settle();
    CHECK(on.of(1).size() == 5);
}

TEST_CASE("a multishot receive ends with the error of a reset", "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    pair ends = tcp_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1);
    on.enter(engine::no_wait);
    reset(ends.b);
    const completion c = on.wait(1);
    CHECK(c.result == -ECONNRESET);
    CHECK((c.flags & (more | with_buffer)) == 0);
}

TEST_CASE("a multishot receive without buffers is refused", "[engine][contract][recv]") {
    driver on;
    const pair ends = unix_pair();
    on.prepare(IORING_OP_RECV, 1, ends.a.get()).ioprio = IORING_RECV_MULTISHOT;
    CHECK(on.wait(1).result == -EINVAL);
    write_to(ends.b, "x");
    on.recv_multishot(2, ends.a.get(), 99);
    CHECK(on.wait(2).result == -ENOBUFS);
}

TEST_CASE("a multishot receive that finds no buffer ends and can be armed again",
          "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 4);
    const pair ends = either_pair();
    pool.give(0);
    pool.give(1);
    on.recv_multishot(1, ends.a.get(), 1);
    write_to(ends.b, "aaaabbbbcccc");
    const completion c = on.wait(1, 3);
    CHECK(c.result == -ENOBUFS);
    CHECK((c.flags & (more | with_buffer)) == 0);
    CHECK(concatenate(on.of(1), pool) == "aaaabbbb");
    pool.give(1);
    on.recv_multishot(2, ends.a.get(), 1);
    const completion rest = on.wait(2);
    CHECK(buffers::id_of(rest) == 1);
    CHECK(pool.text(rest) == "cccc");
}

TEST_CASE("a multishot receive keeps datagrams apart", "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    const pair ends = unix_pair(SOCK_DGRAM | SOCK_NONBLOCK);
    pool.give_all();
    write_to(ends.b, "one");
    write_to(ends.b, "three");
    on.recv_multishot(1, ends.a.get(), 1);
    on.wait(1, 2);
    write_to(ends.b, "x");
    on.wait(1, 3);
    const auto got = on.of(1);
    CHECK(pool.text(got[0]) == "one");
    CHECK(pool.text(got[1]) == "three");
    CHECK(pool.text(got[2]) == "x");
}

TEST_CASE("a multishot receive ends when its limit is reached", "[engine][contract][recv]") {
    driver on;
    if (!on.get().has(feature::receive_limit)) SKIP("this kernel has no such limit");
    buffers pool(on.get(), 1, 4);
    const pair ends = either_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1).file_index = 10;
    write_to(ends.b, "aaaabb");
    on.until([&] { return concatenate(on.of(1), pool).size() == 6; });
    CHECK((on.of(1).back().flags & more) != 0);
    write_to(ends.b, "bbccddddee");
    on.until([&] { return (on.of(1).back().flags & more) == 0; });
    on.settle();
    const auto got = on.of(1);
    CHECK(concatenate(got, pool) == "aaaabbbbcc");
    CHECK(got.back().result > 0);
    CHECK((got.back().flags & with_buffer) != 0);
    CHECK(read_from(ends.a) == "ddddee");
}

TEST_CASE("a receive that goes past the limit is delivered whole", "[engine][contract][recv]") {
    driver on;
    if (!on.get().has(feature::receive_limit)) SKIP("this kernel has no such limit");
    buffers pool(on.get(), 1, 16);
    const pair ends = either_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1).file_index = 10;
    write_to(ends.b, "aaaabbbbcccc");
    CHECK(on.wait(1).result == 12);
    CHECK((on.of(1)[0].flags & more) == 0);
}

TEST_CASE("a multishot receive of a length fills each buffer that far at most",
          "[engine][contract][recv]") {
    driver on;
    if (!on.get().has(feature::receive_limit)) SKIP("this kernel has no such length");
    buffers pool(on.get(), 1, 16);
    const pair ends = either_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1).len = 5;
    write_to(ends.b, "aaaaabbbbbcc");
    on.wait(1, 3);
    CHECK(pool.text(on.of(1)[0]) == "aaaaa");
    CHECK(pool.text(on.of(1)[1]) == "bbbbb");
    CHECK(pool.text(on.of(1)[2]) == "cc");
}

TEST_CASE("a byte limit is refused where nothing is multishot", "[engine][contract][recv]") {
    driver on;
    if (!on.get().has(feature::receive_limit)) SKIP("this kernel has no such limit");
    const pair ends = unix_pair();
    char byte = 0;
    on.recv(1, ends.a.get(), &byte, 1).file_index = 10;
    CHECK(on.wait(1).result == -EINVAL);
}

TEST_CASE("a receive and a send wait on one socket side by side", "[engine][contract]") {
    driver on;
    const pair ends = either_pair();
    const std::size_t before = fill_up(ends.a);
    std::array<char, 8> data{};
    on.recv(1, ends.a.get(), data.data(), data.size());
    on.send(2, ends.a.get(), "tail", 4, MSG_WAITALL);
    on.settle();
    CHECK(on.seen().empty());
    write_to(ends.b, "in");
    CHECK(on.wait(1).result == 2);
    const std::string out = drain_until(on, ends.b, 2);
    CHECK(on.wait(2).result == 4);
    CHECK(out.size() == before + 4);
    CHECK(out.ends_with("tail"));
}

// Send

TEST_CASE("send of all goes on until all is sent", "[engine][contract][send]") {
    driver on;
    const pair ends = either_pair();
    const auto data = pattern(2 << 20);
    on.send(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    const std::string got = drain_until(on, ends.b, 1);
    CHECK(on.wait(1).result == static_cast<int>(data.size()));
    CHECK(std::equal(got.begin(), got.end(), data.begin(), data.end()));
}

TEST_CASE("send of all that is cancelled returns what was sent", "[engine][contract][send]") {
    driver on;
    const pair ends = either_pair();
    const auto data = pattern(2 << 20);
    on.send(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    on.settle();
    CHECK(on.seen().empty());
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    const int sent = on.wait(1).result;
    CHECK(sent > 0);
    CHECK(sent < static_cast<int>(data.size()));
    std::string got;
    on.until([&] {
        got += read_from(ends.b);
        return got.size() == static_cast<std::size_t>(sent);
    });
    CHECK(std::equal(got.begin(), got.end(), data.begin()));
}

TEST_CASE("send of all returns what was sent when the peer goes away", "[engine][contract][send]") {
    driver on;
    pair ends = either_pair();
    const auto data = pattern(2 << 20);
    on.send(1, ends.a.get(), data.data(), data.size(), MSG_WAITALL);
    on.settle();
    CHECK(on.seen().empty());
    ends.b.reset();
    const int sent = on.wait(1).result;
    CHECK(sent > 0);
    CHECK(sent < static_cast<int>(data.size()));
}

TEST_CASE("send that may be partial waits only while nothing can be sent",
          "[engine][contract][send]") {
    driver on;
    const pair ends = either_pair();
    const auto data = pattern(2 << 20);
    on.send(1, ends.a.get(), data.data(), data.size());
    const int sent = on.wait(1).result;
    CHECK(sent > 0);
    CHECK(sent < static_cast<int>(data.size()));
    fill_up(ends.a);
    on.send(2, ends.a.get(), data.data(), 100);
    on.settle();
    CHECK(on.of(2).empty());
    drain_until(on, ends.b, 2);
    CHECK(on.wait(2).result == 100);
}

TEST_CASE("send that must not wait completes in its turn", "[engine][contract][send]") {
    driver on;
    const pair ends = either_pair();
    const auto data = pattern(2 << 20);
    const int flags = MSG_DONTWAIT | GENERATE(0, MSG_WAITALL);
    on.send(1, ends.a.get(), data.data(), data.size(), flags);
    on.enter(engine::no_wait);
    on.reap();
    REQUIRE(on.of(1).size() == 1);
    const int sent = on.wait(1).result;
    CHECK(sent > 0);
    CHECK(sent < static_cast<int>(data.size()));
    fill_up(ends.a);
    on.send(2, ends.a.get(), data.data(), 100, flags);
    CHECK(on.wait(2).result == -EAGAIN);
}

TEST_CASE("send to a peer that is gone is EPIPE and no signal", "[engine][contract][send]") {
    driver on;
    pair ends = unix_pair();
    ends.b.reset();
    on.send(1, ends.a.get(), "x", 1);
    on.send(2, ends.a.get(), "x", 1, MSG_WAITALL);
    CHECK(on.wait(1).result == -EPIPE);
    CHECK(on.wait(2).result == -EPIPE);
}

// Messages

namespace {

struct gathered {
    std::array<::iovec, 3> parts{};
    ::msghdr header{};

    explicit gathered(std::array<std::vector<char>, 3>& data) {
        for (std::size_t i = 0; i < 3; ++i) parts[i] = {data[i].data(), data[i].size()};
        header.msg_iov = parts.data();
        header.msg_iovlen = parts.size();
    }
    std::uint64_t number() { return reinterpret_cast<std::uintptr_t>(&header); }
};

}  // namespace

TEST_CASE("sendmsg and recvmsg carry several buffers whole", "[engine][contract][message]") {
    driver on;
    const pair ends = either_pair();
    std::array<std::vector<char>, 3> out{pattern(1000), pattern(3 << 20), pattern(1 << 20)};
    std::array<std::vector<char>, 3> in{std::vector<char>(2 << 20), std::vector<char>(1),
                                        std::vector<char>((2 << 20) + 999)};
    gathered sent(out);
    gathered received(in);
    for (const int opcode : {IORING_OP_SENDMSG, IORING_OP_RECVMSG}) {
        const bool sends = opcode == IORING_OP_SENDMSG;
        io_uring_sqe& entry = on.prepare(opcode, sends ? 1 : 2, (sends ? ends.a : ends.b).get());
        entry.addr = (sends ? sent : received).number();
        entry.len = 1;
        entry.msg_flags = MSG_WAITALL;
    }
    CHECK(on.wait(1).result == 1000 + (4 << 20));
    CHECK(on.wait(2).result == 1000 + (4 << 20));
    std::string expected;
    std::string got;
    for (const auto& part : out) expected.append(part.data(), part.size());
    for (const auto& part : in) got.append(part.data(), part.size());
    CHECK((got == expected));
}

TEST_CASE("sendmsg that is cancelled half-way returns the half", "[engine][contract][message]") {
    driver on;
    const pair ends = either_pair();
    std::array<std::vector<char>, 3> out{pattern(10), pattern(1 << 20), pattern(1 << 20)};
    gathered sent(out);
    io_uring_sqe& entry = on.prepare(IORING_OP_SENDMSG, 1, ends.a.get());
    entry.addr = sent.number();
    entry.len = 1;
    entry.msg_flags = MSG_WAITALL;
    on.settle();
    CHECK(on.seen().empty());
    on.cancel(2, 1);
    const int result = on.wait(1).result;
    CHECK(result > 10);
    CHECK(result < (2 << 20));
}

TEST_CASE("recvmsg waits for a datagram and tells that it was cut", "[engine][contract][message]") {
    driver on;
    const pair ends = unix_pair(SOCK_DGRAM | SOCK_NONBLOCK);
    std::array<std::vector<char>, 3> in{std::vector<char>(2), std::vector<char>(1),
                                        std::vector<char>(1)};
    gathered received(in);
    io_uring_sqe& entry = on.prepare(IORING_OP_RECVMSG, 1, ends.a.get());
    entry.addr = received.number();
    entry.len = 1;
    on.settle();
    CHECK(on.seen().empty());
    write_to(ends.b, "datagram");
    CHECK(on.wait(1).result == 4);
    CHECK((received.header.msg_flags & MSG_TRUNC) != 0);
    CHECK(in[0] == std::vector<char>{'d', 'a'});
    CHECK(in[2] == std::vector<char>{'a'});
}

// Poll

TEST_CASE("poll completes once, at once or when it is time", "[engine][contract][poll]") {
    driver on;
    const pair ends = either_pair();
    on.poll(1, ends.a.get(), POLLOUT);
    CHECK(on.wait(1).result == POLLOUT);
    on.poll(2, ends.a.get(), POLLIN);
    on.settle();
    CHECK(on.of(2).empty());
    write_to(ends.b, "x");
    const completion c = on.wait(2);
    CHECK(c.result == POLLIN);
    CHECK((c.flags & more) == 0);
    on.poll(3, ends.a.get(), POLLIN);
    CHECK(on.wait(3).result == POLLIN);
    write_to(ends.b, "y");
    on.settle();
    CHECK(on.seen().size() == 3);
}

TEST_CASE("poll tells of the peer's end", "[engine][contract][poll]") {
    driver on;
    pair ends = either_pair();
    on.poll(1, ends.a.get(), POLLRDHUP);
    on.settle();
    CHECK(on.seen().empty());
    ends.b.reset();
    CHECK((on.wait(1).result & POLLRDHUP) != 0);
}

TEST_CASE("poll tells of the peer's end to who did not ask for it", "[engine][contract][poll]") {
    driver on;
    const pair ends = unix_pair();
    fill_up(ends.a);
    on.poll(1, ends.a.get(), POLLOUT);
    on.settle();
    CHECK(on.seen().empty());
    REQUIRE(::shutdown(ends.b.get(), SHUT_WR) == 0);
    CHECK(on.wait(1).result == POLLRDHUP);
}

TEST_CASE("a multishot poll tells of every write to an eventfd", "[engine][contract][poll]") {
    driver on;
    const unique_fd event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    const bool early = GENERATE(true, false);
    const auto write_one = [&] {
        const std::uint64_t one = 1;
        REQUIRE(::write(event.get(), &one, sizeof one) == sizeof one);
    };
    if (early) write_one();
    on.poll(1, event.get(), POLLIN).len = IORING_POLL_ADD_MULTI;
    for (std::size_t n = 1; n <= 4; ++n) {
        if (n > 1 || !early) {
            on.settle();
            CHECK(on.of(1).size() == n - 1);
            write_one();
        }
        const completion c = on.wait(1, n);
        CHECK(c.result == POLLIN);
        CHECK((c.flags & more) != 0);
        std::uint64_t value = 0;
        REQUIRE(::read(event.get(), &value, sizeof value) == sizeof value);
    }
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    const completion last = on.wait(1, 5);
    CHECK(last.result == -ECANCELED);
    CHECK((last.flags & more) == 0);
}

TEST_CASE("a regular file is always ready", "[engine][contract][poll]") {
    driver on;
    const unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    on.poll(1, file.get(), POLLIN);
    CHECK(on.wait(1).result == POLLIN);
}

// Cancel

namespace {

/// What the requests below stand on; lives as long as the test.
struct ground {
    loopback at;
    unique_fd listener = tcp_listener(at, 0);
    pair ends = tcp_pair();
    std::vector<unique_fd> clients;
    std::array<char, 8> data{};
    ::iovec part{data.data(), data.size()};
    ::msghdr header{};
};

/// Starts a request which will not complete by itself, with user_data 1.
void start_endless(driver& on, ground& g, std::string_view name) {
    if (name == "recv") on.recv(1, g.ends.a.get(), g.data.data(), g.data.size());
    if (name == "recv of all")
        on.recv(1, g.ends.a.get(), g.data.data(), g.data.size(), MSG_WAITALL);
    if (name == "multishot recv") on.recv_multishot(1, g.ends.a.get(), 1);
    if (name == "accept") on.prepare(IORING_OP_ACCEPT, 1, g.listener.get());
    if (name == "multishot accept")
        on.prepare(IORING_OP_ACCEPT, 1, g.listener.get()).ioprio = IORING_ACCEPT_MULTISHOT;
    if (name == "poll") on.poll(1, g.ends.a.get(), POLLIN);
    if (name == "multishot poll") on.poll(1, g.ends.a.get(), POLLIN).len = IORING_POLL_ADD_MULTI;
    if (name == "send") {
        fill_up(g.ends.a);
        on.send(1, g.ends.a.get(), g.data.data(), g.data.size(), MSG_WAITALL);
    }
    if (name == "recvmsg" || name == "sendmsg") {
        const bool sends = name == "sendmsg";
        if (sends) fill_up(g.ends.a);
        g.header.msg_iov = &g.part;
        g.header.msg_iovlen = 1;
        io_uring_sqe& entry =
            on.prepare(sends ? IORING_OP_SENDMSG : IORING_OP_RECVMSG, 1, g.ends.a.get());
        entry.addr = reinterpret_cast<std::uintptr_t>(&g.header);
        entry.len = 1;
    }
    if (name == "connect") {
        // A backlog of 0 has room for one; after it connection attempts are not answered.
        for (int i = 0; i < 4; ++i) {
            g.clients.push_back(tcp_socket());
            static_cast<void>(::connect(g.clients.back().get(), g.at.get(), g.at.size));
        }
        g.clients.push_back(tcp_socket());
        io_uring_sqe& entry = on.prepare(IORING_OP_CONNECT, 1, g.clients.back().get());
        entry.addr = g.at.number();
        entry.off = g.at.size;
    }
}

constexpr std::array<std::string_view, 11> endless_names{
    "recv", "recv of all", "multishot recv", "accept",  "multishot accept", "poll",
    "send", "recvmsg",     "sendmsg",        "connect", "multishot poll"};

}  // namespace

TEST_CASE("any request that waits can be cancelled", "[engine][contract][cancel]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    pool.give_all();
    const std::string_view name = GENERATE(from_range(endless_names));
    const bool same_turn = GENERATE(true, false);
    INFO(name << (same_turn ? ", cancelled in its turn" : ", cancelled later"));
    ground g;
    start_endless(on, g, name);
    if (!same_turn) {
        on.settle();
        REQUIRE(on.seen().empty());
    }
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    const completion c = on.wait(1);
    CHECK(c.result == -ECANCELED);
    CHECK((c.flags & (more | with_buffer)) == 0);
    on.cancel(3, 1);
    CHECK(on.wait(3).result == -ENOENT);
    on.settle();
    CHECK(on.seen().size() == 3);
    for (const unique_fd* socket : {&g.listener, &g.ends.a}) on.get().forget(socket->get());
}

TEST_CASE("cancelling what is not there is ENOENT", "[engine][contract][cancel]") {
    driver on;
    on.cancel(1, 12345);
    CHECK(on.wait(1).result == -ENOENT);
    on.prepare(IORING_OP_NOP, 2);
    on.wait(2);
    on.cancel(3, 2);
    CHECK(on.wait(3).result == -ENOENT);
}

TEST_CASE("cancel takes one request of several alike", "[engine][contract][cancel]") {
    driver on;
    const pair ends = either_pair();
    for (int i = 0; i < 3; ++i) on.poll(1, ends.a.get(), POLLIN);
    on.cancel(2, 1);
    CHECK(on.wait(2).result == 0);
    on.wait(1);
    on.settle();
    CHECK(on.of(1).size() == 1);
    write_to(ends.b, "x");
    on.wait(1, 3);
    CHECK(on.of(1)[1].result == POLLIN);
    CHECK(on.of(1)[2].result == POLLIN);
}

TEST_CASE("cancel of all alike tells how many they were", "[engine][contract][cancel]") {
    driver on;
    const pair ends = either_pair();
    const pair others = either_pair();
    char byte = 0;
    on.recv(1, ends.a.get(), &byte, 1);
    on.recv(1, others.a.get(), &byte, 1);
    on.poll(1, ends.a.get(), POLLIN);
    on.recv(9, others.b.get(), &byte, 1);
    on.settle();
    on.cancel(2, 1, IORING_ASYNC_CANCEL_ALL);
    CHECK(on.wait(2).result == 3);
    on.wait(1, 3);
    for (const completion& c : on.of(1)) CHECK(c.result == -ECANCELED);
    on.cancel(3, 1, IORING_ASYNC_CANCEL_ALL);
    CHECK(on.wait(3).result == 0);
    CHECK(on.of(9).empty());
}

TEST_CASE("a cancelled receive leaves the data to the next", "[engine][contract][cancel]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    pool.give_all();
    const pair ends = either_pair();
    on.recv_multishot(1, ends.a.get(), 1);
    on.settle();
    on.cancel(2, 1);
    CHECK(on.wait(1).result == -ECANCELED);
    write_to(ends.b, "kept");
    on.recv_multishot(3, ends.a.get(), 1);
    const completion c = on.wait(3);
    CHECK(pool.text(c) == "kept");
    CHECK(buffers::id_of(c) == 0);
}

TEST_CASE("a thousand waiting connections are cancelled one by one", "[engine][contract][cancel]") {
    constexpr std::uint64_t count = 1000;
    ::rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const ::rlimit before = limit;
    limit.rlim_cur = std::max<::rlim_t>(limit.rlim_cur, 2200);
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) SKIP("2,200 descriptors are not to be had");
    {
        driver on;
        buffers pool(on.get(), 1, 16);
        pool.give_all();
        std::vector<pair> pairs;
        for (std::uint64_t n = 0; n < count; ++n) {
            pairs.push_back(unix_pair());
            on.recv_multishot(n, pairs.back().a.get(), 1);
        }
        on.settle();
        CHECK(on.seen().empty());
        for (std::uint64_t n = 0; n < count; ++n) on.cancel(count + n, n);
        on.until([&] { return on.seen().size() == 2 * count; });
        std::vector<int> results(2 * count, 1);
        for (const completion& c : on.seen()) results[c.user_data] = c.result;
        const auto middle = results.begin() + count;
        CHECK(std::count(results.begin(), middle, -ECANCELED) == count);
        CHECK(std::count(middle, results.end(), 0) == count);
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
}

// Descriptors and buffer rings that come and go

TEST_CASE("close closes, once", "[engine][contract][close]") {
    driver on;
    pair ends = either_pair();
    const int number = ends.a.release();
    on.prepare(IORING_OP_CLOSE, 1, number);
    CHECK(on.wait(1).result == 0);
    CHECK(::fcntl(number, F_GETFD) == -1);
    on.prepare(IORING_OP_CLOSE, 2, number);
    CHECK(on.wait(2).result == -EBADF);
    std::array<char, 4> data{};
    CHECK(::recv(ends.b.get(), data.data(), data.size(), 0) == 0);
}

TEST_CASE("a number that is used again is a new descriptor", "[engine][contract][close]") {
    driver on;
    buffers pool(on.get(), 1, 16);
    const bool closes = GENERATE(true, false);
    constexpr int number = 700;  // far from what else is open
    std::vector<pair> kept;
    for (std::uint64_t n = 0; n < 20; n += 2) {
        pool.give(static_cast<std::uint16_t>(n / 2 % buffers::entries));
        // `kept` holds the open file under another number, and with it what epoll knows of it.
        kept.push_back(n % 4 == 0 ? tcp_pair() : unix_pair());
        REQUIRE(::dup3(kept.back().a.get(), number, O_CLOEXEC) == number);
        on.recv_multishot(n, number, 1);
        on.settle();
        CHECK(on.of(n).empty());
        write_to(kept.back().b, "reused");
        CHECK(pool.text(on.wait(n)) == "reused");
        on.cancel(n + 1, n);
        on.wait(n + 1);
        CHECK(on.wait(n, 2).result == -ECANCELED);
        if (closes) {
            on.prepare(IORING_OP_CLOSE, 1000 + n, number);
            CHECK(on.wait(1000 + n).result == 0);
        } else {
            on.get().forget(number);
            REQUIRE(::close(number) == 0);
        }
        for (const pair& ends : kept) write_to(ends.b, "stale");
    }
    on.settle();
    CHECK(on.seen().size() == (closes ? 40 : 30));
}

TEST_CASE("a buffer ring that is switched off is not registered", "[engine][contract][feature]") {
    driver on({.without = feature::buffer_ring});
    CHECK_FALSE(on.get().has(feature::buffer_ring));
    CHECK_FALSE(on.get().has(feature::multishot_recv));
    void* memory =
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    CHECK(on.get().register_buffer_ring(1, memory, 8).value() == EINVAL);
    ::munmap(memory, 4096);
}

TEST_CASE("a buffer ring is registered once, in a size that exists", "[engine][contract]") {
    driver on;
    engine& subject = on.get();
    if (!subject.has(feature::buffer_ring)) SKIP("this kernel has no buffer rings");
    void* memory =
        ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    CHECK(subject.register_buffer_ring(1, memory, 0).value() == EINVAL);
    CHECK(subject.register_buffer_ring(1, memory, 12).value() == EINVAL);
    CHECK(subject.register_buffer_ring(1, memory, 65536).value() == EINVAL);
    CHECK(subject.register_buffer_ring(1, static_cast<char*>(memory) + 16, 8).value() == EINVAL);
    CHECK_FALSE(subject.register_buffer_ring(1, memory, 8));
    CHECK(subject.register_buffer_ring(1, memory, 8).value() == EEXIST);
    CHECK_FALSE(subject.register_buffer_ring(2, static_cast<char*>(memory) + 4096, 8));
    subject.unregister_buffer_ring(1);
    CHECK_FALSE(subject.register_buffer_ring(1, memory, 8));
    subject.unregister_buffer_ring(1);
    subject.unregister_buffer_ring(2);
    ::munmap(memory, 8192);
}

TEST_CASE("a buffer ring goes round its 16-bit ends", "[engine][contract][recv]") {
    driver on;
    buffers pool(on.get(), 1, 8);
    const pair ends = unix_pair();
    pool.give_all();
    on.recv_multishot(1, ends.a.get(), 1);
    on.enter(engine::no_wait);
    bool whole = true;
    for (unsigned n = 0; n < 70000; ++n) {
        const char text[4] = {static_cast<char>(n), static_cast<char>(n >> 8),
                              static_cast<char>(n >> 16), 'e'};
        REQUIRE(::send(ends.b.get(), text, 4, 0) == 4);
        on.get().enter(1s);
        const unsigned begin = on.get().completions_begin();
        REQUIRE(on.get().completions_end() - begin == 1);
        const completion c = on.get().completion_at(begin);
        on.get().completions_consumed(begin + 1);
        REQUIRE(c.result == 4);
        whole = whole && pool.text(c) == std::string_view(text, 4);
        pool.give(buffers::id_of(c));
    }
    CHECK(whole);
}
