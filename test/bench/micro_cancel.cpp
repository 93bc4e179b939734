// What it costs to cancel thousands of connections that wait in recv().
#include "micro_reference.hpp"

#include <rondo/io/run.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>

#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <functional>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using rondo::detail::unique_fd;

constexpr std::size_t crowd = 9000;

// The thread's own time: what others do on the machine does not count.
class stopwatch {
public:
    void start() noexcept { began_ = now(); }
    double seconds() const noexcept { return now() - began_; }

private:
    static double now() noexcept {
        timespec at{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
        return static_cast<double>(at.tv_sec) + static_cast<double>(at.tv_nsec) * 1e-9;
    }
    double began_ = 0;
};

int checked(int result, const char* call) {
    if (result < 0) throw std::system_error(errno, std::generic_category(), call);
    return result;
}

// A crowd of TCP connections over loopback, both ends of each.
class connections {
public:
    connections() {
        rlimit descriptors{};
        getrlimit(RLIMIT_NOFILE, &descriptors);
        descriptors.rlim_cur = descriptors.rlim_max;
        setrlimit(RLIMIT_NOFILE, &descriptors);
        listen();
        near_.reserve(crowd);
        far_.reserve(crowd);
        for (std::size_t i = 0; i < crowd; ++i) connect();
    }

    /// The ends to be waited on, as sockets.
    std::vector<rondo::tcp_socket> adopt() {
        std::vector<rondo::tcp_socket> sockets;
        sockets.reserve(near_.size());
        for (unique_fd& end : near_) sockets.emplace_back(std::move(end));
        return sockets;
    }

private:
    void listen() {
        listener_.reset(checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
        name_.sin_family = AF_INET;
        name_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto* const name = reinterpret_cast<sockaddr*>(&name_);
        socklen_t size = sizeof name_;
        checked(bind(listener_.get(), name, size), "bind");
        checked(getsockname(listener_.get(), name, &size), "getsockname");
        checked(::listen(listener_.get(), 16), "listen");
    }

    void connect() {
        far_.emplace_back(checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
        const int far = far_.back().get();
        // Closed by a reset: no port is left in TIME_WAIT for the next crowd to run out of ports.
        const linger at_once{1, 0};
        checked(setsockopt(far, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), "setsockopt");
        checked(::connect(far, reinterpret_cast<sockaddr*>(&name_), sizeof name_), "connect");
        constexpr int flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
        near_.emplace_back(checked(accept4(listener_.get(), nullptr, nullptr, flags), "accept"));
    }

    unique_fd listener_;
    sockaddr_in name_{};
    std::vector<unique_fd> near_;
    std::vector<unique_fd> far_;
};

rondo::task<> wait_on(rondo::tcp_socket& socket, std::size_t& waiting) {
    ++waiting;
    auto data = co_await socket.recv();
    benchmark::DoNotOptimize(data.size());
}

rondo::task<> own_and_wait_on(rondo::tcp_socket socket, std::size_t& waiting) {
    ++waiting;
    auto data = co_await socket.recv();
    benchmark::DoNotOptimize(data.size());
}

// Until all wait, and all that was prepared for it is in the kernel.
rondo::task<> all_wait(const std::size_t& waiting) {
    while (waiting < crowd) co_await rondo::yield();
    co_await rondo::sleep_for(std::chrono::milliseconds(1));
}

// --- the sockets stay open: from cancel() to the end of the last child ------------------------

rondo::task<> cancel_readers(benchmark::State& state, connections& all) {
    std::vector<rondo::tcp_socket> sockets = all.adopt();
    stopwatch watch;
    for (auto _ : state) {
        std::size_t waiting = 0;
        co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
            for (rondo::tcp_socket& each : sockets) {
                group.spawn(wait_on, std::ref(each), std::ref(waiting));
            }
            co_await all_wait(waiting);
            watch.start();
            group.cancel();
        });
        state.SetIterationTime(watch.seconds());
    }
}

void cancel_waiting(benchmark::State& state) {
    connections all;
    rondo::run(cancel_readers(state, all));
}
BENCHMARK(cancel_waiting)->Name("cancel/rondo")->Iterations(3)->UseManualTime();

// --- the children own their sockets: from cancel() until all of them are closed ---------------

rondo::task<> cancel_owners(connections& all, stopwatch& watch) {
    std::vector<rondo::tcp_socket> sockets = all.adopt();
    std::size_t waiting = 0;
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        for (rondo::tcp_socket& each : sockets) {
            group.spawn(own_and_wait_on, std::move(each), std::ref(waiting));
        }
        co_await all_wait(waiting);
        watch.start();
        group.cancel();
    });
}

void cancel_and_close(benchmark::State& state) {
    for (auto _ : state) {
        connections all;
        stopwatch watch;
        rondo::run(cancel_owners(all, watch));
        state.SetIterationTime(watch.seconds());
    }
}
BENCHMARK(cancel_and_close)->Name("cancel_and_close/rondo")->Iterations(1)->UseManualTime();

// --- as many exceptions through one coroutine frame each --------------------------------------

[[gnu::noinline]] reference::task<void> fail() {
    throw std::system_error(std::make_error_code(std::errc::operation_canceled));
    co_return;
}

// Thrown in the frame, kept by its promise, thrown once more in the awaiter, and caught.
reference::task<void> catch_failures(benchmark::State& state) {
    stopwatch watch;
    for (auto _ : state) {
        watch.start();
        for (std::size_t i = 0; i < crowd; ++i) {
            try {
                co_await fail();
            } catch (const std::system_error& failure) {
                benchmark::DoNotOptimize(failure.code().value());
            }
        }
        state.SetIterationTime(watch.seconds());
    }
}

// The same without the second throw: the awaiter only looks whether there is an exception.
reference::task<void> collect_failures(benchmark::State& state) {
    stopwatch watch;
    for (auto _ : state) {
        watch.start();
        for (std::size_t i = 0; i < crowd; ++i) {
            auto failing = fail();
            failing.start();
            benchmark::DoNotOptimize(failing.done());
        }
        state.SetIterationTime(watch.seconds());
    }
    co_return;
}

void throw_and_catch(benchmark::State& state) { catch_failures(state).start(); }
BENCHMARK(throw_and_catch)->Name("cancel/reference")->Iterations(3)->UseManualTime();

void throw_and_keep(benchmark::State& state) { collect_failures(state).start(); }
BENCHMARK(throw_and_keep)->Name("cancel/one_throw")->Iterations(3)->UseManualTime();

}  // namespace
