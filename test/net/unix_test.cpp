#include <rondo/net/unix.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/net/socket_error.hpp>
#include <rondo/net/unix_serve.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/with_timeout.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/misuse.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/sanitizer.hpp>
#include <support/temporary_folder.hpp>
#include <support/thrown_by.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using rondo::detail::unique_fd;

namespace {

std::string abstract_name(const char* what) {
    return fmt::format("@rondo-{}-{}", ::getpid(), what);
}

// listener.accept(), again where descriptors or memory ran out: a faulty_engine says so at times.
task<unix_socket> accept_one(unix_listener& listener) {
    for (;;) {
        auto accepted = co_await as_result(listener.accept());
        if (accepted) co_return std::move(*accepted);
        const int error = accepted.error().value();
        if (error != EMFILE && error != ENFILE && error != ENOBUFS) accepted.value();
    }
}

// The text and code of what `call` throws.
struct refusal {
    std::error_code code;
    std::string text;
};
template <typename Call>
refusal refused(Call&& call) {
    try {
        call();
    } catch (const socket_error& error) {
        return {error.code(), error.what()};
    }
    return {};
}

bool exists(const std::string& path) { return std::filesystem::exists(path); }

mode_t mode_of(const std::string& path) {
    struct stat found {};
    REQUIRE(::lstat(path.c_str(), &found) == 0);
    return found.st_mode & 07777;
}

// What a server leaves behind that was killed.
void leave_stale_file(const std::string& path) {
    const unique_fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const unix_socket_address name{unix_address(path)};
    REQUIRE(::bind(socket.get(), name.data(), name.size()) == 0);
    REQUIRE(::listen(socket.get(), 1) == 0);
}

// Of the same open file: what is written through one is read through the other.
bool is_pipe_end_of(const unique_fd& writable, const unique_fd& readable) {
    if (::write(writable.get(), "!", 1) != 1) return false;
    char byte = 0;
    return ::read(readable.get(), &byte, 1) == 1 && byte == '!';
}

struct pipe_ends {
    unique_fd read;
    unique_fd write;
    pipe_ends() {
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        read.reset(ends[0]);
        write.reset(ends[1]);
    }
};

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

std::string filled(std::size_t size) { return std::string(size, 'x'); }

}  // namespace

// --- connecting ------------------------------------------------------------------------------

TEST_CASE("a Unix socket connects to a listener and both know each other", "[net][unix]") {
    const temporary_folder folder;
    const bool has_file = GENERATE(true, false);
    const std::string path = has_file ? folder.file("a.sock") : abstract_name("connect");
    test::run([&]() -> task<> {
        unix_listener listener = unix_listener::listen(path);
        CHECK(listener.local_address() == path);
        unix_socket client = co_await unix_connect(path);
        unix_socket accepted = co_await accept_one(listener);
        CHECK(client.remote_address() == path);
        CHECK(client.local_address().is_unnamed());
        CHECK(accepted.local_address() == path);
        CHECK(accepted.remote_address().is_unnamed());
        const unix_credentials own = {::getpid(), ::geteuid(), ::getegid()};
        CHECK(client.peer_credentials() == own);
        CHECK(accepted.peer_credentials() == own);
        co_await client.send("hello");
        const std::string got = co_await read_exactly(accepted, 5);
        CHECK(got == "hello");
    });
}

TEST_CASE("the credentials are those of the process at the other end", "[net][unix]") {
    const unix_address name = abstract_name("credentials");
    unix_listener listener = unix_listener::listen(name);
    child_process client([&] {
        const unique_fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const unix_socket_address where(name);
        if (::connect(socket.get(), where.data(), where.size()) != 0) return 1;
        char byte = 0;
        return ::read(socket.get(), &byte, 1) == 0 ? 0 : 2;
    });
    test::run([&]() -> task<> {
        const unix_socket accepted = co_await accept_one(listener);
        CHECK(accepted.peer_credentials().pid == client.id());
        CHECK(accepted.peer_credentials().uid == ::geteuid());
    });
    CHECK(client.wait() == 0);
}

TEST_CASE("a client may have a name of its own", "[net][unix]") {
    test::run([]() -> task<> {
        const std::string server = abstract_name("named-server");
        const std::string name = abstract_name("named-client");
        unix_listener listener = unix_listener::listen(server);
        unix_socket client = unix_socket::create();
        client.bind(name);
        co_await client.connect(server);
        const unix_socket accepted = co_await accept_one(listener);
        CHECK(accepted.remote_address() == name);
        const refusal twice = refused([&] { unix_socket::create().bind(name); });
        CHECK(twice.code == std::errc::address_in_use);
        CHECK(twice.text == "bind " + name + ": Address already in use (another socket has this "
                                             "address; see ss -xlp)");
    });
}

TEST_CASE("connecting tells why there is nobody", "[net][unix]") {
    const temporary_folder folder;
    leave_stale_file(folder.file("stale"));
    std::ofstream(folder.file("file")) << "no socket";
    test::run([&]() -> task<> {
        const auto why = [](std::string path) -> task<std::string> {
            std::string text;
            try {
                unix_socket made = co_await unix_connect(path);
            } catch (const socket_error& error) {
                text = error.what();
            }
            co_return text;
        };
        std::string text = co_await why(folder.file("none"));
        CHECK(text == "connect " + folder.file("none") +
                          ": No such file or directory (there is no such socket: its server does "
                          "not run, or listens elsewhere; see ss -xl)");
        text = co_await why(folder.file("stale"));
        CHECK(text == "connect " + folder.file("stale") +
                          ": Connection refused (nobody listens there: its server has ended and "
                          "left the file behind, or it is no socket; see ss -xl)");
        text = co_await why(folder.file("file"));
        CHECK(text.find("Connection refused") != std::string::npos);
        text = co_await why(abstract_name("nobody"));
        CHECK(text.find("Connection refused (nobody listens there; see ss -xl)") !=
              std::string::npos);
    });
}

TEST_CASE("connecting without permission tells what to look at", "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("private");
    std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
    unix_listener listener = unix_listener::listen(path, {.permissions = 0600});
    const child_result outcome = in_child([&] {
        if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 2;
        std::string text;
        test::run([&]() -> task<> {
            try {
                unix_socket made = co_await unix_connect(path);
            } catch (const socket_error& error) {
                text = error.what();
            }
        });
        std::fputs(text.c_str(), stderr);
        return 0;
    });
    if (outcome.code == 2) SKIP("the test does not run as root");
    CHECK(outcome.error_text == "connect " + path +
                                    ": Permission denied (it takes the right to write to the "
                                    "socket's file, and to search its directories; see ls -l)");
}

TEST_CASE("a full backlog is told by connect(), and waited for by unix_connect()",
          "[net][unix]") {
    test::run([]() -> task<> {
        const std::string name = abstract_name("full");
        unix_listener listener = unix_listener::listen(name, {.backlog = 1});
        std::vector<unix_socket> waiting;
        std::error_code error;
        while (!error) {
            unix_socket next = unix_socket::create();
            error = co_await thrown_by(next.connect(name));
            waiting.push_back(std::move(next));
        }
        CHECK(error == std::errc::resource_unavailable_try_again);
        CHECK(waiting.size() == 3);
        const auto patience = std::chrono::milliseconds(5);
        error = co_await thrown_by(with_timeout(patience, unix_connect(name)));
        CHECK(error == std::errc::timed_out);
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                unix_socket let_in = co_await unix_connect(name);
                CHECK(let_in.is_open());
            });
            co_await some_turns();
            for (int i = 0; i < 3; ++i) co_await accept_one(listener);
        });
    });
}

TEST_CASE("connecting in a cancelled scope connects to nobody", "[net][unix]") {
    test::run([]() -> task<> {
        const std::string name = abstract_name("cancelled");
        unix_listener listener = unix_listener::listen(name);
        cancel_scope scope;
        scope.cancel();
        for (int i = 0; i < 3; ++i) {
            unix_socket socket = unix_socket::create();
            std::error_code error = co_await thrown_by(scope.run(socket.connect(name)));
            CHECK(error == std::errc::operation_canceled);
            error = co_await thrown_by(scope.run(unix_connect(name)));
            CHECK(error == std::errc::operation_canceled);
        }
        const unique_fd nobody(::accept4(listener.descriptor(), nullptr, nullptr, SOCK_NONBLOCK));
        CHECK_FALSE(nobody);
    });
}

// --- the file of a listener ------------------------------------------------------------------

TEST_CASE("a listener's file goes with it", "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    test::run([&]() -> task<> {
        unix_listener listener = unix_listener::listen(path);
        CHECK(exists(path));
        co_await listener.close();
        CHECK_FALSE(exists(path));
        {
            unix_listener moved = unix_listener::listen(path);
            listener = std::move(moved);
            CHECK(exists(path));
        }
        CHECK(exists(path));
        listener = unix_listener::listen(folder.file("b.sock"));
        CHECK_FALSE(exists(path));
        listener = unix_listener();
        CHECK_FALSE(exists(folder.file("b.sock")));
    });
}

TEST_CASE("a listener leaves alone what has taken its file's place", "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    unix_listener first = unix_listener::listen(path);
    std::filesystem::remove(path);
    const unix_listener second = unix_listener::listen(path);
    first = unix_listener();
    CHECK(exists(path));
}

TEST_CASE("a relative path is removed from wherever the program has gone", "[net][unix]") {
    const temporary_folder folder;
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(folder.path());
    unix_listener listener = unix_listener::listen("./a.sock");
    std::filesystem::current_path(before);
    CHECK(exists(folder.file("a.sock")));
    listener = unix_listener();
    CHECK_FALSE(exists(folder.file("a.sock")));
}

TEST_CASE("a file that was left behind is replaced", "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    leave_stale_file(path);
    test::run([&]() -> task<> {
        unix_listener listener = unix_listener::listen(path);
        unix_socket client = co_await unix_connect(path);
        const unix_socket accepted = co_await accept_one(listener);
        CHECK(accepted.is_open());
    });
    CHECK_FALSE(exists(path));
}

TEST_CASE("the file of a server that was killed while it accepted is replaced at once",
          "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    for (int i = 0; i < 5; ++i) {
        child_process killed([&] {
            test::run([&]() -> task<> {
                unix_listener listener = unix_listener::listen(path);
                co_await with_task_group([&](task_group& group) -> task<> {
                    group.spawn([&]() -> task<> { co_await listener.accept(); });
                    co_await some_turns();
                    say("accepts");
                });
            });
            return 0;
        });
        killed.read_line();
        killed.signal(SIGKILL);
        killed.wait();
        const unix_listener listener = unix_listener::listen(path);
        CHECK(exists(path));
    }
}

TEST_CASE("a socket somebody listens on is never replaced", "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    const bool full = GENERATE(false, true);
    test::run([&]() -> task<> {
        unix_listener live = unix_listener::listen(path, {.backlog = full ? 0 : 16});
        unix_socket first = unix_socket::create();
        if (full) co_await first.connect(path);
        const refusal second = refused([&] { unix_listener::listen(path); });
        CHECK(second.code == std::errc::address_in_use);
        CHECK(second.text == "bind " + path + ": Address already in use (another socket has this "
                                              "address; see ss -xlp)");
        CHECK(exists(path));
        unix_socket accepted = co_await accept_one(live);
        CHECK(accepted.is_open());
    });
}

TEST_CASE("a datagram socket's file is never replaced", "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    const unique_fd other(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const unix_socket_address name{unix_address(path)};
    REQUIRE(::bind(other.get(), name.data(), name.size()) == 0);
    const refusal second = refused([&] { unix_listener::listen(path); });
    CHECK(second.code == std::errc::address_in_use);
    CHECK(exists(path));
}

TEST_CASE("a file that is no socket is never replaced", "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    SECTION("a file") { std::ofstream(path) << "precious"; }
    SECTION("a directory") { std::filesystem::create_directory(path); }
    SECTION("a symbolic link") {
        leave_stale_file(folder.file("target"));
        std::filesystem::create_symlink(folder.file("target"), path);
    }
    const refusal kept = refused([&] { unix_listener::listen(path); });
    CHECK(kept.code == std::errc::file_exists);
    CHECK(kept.text ==
          "bind " + path + ": File exists (this file is no socket, and is left alone)");
    CHECK(exists(path));
}

TEST_CASE("a folder that is not there is told", "[net][unix]") {
    const temporary_folder folder;
    const refusal missing = refused([&] { unix_listener::listen(folder.file("no/a.sock")); });
    CHECK(missing.text == "bind " + folder.file("no/a.sock") +
                              ": No such file or directory (there is no such directory)");
}

TEST_CASE("servers that start at once on a stale file end with one of them listening",
          "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    for (int round = 0; round < 5; ++round) {
        leave_stale_file(path);
        std::vector<unix_listener> won;
        std::mutex guard;
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&] {
                try {
                    unix_listener made = unix_listener::listen(path);
                    const std::lock_guard lock(guard);
                    won.push_back(std::move(made));
                } catch (const socket_error& error) {
                    const std::lock_guard lock(guard);
                    CHECK(error.code() == std::errc::address_in_use);
                }
            });
        }
        for (std::thread& thread : threads) thread.join();
        CHECK(won.size() == 1);
        CHECK(exists(path));
    }
}

TEST_CASE("the file's permissions are what was asked for, whatever the umask", "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    for (const mode_t wanted : {0600u, 0660u, 0666u, 0777u, 0u}) {
        const unix_listener listener = unix_listener::listen(path, {.permissions = wanted});
        CHECK(mode_of(path) == wanted);
    }
    const mode_t mask = ::umask(0);
    ::umask(mask);
    const unix_listener listener = unix_listener::listen(path);
    CHECK(mode_of(path) == (0777u & ~mask));
}

TEST_CASE("an adopted listener leaves its file alone", "[net][unix]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    const unix_listener owner = unix_listener::listen(path);
    {
        unique_fd inherited(::fcntl(owner.descriptor(), F_DUPFD_CLOEXEC, 0));
        REQUIRE(::fcntl(inherited.get(), F_SETFL, 0) == 0);
        const unix_listener adopted(std::move(inherited));
        CHECK(adopted.local_address() == path);
        CHECK((::fcntl(adopted.descriptor(), F_GETFL) & O_NONBLOCK) != 0);
    }
    CHECK(exists(path));
    const refusal closed = refused([] { const unix_listener none{unique_fd()}; });
    CHECK(closed.code == std::errc::bad_file_descriptor);
}

// --- the end of a connection -----------------------------------------------------------------

TEST_CASE("a peer that closes with data unread is a reset, named by the server's address",
          "[net][unix]") {
    const bool end_on_reset = GENERATE(false, true);
    test::run([end_on_reset]() -> task<> {
        const std::string name = abstract_name("reset");
        unix_listener listener = unix_listener::listen(name);
        unix_socket client = co_await unix_connect(name);
        unix_socket accepted = co_await accept_one(listener);
        accepted.end_on_reset(end_on_reset);
        co_await accepted.send("never read");
        co_await client.close();
        std::string text;
        bool ended = false;
        try {
            const chunk data = co_await accepted.recv();
            ended = !data;
        } catch (const connection_lost& error) {
            text = error.what();
        }
        CHECK(ended == end_on_reset);
        if (!end_on_reset) {
            CHECK(text == "recv " + name + ": Connection reset by peer (the peer has ended with "
                                           "data unread)");
        }
    });
}

TEST_CASE("a send to a peer that has closed is a broken pipe, without a signal", "[net][unix]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        co_await b.close();
        std::string text;
        try {
            co_await a.send("to nobody");
        } catch (const connection_lost& error) {
            text = error.what();
        }
        CHECK(text.starts_with("send: Broken pipe"));
    });
}

// --- descriptors -----------------------------------------------------------------------------

TEST_CASE("a descriptor arrives with its bytes, close-on-exec, and outlives the sender's",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        pipe_ends pipe;
        co_await a.send_descriptor(pipe.write.get(), "here");
        pipe.write.reset();
        std::string buffer(16, '\0');
        received_descriptors got = co_await b.recv_descriptors(writable(buffer));
        REQUIRE(got.descriptors.size() == 1);
        CHECK_FALSE(got.truncated);
        CHECK(got.size >= 1);
        CHECK(buffer.substr(0, got.size) == std::string("here").substr(0, got.size));
        CHECK((::fcntl(got.descriptors[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
        CHECK(is_pipe_end_of(got.descriptors[0], pipe.read));
    });
}

TEST_CASE("many descriptors arrive in their order", "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        for (const std::size_t count : {2u, 3u, 253u}) {
            std::vector<pipe_ends> pipes(count);
            std::vector<int> sent;
            for (const pipe_ends& pipe : pipes) sent.push_back(pipe.write.get());
            co_await a.send_descriptors(sent, "!");
            std::string buffer(1, '\0');
            received_descriptors got = co_await b.recv_descriptors(writable(buffer), count);
            REQUIRE(got.descriptors.size() == count);
            CHECK_FALSE(got.truncated);
            bool all_right = true;
            for (std::size_t i = 0; i < count; ++i) {
                all_right = all_right && is_pipe_end_of(got.descriptors[i], pipes[i].read);
            }
            CHECK(all_right);
        }
    });
}

TEST_CASE("a large message carries its descriptor once, whatever is sent in how many parts",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        const pipe_ends pipe;
        const std::string data = pattern(faulty() ? 100'000 : 1'000'000);
        std::size_t descriptors = 0;
        std::string got;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await a.send_descriptor(pipe.write.get(), data); });
            std::string buffer(50'000, '\0');
            while (got.size() < data.size()) {
                received_descriptors part = co_await b.recv_descriptors(writable(buffer));
                REQUIRE(part.size != 0);
                got.append(buffer, 0, part.size);
                descriptors += part.descriptors.size();
                CHECK_FALSE(part.truncated);
            }
        });
        CHECK((got == data));
        CHECK(descriptors == 1);
    });
}

TEST_CASE("descriptors of several sends are not mixed up", "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        const pipe_ends pipe;
        co_await a.send("plain");
        co_await a.send_descriptor(pipe.write.get(), "first");
        co_await a.send_descriptor(pipe.write.get(), "second");
        a.shutdown(shutdown_mode::send);
        std::string buffer(100, '\0');
        std::string text;
        std::vector<std::size_t> carried;  // the bytes that had come when each descriptor did
        for (;;) {
            received_descriptors got = co_await b.recv_descriptors(writable(buffer), 8);
            if (got.size == 0) break;
            text.append(buffer, 0, got.size);
            CHECK(got.descriptors.size() <= 1);
            if (!got.descriptors.empty()) carried.push_back(text.size());
        }
        CHECK(text == "plainfirstsecond");
        REQUIRE(carried.size() == 2);
        // With the first byte of its own send, and before the first of the next.
        CHECK((carried[0] > 5 && carried[0] <= 10));
        CHECK((carried[1] > 10 && carried[1] <= 16));
    });
}

TEST_CASE("descriptors past the number asked for are closed, and that is told",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        for (const std::size_t most : {0u, 1u, 2u}) {
            std::vector<pipe_ends> pipes(3);
            std::vector<int> sent;
            for (const pipe_ends& pipe : pipes) sent.push_back(pipe.write.get());
            co_await a.send_descriptors(sent, "!");
            const std::size_t before = open_descriptors();
            std::string buffer(1, '\0');
            received_descriptors got = co_await b.recv_descriptors(writable(buffer), most);
            CHECK(got.size == 1);
            CHECK(got.truncated);
            CHECK(got.descriptors.size() == most);
            CHECK(open_descriptors() == before + most);
            // Nobody else holds the write ends that were cut off.
            for (pipe_ends& pipe : pipes) pipe.write.reset();
            char byte = 0;
            CHECK(::read(pipes[2].read.get(), &byte, 1) == 0);
        }
    });
}

TEST_CASE("descriptors this process may not have open are closed, and that is told",
          "[net][unix][descriptors]") {
    // With no descriptor left it takes live objects for dead ones, under some seeds.
    if (address_sanitized()) SKIP("UndefinedBehaviorSanitizer opens pipes to look at memory");
    const child_result outcome = in_child([] {
        bool as_expected = false;
        test::run([&]() -> task<> {
            auto [a, b] = unix_socket::pair();
            const std::vector<int> three = {0, 1, 2};
            co_await a.send_descriptors(three, "!");
            unique_fd lowest_free(::dup(0));
            const auto room_for_one = static_cast<rlim_t>(lowest_free.get()) + 1;
            lowest_free.reset();
            const rlimit limit{room_for_one, room_for_one};
            ::setrlimit(RLIMIT_NOFILE, &limit);
            std::string buffer(1, '\0');
            received_descriptors got = co_await b.recv_descriptors(writable(buffer), 3);
            as_expected = got.size == 1 && got.truncated && got.descriptors.size() == 1;
        });
        return as_expected ? 0 : 1;
    });
    INFO(outcome.error_text);
    CHECK(outcome.code == 0);
}

TEST_CASE("descriptors nobody receives are closed with the socket", "[net][unix][descriptors]") {
    const std::size_t before = open_descriptors();
    pipe_ends pipe;
    test::run([&]() -> task<> {
        auto [a, b] = unix_socket::pair();
        co_await a.send_descriptor(pipe.write.get(), "unread");
        pipe.write.reset();
        co_await b.close();
        char byte = 0;
        const bool closed = co_await eventually(
            [&] { return ::read(pipe.read.get(), &byte, 1) == 0; });
        CHECK(closed);
    });
    CHECK(open_descriptors() == before + 1);
}

TEST_CASE("bytes without descriptors, and the end of the stream, are received as ever",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        co_await a.send("plain");
        a.shutdown(shutdown_mode::send);
        std::string got;
        std::string buffer(3, '\0');
        for (;;) {
            received_descriptors part = co_await b.recv_descriptors(writable(buffer));
            CHECK(part.descriptors.empty());
            CHECK_FALSE(part.truncated);
            if (part.size == 0) break;
            got.append(buffer, 0, part.size);
        }
        CHECK(got == "plain");
    });
}

TEST_CASE("what cannot carry descriptors is refused before anything is sent",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        const std::vector<int> none;
        const std::vector<int> many(254, 0);
        std::error_code error = co_await thrown_by(a.send_descriptor(0, ""));
        CHECK(error == std::errc::invalid_argument);
        error = co_await thrown_by(a.send_descriptors(none, "data"));
        CHECK(error == std::errc::invalid_argument);
        const auto refused = co_await as_result(a.send_descriptors(many, "data"));
        CHECK(refused.error() == std::errc::invalid_argument);
        std::string text;
        try {
            co_await a.send_descriptors(many, "data");
        } catch (const socket_error& failure) {
            text = failure.what();
        }
        CHECK(text == "send descriptors: Invalid argument (1 to 253 descriptors go along, and on "
                      "a stream with at least one byte)");
        error = co_await thrown_by(a.send_descriptor(-1, "data"));
        CHECK(error == std::errc::bad_file_descriptor);
        a.shutdown(shutdown_mode::send);
        const std::string got = co_await read_to_end(b);
        CHECK(got.empty());
    });
}

TEST_CASE("a peer's reset is told by recv_descriptors(), again and again",
          "[net][unix][descriptors]") {
    const bool end_on_reset = GENERATE(false, true);
    test::run([end_on_reset]() -> task<> {
        auto [a, b] = unix_socket::pair();
        b.end_on_reset(end_on_reset);
        co_await b.send("never read");
        co_await a.close();
        std::string buffer(8, '\0');
        for (int i = 0; i < 2; ++i) {
            auto got = co_await as_result(b.recv_descriptors(writable(buffer)));
            if (end_on_reset) {
                REQUIRE(got);
                CHECK(got->size == 0);
            } else {
                CHECK(got.error() == std::errc::connection_reset);
            }
        }
    });
}

TEST_CASE("a cancelled recv_descriptors() loses neither bytes nor descriptors",
          "[net][unix][descriptors]") {
    const std::size_t before = open_descriptors();
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        const pipe_ends pipe;
        std::string text;
        std::size_t descriptors = 0;
        std::string sent;
        std::string buffer(64, '\0');
        for (std::size_t i = 0; i < 60; ++i) {
            cancel_scope scope;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    auto got =
                        co_await as_result(scope.run(b.recv_descriptors(writable(buffer))));
                    if (got) {
                        text.append(buffer, 0, got->size);
                        descriptors += got->descriptors.size();
                    } else {
                        CHECK(got.error() == std::errc::operation_canceled);
                    }
                });
                for (std::size_t turns = 0; turns < i % 4; ++turns) co_await next_turn();
                const std::string data = pattern(5, 0, sent.size());
                co_await a.send_descriptor(pipe.write.get(), data);
                sent += data;
                for (std::size_t turns = 0; turns < i % 3; ++turns) co_await next_turn();
                scope.cancel();
            });
        }
        a.shutdown(shutdown_mode::send);
        for (;;) {
            received_descriptors got = co_await b.recv_descriptors(writable(buffer));
            if (got.size == 0) break;
            text.append(buffer, 0, got.size);
            descriptors += got.descriptors.size();
        }
        CHECK(text == sent);
        CHECK(descriptors == 60);
    });
    CHECK(open_descriptors() == before);
}

TEST_CASE("in a cancelled scope descriptors are neither sent nor received",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        co_await b.send("waiting");
        cancel_scope scope;
        scope.cancel();
        std::string buffer(8, '\0');
        for (int i = 0; i < 3; ++i) {
            std::error_code error = co_await thrown_by(scope.run(a.send_descriptor(0, "no")));
            CHECK(error == std::errc::operation_canceled);
            error = co_await thrown_by(scope.run(a.recv_descriptors(writable(buffer))));
            CHECK(error == std::errc::operation_canceled);
        }
        a.shutdown(shutdown_mode::send);
        const std::string got = co_await read_to_end(b);
        CHECK(got.empty());
    });
}

TEST_CASE("close() ends a recv_descriptors() and a send that wait", "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        const std::string data = filled(4'000'000);
        std::error_code received;
        std::error_code sent;
        std::string buffer(8, '\0');
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                received = co_await thrown_by(a.recv_descriptors(writable(buffer)));
            });
            group.spawn([&]() -> task<> { sent = co_await thrown_by(a.send_descriptor(0, data)); });
            co_await some_turns();
            co_await a.close();
        });
        CHECK(received == std::errc::operation_canceled);
        CHECK(sent == std::errc::operation_canceled);
    });
}

TEST_CASE("receives that read ahead and receives of descriptors exclude each other",
          "[net][unix][descriptors]") {
    check_misuse("recv_descriptors() after recv(), which reads ahead", []() -> task<> {
        auto [a, b] = unix_socket::pair();
        std::string buffer(8, '\0');
        co_await a.send("x");
        co_await b.recv();
        co_await b.recv_descriptors(writable(buffer));
    });
    check_misuse("recv() after recv_descriptors() would lose", []() -> task<> {
        auto [a, b] = unix_socket::pair();
        std::string buffer(8, '\0');
        co_await a.send("x");
        co_await b.recv_descriptors(writable(buffer));
        co_await b.recv();
    });
    check_misuse("recv(buffer) after recv_descriptors() would lose", []() -> task<> {
        auto [a, b] = unix_socket::pair();
        std::string buffer(8, '\0');
        co_await a.send("x");
        co_await b.recv_descriptors(writable(buffer));
        co_await b.recv(writable(buffer));
    });
}

TEST_CASE("a recv(buffer) before recv_descriptors() takes no more than it is asked for",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        const pipe_ends pipe;
        co_await a.send("head");
        co_await a.send_descriptor(pipe.write.get(), "body");
        const std::string head = co_await read_exactly_into_buffer(b, 4, 4);
        CHECK(head == "head");
        std::string buffer(8, '\0');
        received_descriptors got = co_await b.recv_descriptors(writable(buffer));
        CHECK(got.descriptors.size() == 1);
    });
}

// --- moving on -------------------------------------------------------------------------------

TEST_CASE("a connection is handed to another process's task as a descriptor",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_socket::pair();
        auto [client, server] = unix_socket::pair();
        released_socket released = co_await server.release();
        co_await a.send_descriptor(released.descriptor.get(), "take over");
        released.descriptor.reset();
        std::string buffer(16, '\0');
        received_descriptors got = co_await b.recv_descriptors(writable(buffer));
        REQUIRE(got.descriptors.size() == 1);
        unix_socket taken(std::move(got.descriptors[0]));
        co_await client.send("hello");
        const std::string hello = co_await read_exactly(taken, 5);
        CHECK(hello == "hello");
    });
}
