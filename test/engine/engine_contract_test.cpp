// What every engine promises, held against each of them through the interface alone: queues,
// waiting, connections, readiness. The files beside it hold what it promises of single requests.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <rondo/detail/unique_fd.hpp>

#include <support/engine_driver.hpp>
#include <support/engine_streams.hpp>

using namespace rondo::test;
using namespace std::chrono_literals;
using rondo::completion;
using rondo::engine;
using rondo::feature;
using rondo::detail::unique_fd;

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
