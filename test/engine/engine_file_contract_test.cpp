// Files, pipes and terminals by READ and WRITE: what every engine promises about them.
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rondo/detail/unique_fd.hpp>

#include <support/engine_driver.hpp>
#include <support/scratch_directory.hpp>

using namespace rondo::test;
using rondo::completion;
using rondo::detail::unique_fd;

namespace {

constexpr std::uint64_t at_position = ~std::uint64_t{0};

io_uring_sqe& transfer(driver& on, int opcode, std::uint64_t user_data, int descriptor,
                       const void* data, std::size_t size, std::uint64_t offset) {
    io_uring_sqe& entry = on.prepare(opcode, user_data, descriptor);
    entry.addr = reinterpret_cast<std::uintptr_t>(data);
    entry.len = static_cast<std::uint32_t>(size);
    entry.off = offset;
    return entry;
}
io_uring_sqe& read(driver& on, std::uint64_t user_data, int descriptor, void* data,
                   std::size_t size, std::uint64_t offset = at_position) {
    return transfer(on, IORING_OP_READ, user_data, descriptor, data, size, offset);
}
io_uring_sqe& write(driver& on, std::uint64_t user_data, int descriptor, std::string_view text,
                    std::uint64_t offset = at_position) {
    return transfer(on, IORING_OP_WRITE, user_data, descriptor, text.data(), text.size(), offset);
}
io_uring_sqe& openat(driver& on, std::uint64_t user_data, const char* path, int flags,
                     ::mode_t mode = 0600) {
    io_uring_sqe& entry = on.prepare(IORING_OP_OPENAT, user_data, AT_FDCWD);
    entry.addr = reinterpret_cast<std::uintptr_t>(path);
    entry.open_flags = static_cast<std::uint32_t>(flags);
    entry.len = mode;
    return entry;
}

struct pipe_ends {
    unique_fd reader;
    unique_fd writer;

    explicit pipe_ends(int flags = 0) {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC | flags) == 0);
        reader = unique_fd(ends[0]);
        writer = unique_fd(ends[1]);
    }
    void put(std::string_view text) const {
        REQUIRE(::write(writer.get(), text.data(), text.size()) ==
                static_cast<ssize_t>(text.size()));
    }
};

}  // namespace

TEST_CASE("a file is made, written, flushed, read and closed", "[engine][contract][file]") {
    driver on;
    const scratch_directory directory;
    std::string path = directory / "made";
    openat(on, 1, path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640);
    on.enter(rondo::engine::no_wait);
    path.assign(path.size(), 'x');  // enter() has read it
    const int number = on.wait(1).result;
    REQUIRE(number >= 0);
    struct ::stat about {};
    REQUIRE(::fstat(number, &about) == 0);
    CHECK((about.st_mode & 0600) == 0600);
    write(on, 2, number, "hello, ");
    CHECK(on.wait(2).result == 7);
    write(on, 3, number, "world");
    CHECK(on.wait(3).result == 5);
    write(on, 4, number, "W", 7);
    CHECK(on.wait(4).result == 1);
    on.prepare(IORING_OP_FSYNC, 5, number);
    CHECK(on.wait(5).result == 0);
    on.prepare(IORING_OP_FSYNC, 6, number).fsync_flags = IORING_FSYNC_DATASYNC;
    CHECK(on.wait(6).result == 0);
    on.prepare(IORING_OP_FADVISE, 7, number).fadvise_advice = POSIX_FADV_WILLNEED;
    CHECK(on.wait(7).result == 0);
    std::array<char, 32> data{};
    read(on, 8, number, data.data(), data.size(), 0);
    CHECK(on.wait(8).result == 12);
    CHECK(std::string_view(data.data(), 12) == "hello, World");
    read(on, 9, number, data.data(), data.size(), 12);
    CHECK(on.wait(9).result == 0);
    on.prepare(IORING_OP_CLOSE, 10, number);
    CHECK(on.wait(10).result == 0);
}

TEST_CASE("reads of one file at its own position follow each other", "[engine][contract][file]") {
    driver on;
    const scratch_directory directory;
    std::string whole(3'000'000, '\0');
    for (std::size_t i = 0; i < whole.size(); ++i) whole[i] = static_cast<char>(i * 7 + i / 251);
    std::ofstream(directory / "whole") << whole;
    const unique_fd file(::open((directory / "whole").c_str(), O_RDONLY | O_CLOEXEC));
    const bool cold = GENERATE(false, true);
    if (cold) ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
    // Some are copied at once, some on a helper thread.
    const std::size_t size = GENERATE(std::size_t{100000}, std::size_t{2000000});
    std::vector<char> data(size);
    std::string got;
    for (std::uint64_t n = 1;; ++n) {
        read(on, n, file.get(), data.data(), data.size());
        const int count = on.wait(n).result;
        REQUIRE(count >= 0);
        if (count == 0) break;
        got.append(data.data(), static_cast<std::size_t>(count));
    }
    CHECK(got == whole);
}

TEST_CASE("requests on files fail as their calls do", "[engine][contract][file]") {
    driver on;
    const scratch_directory directory;
    const std::string missing = directory / "missing";
    openat(on, 1, missing.c_str(), O_RDONLY);
    CHECK(on.wait(1).result == -ENOENT);
    const std::string inside = directory / ".";
    openat(on, 2, inside.c_str(), O_WRONLY);
    CHECK(on.wait(2).result == -EISDIR);
    const unique_fd closed_soon(::open(inside.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    char byte = 0;
    read(on, 3, closed_soon.get(), &byte, 1, 0);
    CHECK(on.wait(3).result == -EISDIR);
    std::ofstream(directory / "file") << "data";
    const unique_fd file(::open((directory / "file").c_str(), O_RDONLY | O_CLOEXEC));
    write(on, 4, file.get(), "x", 0);
    CHECK(on.wait(4).result == -EBADF);
    read(on, 5, -1, &byte, 1, 0);
    CHECK(on.wait(5).result == -EBADF);
    on.prepare(IORING_OP_FSYNC, 6, -1);
    CHECK(on.wait(6).result == -EBADF);
    const pipe_ends ends;
    on.prepare(IORING_OP_FSYNC, 7, ends.reader.get());
    CHECK(on.wait(7).result == -EINVAL);
    read(on, 8, file.get(), &byte, 1, 0).flags = IOSQE_CQE_SKIP_SUCCESS;
    read(on, 9, file.get(), &byte, 1, 1);
    CHECK(on.wait(9).result == 1);
    on.settle();
    CHECK(on.of(8).empty());
}

TEST_CASE("many requests on a file are under way at once", "[engine][contract][file]") {
    driver on;
    const scratch_directory directory;
    const unique_fd file(
        ::open((directory / "many").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    constexpr std::size_t count = 200;
    std::vector<std::string> lines;
    for (std::size_t n = 0; n < count; ++n) lines.push_back(std::to_string(10000 + n) + "\n");
    for (std::size_t n = 0; n < count; ++n) write(on, n + 1, file.get(), lines[n], n * 6);
    std::string expected;
    for (std::size_t n = 0; n < count; ++n) {
        CHECK(on.wait(n + 1).result == 6);
        expected += lines[n];
    }
    std::string all(count * 6, '\0');
    read(on, 5000, file.get(), all.data(), all.size(), 0);
    CHECK(on.wait(5000).result == static_cast<int>(all.size()));
    CHECK(all == expected);
}

TEST_CASE("read waits on a pipe, and ends with it", "[engine][contract][file]") {
    driver on;
    pipe_ends ends;
    std::array<char, 16> data{};
    read(on, 1, ends.reader.get(), data.data(), data.size());
    on.settle();
    CHECK(on.of(1).empty());
    ends.put("piped");
    CHECK(on.wait(1).result == 5);
    CHECK(std::string_view(data.data(), 5) == "piped");
    ends.put("there");
    read(on, 2, ends.reader.get(), data.data(), data.size());
    CHECK(on.wait(2).result == 5);
    read(on, 3, ends.reader.get(), data.data(), data.size());
    on.settle();
    ends.writer.reset();
    CHECK(on.wait(3).result == 0);
}

TEST_CASE("write waits on a full pipe", "[engine][contract][file]") {
    driver on;
    const pipe_ends ends;
    REQUIRE(::fcntl(ends.writer.get(), F_SETPIPE_SZ, 4096) == 4096);
    ends.put(std::string(4096, 'f'));
    write(on, 1, ends.writer.get(), "more");
    on.settle();
    CHECK(on.of(1).empty());
    std::array<char, 4096> data{};
    REQUIRE(::read(ends.reader.get(), data.data(), data.size()) == 4096);
    CHECK(on.wait(1).result == 4);
    CHECK(::read(ends.reader.get(), data.data(), data.size()) == 4);
}

TEST_CASE("a read that waits is cancelled, and the data left to the next",
          "[engine][contract][file]") {
    driver on;
    const pipe_ends ends;
    std::array<char, 16> data{};
    read(on, 1, ends.reader.get(), data.data(), data.size());
    on.settle();
    on.cancel(2, 1);
    CHECK(on.wait(1).result == -ECANCELED);
    ends.put("kept");
    read(on, 3, ends.reader.get(), data.data(), data.size());
    CHECK(on.wait(3).result == 4);
}

TEST_CASE("a pipe's number that is used again is a new descriptor", "[engine][contract][file]") {
    driver on;
    pipe_ends ends;
    std::array<char, 16> data{};
    read(on, 1, ends.reader.get(), data.data(), data.size());
    on.settle();
    ends.put("first");
    CHECK(on.wait(1).result == 5);
    const int number = ends.reader.get();
    ends.reader.reset();
    pair sockets = unix_pair();
    if (sockets.a.get() != number) {
        REQUIRE(::dup3(sockets.a.get(), number, O_CLOEXEC) == number);
        sockets.a.reset(number);
    }
    on.recv(2, number, data.data(), data.size());
    on.settle();
    REQUIRE(::send(sockets.b.get(), "second", 6, 0) == 6);
    CHECK(on.wait(2).result == 6);
}

TEST_CASE("opening a FIFO does not wait for its other side", "[engine][contract][file]") {
    driver on;
    const scratch_directory directory;
    const std::string path = directory / "fifo";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    openat(on, 1, path.c_str(), O_WRONLY | O_CLOEXEC);
    CHECK(on.wait(1).result == -ENXIO);
    openat(on, 2, path.c_str(), O_RDONLY | O_CLOEXEC);
    const unique_fd reader(on.wait(2).result);
    REQUIRE(reader.get() >= 0);
    openat(on, 3, path.c_str(), O_WRONLY | O_CLOEXEC);
    const unique_fd writer(on.wait(3).result);
    REQUIRE(writer.get() >= 0);
    CHECK((::fcntl(reader.get(), F_GETFL) & O_NONBLOCK) == 0);
    std::array<char, 4> data{};
    read(on, 4, reader.get(), data.data(), data.size());
    on.settle();
    CHECK(on.of(4).empty());
    REQUIRE(::write(writer.get(), "data", 4) == 4);
    CHECK(on.wait(4).result == 4);
}

TEST_CASE("an engine ends with requests on files under way", "[engine][contract][file]") {
    const scratch_directory directory;
    const unique_fd file(
        ::open((directory / "many").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    const std::string text(100'000, 'x');
    driver on;
    for (std::uint64_t n = 1; n < 40; ++n) write(on, n, file.get(), text, n * text.size());
    CHECK(on.enter(rondo::engine::no_wait));
}
