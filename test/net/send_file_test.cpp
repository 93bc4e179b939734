#include <rondo/net/send_file.hpp>

#include <rondo/io/file.hpp>
#include <rondo/io/file_error.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/scratch_directory.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <string>
#include <utility>

using namespace rondo;
using namespace rondo::test;
using namespace std::chrono_literals;

namespace {

/// A file of stream 0 on the disk, and what it holds.
struct sample_file {
    scratch_directory directory;
    std::string path = directory / "sample";
    std::string text;

    explicit sample_file(std::size_t size) : text(pattern(size)) {
        std::ofstream(path, std::ios::binary) << text;
    }
    /// Takes it out of memory, so that it has to be read from the disk again.
    void cool() const {
        const detail::unique_fd opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        REQUIRE(::fdatasync(opened.get()) == 0);
        REQUIRE(::posix_fadvise(opened.get(), 0, 0, POSIX_FADV_DONTNEED) == 0);
    }
};

struct received {
    std::string text;
    std::size_t sent = 0;
};

/// Sends the part to `pair.b` and the end of the stream after it.
task<received> send_part(tcp_pair& pair, file& source, std::uint64_t offset, std::size_t count) {
    received result;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> {
            result.sent = co_await send_file(pair.a, source, offset, count);
            pair.a.shutdown(shutdown_mode::send);
        });
        result.text = co_await read_to_end(pair.b);
    });
    co_return result;
}

}  // namespace

TEST_CASE("send_file sends a file or a part, warm or cold", "[net][send_file]") {
    const bool cold = GENERATE(false, true);
    const sample_file sample(3'000'000);
    test::run([&]() -> task<> {
        struct part {
            std::uint64_t offset;
            std::size_t count;
        };
        const part parts[] = {{0, to_end_of_file}, {1'234'567, 1'000'000}, {2'999'990, 100},
                              {3'000'000, 10},     {4'000'000, 10},        {0, 0}};
        for (const part& each : parts) {
            if (cold) sample.cool();
            tcp_pair pair = co_await connected_pair();
            file source = co_await file::open(sample.path);
            const received got = co_await send_part(pair, source, each.offset, each.count);
            const std::size_t begin = std::min<std::size_t>(each.offset, sample.text.size());
            CHECK(got.text == sample.text.substr(begin, each.count));
            CHECK(got.sent == got.text.size());
        }
    });
}

TEST_CASE("send_file waits for room in the socket", "[net][send_file]") {
    const sample_file sample(600'000);
    test::run([&]() -> task<> {
        tcp_pair pair = co_await narrow_pair();
        file source = co_await file::open(sample.path);
        const received got = co_await send_part(pair, source, 0, to_end_of_file);
        CHECK(got.text == sample.text);
        // The position has stayed, so that it can be read from the start.
        std::string head(4, '\0');
        const std::size_t n = co_await source.read(writable(head));
        CHECK(sample.text.starts_with(head.substr(0, n)));
    });
}

TEST_CASE("send_file sends from memory file systems and over Unix sockets", "[net][send_file]") {
    if (::access("/dev/shm", W_OK) != 0) SKIP("no file system in memory at /dev/shm");
    std::string path = "/dev/shm/rondo-test-XXXXXX";
    detail::unique_fd made(::mkstemp(path.data()));
    REQUIRE(made.get() >= 0);
    ::unlink(path.c_str());
    const std::string text = pattern(1'500'000);
    REQUIRE(::write(made.get(), text.data(), text.size()) ==
            static_cast<ssize_t>(text.size()));
    test::run([&]() -> task<> {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
        stream_socket a{detail::unique_fd(ends[0])};
        stream_socket b{detail::unique_fd(ends[1])};
        file source(std::move(made), path);
        std::string got;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const std::size_t sent = co_await send_file(a, source);
                CHECK(sent == text.size());
                a.shutdown(shutdown_mode::send);
            });
            while (const chunk next = co_await b.recv()) got += next.text();
        });
        CHECK(got == text);
    });
}

TEST_CASE("send_file waits quietly for room where the peer has said its end", "[net][send_file]") {
    const sample_file sample(4 << 20);
    test::run([&]() -> task<> {
        tcp_pair pair = co_await connected_pair();
        file source = co_await file::open(sample.path);
        scheduler& here = co_await this_scheduler();
        pair.b.shutdown(shutdown_mode::send);
        std::size_t sent = 0;
        std::string got;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                sent = co_await send_file(pair.a, source);
                pair.a.shutdown(shutdown_mode::send);
            });
            group.spawn([&]() -> task<> {
                const auto before = here.stats().entries;
                co_await sleep_for(50ms);
                if (!faulty()) CHECK(here.stats().entries - before < 200);
                while (auto data = co_await pair.b.recv()) got += data.text();
            });
            co_return;
        });
        CHECK(sent == sample.text.size());
        CHECK(got == sample.text);
    });
}

TEST_CASE("send_file lets other tasks run between its parts", "[net][send_file]") {
    const sample_file sample(20'000'000);
    test::run([&]() -> task<> {
        tcp_pair pair = co_await connected_pair();
        file source = co_await file::open(sample.path);
        int turns = 0;
        bool done = false;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                co_await send_file(pair.a, source);
                pair.a.shutdown(shutdown_mode::send);
                done = true;
            });
            group.spawn([&]() -> task<> {
                while (!done) {
                    ++turns;
                    co_await next_turn();
                }
            });
            const std::string got = co_await read_to_end(pair.b);
            CHECK(got == sample.text);
        });
        CHECK(turns >= 4);
    });
}

TEST_CASE("send_file to a peer that is gone throws, without a signal", "[net][send_file]") {
    const sample_file sample(100'000);
    test::run([&]() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        pair.socket.shutdown(shutdown_mode::send);
        file source = co_await file::open(sample.path);
        std::string text;
        try {
            co_await send_file(pair.socket, source);
        } catch (const connection_lost& error) {
            text = error.what();
            CHECK(error.transferred() == 0);
        }
        CHECK(text.starts_with("send_file 127.0.0.1:"));
        ::sigset_t pending;
        ::sigpending(&pending);
        CHECK(::sigismember(&pending, SIGPIPE) == 0);
        ::sigset_t blocked;
        ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
        CHECK(::sigismember(&blocked, SIGPIPE) == 0);
    });
}

TEST_CASE("send_file reads and sends what sendfile(2) refuses", "[net][send_file]") {
    struct part {
        const char* path;
        std::uint64_t offset;
        std::size_t count;
    };
    const part parts[] = {{"/proc/self/cmdline", 0, to_end_of_file},
                          {"/proc/self/auxv", 8, to_end_of_file},
                          {"/proc/self/auxv", 0, 24},
                          {"/proc/kallsyms", 1000, 100'000}};
    for (const part& each : parts) {
        INFO(each.path);
        std::string expected(std::min<std::size_t>(each.count, 200'000), '\0');
        std::ifstream direct(each.path, std::ios::binary);
        direct.ignore(static_cast<std::streamsize>(each.offset));
        direct.read(expected.data(), static_cast<std::streamsize>(expected.size()));
        expected.resize(static_cast<std::size_t>(direct.gcount()));
        test::run([&]() -> task<> {
            tcp_pair pair = co_await narrow_pair();
            file source = co_await file::open(each.path);
            const received got = co_await send_part(pair, source, each.offset, each.count);
            CHECK(got.text == expected);
            CHECK(got.sent == expected.size());
        });
    }
}

TEST_CASE("send_file of what is no file throws a file_error", "[net][send_file]") {
    const scratch_directory directory;
    test::run([&]() -> task<> {
        tcp_pair pair = co_await connected_pair();
        file folder = co_await file::open(directory.path());
        std::string text;
        try {
            co_await send_file(pair.a, folder);
        } catch (const file_error& error) {
            text = error.what();
        }
        CHECK(text.starts_with("send_file " + directory.path() + ": "));
        auto failed = co_await as_result(send_file(pair.a, folder));
        CHECK(failed.error());
    });
}

TEST_CASE("send_file cancelled in any turn tells what went through", "[net][send_file]") {
    const sample_file sample(500'000);
    const bool cold = GENERATE(false, true);
    test::run([&]() -> task<> {
        for (int turns = 0; turns < 12; ++turns) {
            if (cold) sample.cool();
            tcp_pair pair = co_await narrow_pair();
            file source = co_await file::open(sample.path);
            cancel_scope scope;
            std::optional<std::size_t> transferred;
            std::string got;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    try {
                        transferred = co_await scope.run(send_file(pair.a, source));
                    } catch (const operation_canceled& cut) {
                        transferred = cut.transferred();
                    }
                    pair.a.shutdown(shutdown_mode::send);
                });
                co_await some_turns(turns);
                scope.cancel();
                got = co_await read_to_end(pair.b);
            });
            REQUIRE(transferred);
            CHECK(got.size() == *transferred);
            CHECK(got.size() < sample.text.size());
            CHECK(sample.text.starts_with(got));
        }
    });
}

TEST_CASE("send_file is interrupted by close", "[net][send_file]") {
    const sample_file sample(2'000'000);
    test::run([&]() -> task<> {
        tcp_pair pair = co_await narrow_pair();
        file source = co_await file::open(sample.path);
        std::error_code outcome;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                auto sent = co_await as_result(send_file(pair.a, source));
                outcome = sent.error();
            });
            co_await some_turns();
            co_await pair.a.close();
        });
        CHECK(outcome == std::errc::operation_canceled);
    });
}
