#include <rondo/io/file.hpp>

#include <rondo/io/file_error.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/scratch_directory.hpp>
#include <support/thrown_by.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <utility>

using namespace rondo;
using namespace rondo::test;

namespace {

/// read() may return a part; this does not.
task<std::string> read_all(file& from) {
    std::string all;
    std::string part(100'000, '\0');
    for (;;) {
        const std::size_t n = co_await from.read(writable(part));
        if (n == 0) co_return all;
        all.append(part, 0, n);
    }
}

struct pipe_files {
    file reader;
    file writer;

    explicit pipe_files(int flags = 0) {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC | flags) == 0);
        reader = file(detail::unique_fd(ends[0]), "pipe");
        writer = file(detail::unique_fd(ends[1]), "pipe");
    }
};

}  // namespace

TEST_CASE("what is written to a file is read from it, and it ends with 0", "[io][file]") {
    const scratch_directory directory;
    const std::string path = directory / "file";
    const std::string text = pattern(2'500'000);
    test::run([&]() -> task<> {
        file made = co_await file::open(path, open_flags::write | open_flags::create_new);
        co_await made.write("head");
        co_await made.write(text);
        co_await made.sync_data();
        CHECK(made.size() == text.size() + 4);
        co_await made.close();
        CHECK_FALSE(made.is_open());

        file opened = co_await file::open(path);
        const std::string got = co_await read_all(opened);
        CHECK(got == "head" + text);
        std::string rest(8, '\0');
        const std::size_t at_end = co_await opened.read(writable(rest));
        CHECK(at_end == 0);
    });
}

TEST_CASE("read_at and write_at leave the position where it is", "[io][file]") {
    const scratch_directory directory;
    test::run([&]() -> task<> {
        file both = co_await file::open(
            directory / "file", open_flags::read | open_flags::write | open_flags::create);
        co_await both.write("0123456789");
        co_await both.write_at(2, "two");
        co_await both.write("end");
        co_await both.sync();
        std::string got;
        while (got.size() < 13) {
            std::string part(13 - got.size(), '\0');
            const std::size_t n = co_await both.read_at(got.size(), writable(part));
            if (n == 0) break;
            got.append(part, 0, n);
        }
        CHECK(got == "01two56789end");
        std::string past(4, '\0');
        const std::size_t none = co_await both.read_at(100, writable(past));
        CHECK(none == 0);
        const std::size_t no_room = co_await both.read_at(0, std::span<std::byte>());
        CHECK(no_room == 0);
        co_await both.write("");
        CHECK(both.size() == 13);
    });
}

TEST_CASE("a file is opened as its flags and permissions say", "[io][file]") {
    const scratch_directory directory;
    const std::string path = directory / "file";
    test::run([&]() -> task<> {
        {
            file first = co_await file::open(path, open_flags::append | open_flags::create,
                                             file_permissions{0600});
            co_await first.write("one");
        }
        file second = co_await file::open(path, open_flags::append | open_flags::read);
        co_await second.write_at(0, "two");
        CHECK(second.size() == 6);
        CHECK((::fcntl(second.descriptor(), F_GETFD) & FD_CLOEXEC) != 0);
        auto there = co_await as_result(file::open(path, open_flags::create_new));
        CHECK(there.error() == std::errc::file_exists);
        file third = co_await file::open(path, open_flags::write | open_flags::truncate);
        CHECK(third.size() == 0);
        REQUIRE(::symlink(path.c_str(), (directory / "link").c_str()) == 0);
        auto link = co_await as_result(
            file::open(directory / "link", open_flags::read | open_flags::no_follow));
        CHECK(link.error() == std::errc::too_many_symbolic_link_levels);
    });
}

TEST_CASE("a failure on a file names verb, path and what to check", "[io][file]") {
    const scratch_directory directory;
    const std::string path = directory / "missing";
    test::run([&]() -> task<> {
        std::string text;
        try {
            co_await file::open(path);
        } catch (const file_error& error) {
            text = error.what();
        }
        CHECK(text == "open " + path + ": No such file or directory");
        file made = co_await file::open(path, open_flags::read | open_flags::create);
        try {
            co_await made.write("x");
        } catch (const file_error& error) {
            text = error.what();
            CHECK(error.code() == std::errc::bad_file_descriptor);
        }
        CHECK(text == "write " + path +
                          ": Bad file descriptor (the file was not opened for this)");
        auto folder = co_await as_result(file::open(directory.path(), open_flags::write));
        CHECK(folder.error() == std::errc::is_a_directory);
        const file_error cut("write", ENOSPC, "data.bin", 4096);
        CHECK(std::string(cut.what()) ==
              "write data.bin: No space left on device after 4096 bytes (the file system is "
              "full; see df -h and df -i)");
    });
}

TEST_CASE("a device without space tells what was written before", "[io][file]") {
    test::run([]() -> task<> {
        file full = co_await file::open("/dev/full", open_flags::write);
        const std::error_code error = co_await thrown_by(full.write("nothing fits"));
        CHECK(error == std::errc::no_space_on_device);
    });
}

TEST_CASE("in a cancelled scope nothing is done to a file but closing", "[io][file]") {
    const scratch_directory directory;
    const std::string path = directory / "file";
    test::run([&]() -> task<> {
        file made = co_await file::open(path, open_flags::read | open_flags::write |
                                                  open_flags::create);
        const int number = made.descriptor();
        cancel_scope scope;
        scope.cancel();
        std::string part(4, '\0');
        const auto cancelled = std::make_error_code(std::errc::operation_canceled);
        const std::error_code read = co_await thrown_by(scope.run(made.read(writable(part))));
        CHECK(read == cancelled);
        const std::error_code write = co_await thrown_by(scope.run(made.write("lost")));
        CHECK(write == cancelled);
        const std::error_code sync = co_await thrown_by(scope.run(made.sync()));
        CHECK(sync == cancelled);
        const std::error_code open =
            co_await thrown_by(scope.run(file::open(directory / "other", open_flags::create)));
        CHECK(open == cancelled);
        CHECK(::access((directory / "other").c_str(), F_OK) != 0);
        CHECK(made.size() == 0);
        const std::error_code close = co_await thrown_by(scope.run(made.close()));
        CHECK(close == cancelled);
        CHECK_FALSE(made.is_open());
        CHECK_FALSE(is_open(number));
    });
}

TEST_CASE("a read cancelled while a pipe is empty loses nothing", "[io][file]") {
    const bool blocking = GENERATE(true, false);
    test::run([blocking]() -> task<> {
        pipe_files ends(blocking ? 0 : O_NONBLOCK);
        std::string part(16, '\0');
        cancel_scope scope;
        std::error_code outcome;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                outcome = co_await thrown_by(scope.run(ends.reader.read(writable(part))));
            });
            co_await some_turns();
            CHECK(outcome == std::error_code());
            scope.cancel();
        });
        CHECK(outcome == std::errc::operation_canceled);
        co_await ends.writer.write("still there");
        std::string got;
        while (got.size() < 11) {
            const std::size_t n = co_await ends.reader.read(writable(part));
            got.append(part, 0, n);
        }
        CHECK(got == "still there");
        co_await ends.writer.close();
        const std::size_t end = co_await ends.reader.read(writable(part));
        CHECK(end == 0);
    });
}

TEST_CASE("a write goes on as the pipe is read; cut short, it tells how far it came",
          "[io][file]") {
    const bool blocking = GENERATE(true, false);
    test::run([blocking]() -> task<> {
        pipe_files ends(blocking ? 0 : O_NONBLOCK);
        const std::string text = pattern(300'000);
        cancel_scope scope;
        std::optional<std::size_t> transferred;
        std::string got;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                try {
                    co_await scope.run(ends.writer.write(text));
                } catch (const operation_canceled& cut) {
                    transferred = cut.transferred();
                }
            });
            std::string part(10'000, '\0');
            while (got.size() < 100'000) {
                const std::size_t n = co_await ends.reader.read(writable(part));
                got.append(part, 0, n);
            }
            co_await some_turns();
            scope.cancel();
        });
        REQUIRE(transferred);
        CHECK(*transferred < text.size());
        co_await ends.writer.close();
        std::string rest = co_await read_all(ends.reader);
        got += rest;
        CHECK(got.size() == *transferred);
        CHECK(text.starts_with(got));
    });
}

TEST_CASE("many tasks use one file at offsets of their own", "[io][file]") {
    const scratch_directory directory;
    test::run([&]() -> task<> {
        file shared = co_await file::open(
            directory / "file", open_flags::read | open_flags::write | open_flags::create);
        constexpr std::size_t count = 32;
        constexpr std::size_t size = 5000;
        co_await with_task_group([&](task_group& group) -> task<> {
            for (std::size_t id = 0; id < count; ++id) {
                group.spawn(
                    [](file& to, std::size_t which) -> task<> {
                        const std::string text = pattern(size, which);
                        co_await to.write_at(which * size, text);
                    },
                    std::ref(shared), id);
            }
            co_return;
        });
        const std::string all = co_await read_all(shared);
        REQUIRE(all.size() == count * size);
        for (std::size_t id = 0; id < count; ++id) {
            CHECK(all.substr(id * size, size) == pattern(size, id));
        }
    });
}

TEST_CASE("a file outlives the scheduler it was opened on", "[io][file]") {
    const scratch_directory directory;
    file kept = test::run([&]() -> task<file> {
        file made = co_await file::open(
            directory / "file", open_flags::read | open_flags::write | open_flags::create);
        co_await made.write("kept");
        co_return made;
    });
    const std::string got = test::run([&]() -> task<std::string> {
        std::string part(8, '\0');
        std::string all;
        while (all.size() < 4) {
            const std::size_t n = co_await kept.read_at(all.size(), writable(part));
            all.append(part, 0, n);
        }
        co_return all;
    });
    CHECK(got == "kept");
}
