#include <rondo/net/datagram_descriptor_operation.hpp>

#include <rondo/net/socket_error.hpp>
#include <rondo/net/unix_datagram.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/task_group.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/misuse.hpp>
#include <support/receiving.hpp>
#include <support/sanitizer.hpp>
#include <support/thrown_by.hpp>

#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using rondo::detail::unique_fd;

namespace {

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

// Of the same open file: what is written through one is read through the other.
bool is_pipe_end_of(const unique_fd& writable, const unique_fd& readable) {
    if (::write(writable.get(), "!", 1) != 1) return false;
    char byte = 0;
    return ::read(readable.get(), &byte, 1) == 1 && byte == '!';
}

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

std::string text_of(const received_descriptors_from& got, const std::string& buffer) {
    return buffer.substr(0, got.size);
}

// Sends until the peer's queue is full; returns how many went.
task<int> fill(unix_datagram_socket& socket, int descriptor) {
    for (int sent = 0;; ++sent) {
        cancel_scope scope;
        bool done = false;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                auto outcome = co_await as_result(
                    scope.run(socket.send_descriptor(descriptor, std::to_string(sent))));
                done = outcome.has_value();
            });
            co_await some_turns(3);
            scope.cancel();
        });
        if (!done) co_return sent;
    }
}

}  // namespace

TEST_CASE("descriptors arrive with their datagram, in order and close-on-exec",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        std::string buffer(16, '\0');
        for (const std::size_t count : {1u, 2u, 253u}) {
            std::vector<pipe_ends> pipes(count);
            std::vector<int> sent;
            for (const pipe_ends& pipe : pipes) sent.push_back(pipe.write.get());
            co_await a.send_descriptors(sent, "here");
            for (pipe_ends& pipe : pipes) pipe.write.reset();
            received_descriptors_from got = co_await b.recv_descriptors(writable(buffer), count);
            CHECK(text_of(got, buffer) == "here");
            CHECK_FALSE(got.truncated());
            CHECK_FALSE(got.descriptors_truncated);
            CHECK_FALSE(got.credentials.has_value());
            REQUIRE(got.descriptors.size() == count);
            bool all_right = true;
            for (std::size_t i = 0; i < count; ++i) {
                const int flags = ::fcntl(got.descriptors[i].get(), F_GETFD);
                all_right = all_right && (flags & FD_CLOEXEC) != 0 &&
                            is_pipe_end_of(got.descriptors[i], pipes[i].read);
            }
            CHECK(all_right);
        }
    });
}

TEST_CASE("a datagram with a descriptor goes to a name and comes from one",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        unix_datagram_socket server = unix_datagram_socket::bind("*");
        unix_datagram_socket client = unix_datagram_socket::bind("*");
        const pipe_ends pipe;
        std::string buffer(4, '\0');
        // Empty and too long for the buffer: neither decides whether descriptors come.
        for (const std::string& data : {std::string(), std::string("longer")}) {
            co_await client.send_descriptor_to(pipe.write.get(), data, server.local_address());
            received_descriptors_from got = co_await server.recv_descriptors(writable(buffer));
            CHECK(got.from == client.local_address());
            CHECK(got.true_size == data.size());
            CHECK(got.truncated() == (data.size() > 4));
            CHECK(text_of(got, buffer) == data.substr(0, 4));
            CHECK_FALSE(got.descriptors_truncated);
            REQUIRE(got.descriptors.size() == 1);
            CHECK(is_pipe_end_of(got.descriptors[0], pipe.read));
        }
        const std::vector<int> two = {0, 1};
        co_await client.send_descriptors_to(two, "two", server.local_address());
        received_descriptors_from got = co_await server.recv_descriptors(writable(buffer), 2);
        CHECK(got.descriptors.size() == 2);
        co_await client.send_to("none", server.local_address());
        got = co_await server.recv_descriptors(writable(buffer));
        CHECK(got.descriptors.empty());
        CHECK(text_of(got, buffer) == "none");
    });
}

TEST_CASE("with pass_credentials each datagram tells who sent it", "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        CHECK_FALSE(b.get<pass_credentials>().enabled);
        b.set(pass_credentials{});
        CHECK(b.get<pass_credentials>().enabled);
        const unix_credentials own = {::getpid(), ::geteuid(), ::getegid()};
        std::string buffer(8, '\0');
        co_await a.send("plain");
        received_descriptors_from got = co_await b.recv_descriptors(writable(buffer), 0);
        CHECK(text_of(got, buffer) == "plain");
        CHECK(got.credentials == own);
        CHECK_FALSE(got.descriptors_truncated);
        const pipe_ends pipe;
        const std::vector<int> two(2, pipe.write.get());
        for (const std::size_t most : {2u, 1u}) {
            co_await a.send_descriptors(two, "two");
            got = co_await b.recv_descriptors(writable(buffer), most);
            CHECK(got.credentials == own);
            CHECK(got.descriptors.size() == most);
            CHECK(got.descriptors_truncated == (most == 1));
        }
    });
}

TEST_CASE("descriptors of a datagram past the number asked for are closed, and that is told",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        for (const std::size_t most : {0u, 1u, 2u, 30u}) {
            const std::size_t before = open_descriptors();
            pipe_ends pipe;
            const std::vector<int> sent(most + 20, pipe.write.get());
            co_await a.send_descriptors(sent, "!");
            pipe.write.reset();
            std::string buffer(1, '\0');
            received_descriptors_from got = co_await b.recv_descriptors(writable(buffer), most);
            CHECK(got.size == 1);
            CHECK(got.descriptors_truncated);
            CHECK(got.descriptors.size() == most);
            CHECK(open_descriptors() == before + 1 + most);
            got.descriptors.clear();
            // Nobody holds one that was cut off.
            char byte = 0;
            CHECK(::read(pipe.read.get(), &byte, 1) == 0);
        }
    });
}

TEST_CASE("descriptors of a datagram this process may not have open are closed, and that is told",
          "[net][unix][descriptors]") {
    // With no descriptor left it takes live objects for dead ones, under some seeds.
    if (address_sanitized()) SKIP("UndefinedBehaviorSanitizer opens pipes to look at memory");
    const child_result outcome = in_child([] {
        bool as_expected = false;
        test::run([&]() -> task<> {
            auto [a, b] = unix_datagram_socket::pair();
            const std::vector<int> three = {0, 1, 2};
            co_await a.send_descriptors(three, "!");
            unique_fd lowest_free(::dup(0));
            const auto room_for_one = static_cast<rlim_t>(lowest_free.get()) + 1;
            lowest_free.reset();
            rlimit before{};
            ::getrlimit(RLIMIT_NOFILE, &before);
            const rlimit limit{room_for_one, before.rlim_max};
            std::string buffer(1, '\0');
            ::setrlimit(RLIMIT_NOFILE, &limit);
            received_descriptors_from got = co_await b.recv_descriptors(writable(buffer), 3);
            ::setrlimit(RLIMIT_NOFILE, &before);
            as_expected = got.size == 1 && got.descriptors_truncated && !got.truncated() &&
                          got.descriptors.size() == 1;
        });
        return as_expected ? 0 : 1;
    });
    INFO(outcome.error_text);
    CHECK(outcome.code == 0);
}

TEST_CASE("a datagram that cannot carry descriptors is refused whole",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        const std::vector<int> none;
        const std::vector<int> many(254, 0);
        std::error_code error = co_await thrown_by(a.send_descriptors(none, "data"));
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
        error = co_await thrown_by(a.send_descriptor_to(0, "data", "@rondo-nobody-is-here"));
        CHECK(error == std::errc::connection_refused);
        co_await a.send("the first that arrives");
        std::string buffer(32, '\0');
        received_descriptors_from got = co_await b.recv_descriptors(writable(buffer));
        CHECK(text_of(got, buffer) == "the first that arrives");
    });
}

TEST_CASE("descriptors wait with their datagram while the peer's queue is full",
          "[net][unix][descriptors]") {
    const std::size_t before = open_descriptors();
    test::run([]() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        const pipe_ends pipe;
        const int queued = co_await fill(a, pipe.write.get());
        CHECK(queued > 0);
        std::string buffer(8, '\0');
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                for (int i = queued; i < queued + 30; ++i) {
                    co_await a.send_descriptor(pipe.write.get(), std::to_string(i));
                }
            });
            co_await some_turns(3);
            for (int i = 0; i < queued + 30; ++i) {
                received_descriptors_from got = co_await b.recv_descriptors(writable(buffer));
                CHECK(text_of(got, buffer) == std::to_string(i));
                CHECK(got.descriptors.size() == 1);
            }
        });
    });
    CHECK(open_descriptors() == before);
}

TEST_CASE("a cancelled recv_descriptors() loses no datagram and no descriptor",
          "[net][unix][descriptors]") {
    const std::size_t before = open_descriptors();
    test::run([]() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        const pipe_ends pipe;
        std::string buffer(8, '\0');
        std::size_t next = 0;
        const auto took = [&](const received_descriptors_from& got) {
            CHECK(text_of(got, buffer) == std::to_string(next));
            CHECK(got.descriptors.size() == 1);
            ++next;
        };
        for (std::size_t i = 0; i < 60; ++i) {
            cancel_scope scope;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    while (next <= i) {
                        auto got =
                            co_await as_result(scope.run(b.recv_descriptors(writable(buffer))));
                        if (!got) {
                            CHECK(got.error() == std::errc::operation_canceled);
                            break;
                        }
                        took(*got);
                    }
                });
                co_await some_turns(static_cast<int>(i % 4));
                co_await a.send_descriptor(pipe.write.get(), std::to_string(i));
                co_await some_turns(static_cast<int>(i % 3));
                scope.cancel();
            });
            // Few fit into the queue.
            while (i % 5 == 4 && next <= i) {
                received_descriptors_from got = co_await b.recv_descriptors(writable(buffer));
                took(got);
            }
        }
        CHECK(next == 60);
    });
    CHECK(open_descriptors() == before);
}

TEST_CASE("in a cancelled scope datagrams with descriptors are neither sent nor received",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
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
        received_descriptors_from got = co_await a.recv_descriptors(writable(buffer));
        CHECK(text_of(got, buffer) == "waiting");
        co_await a.send("the first");
        const unix_datagram first = co_await b.recv();
        CHECK(first.text() == "the first");
    });
}

TEST_CASE("close() and the end of receiving end a recv_descriptors() that waits",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        for (const bool closes : {true, false}) {
            auto [a, b] = unix_datagram_socket::pair();
            std::string buffer(8, '\0');
            std::error_code outcome;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    outcome = co_await thrown_by(b.recv_descriptors(writable(buffer)));
                });
                co_await some_turns();
                if (closes) {
                    co_await b.close();
                } else {
                    b.finish_receiving();
                }
            });
            CHECK(outcome == std::errc::operation_canceled);
        }
    });
}

TEST_CASE("the end of receiving ends a recv_from(buffer) that waits", "[net][udp][unix]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        std::string buffer(8, '\0');
        std::error_code outcome;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                outcome = co_await thrown_by(b.recv_from(writable(buffer)));
            });
            co_await some_turns();
            b.finish_receiving();
        });
        CHECK(outcome == std::errc::operation_canceled);
    });
}

TEST_CASE("descriptors that came before the end of receiving are delivered",
          "[net][unix][descriptors]") {
    test::run([]() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        co_await a.send_descriptor(0, "first");
        co_await a.send_descriptor(0, "second");
        b.finish_receiving();
        std::string buffer(8, '\0');
        for (const char* text : {"first", "second"}) {
            received_descriptors_from got = co_await b.recv_descriptors(writable(buffer));
            CHECK(text_of(got, buffer) == text);
            CHECK(got.descriptors.size() == 1);
        }
        const std::error_code end = co_await thrown_by(b.recv_descriptors(writable(buffer)));
        CHECK(end == std::errc::operation_canceled);
    });
}

TEST_CASE("receives of datagrams that read ahead and of descriptors exclude each other",
          "[net][unix][descriptors]") {
    check_misuse("recv_descriptors() after recv_from(), which reads ahead", []() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        std::string buffer(8, '\0');
        co_await a.send("x");
        co_await b.recv_from();
        co_await b.recv_descriptors(writable(buffer));
    });
    check_misuse("recv_from() after recv_descriptors() would lose", []() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        std::string buffer(8, '\0');
        co_await a.send("x");
        co_await b.recv_descriptors(writable(buffer));
        co_await b.recv_from();
    });
    check_misuse("recv_from(buffer) after recv_descriptors() would lose", []() -> task<> {
        auto [a, b] = unix_datagram_socket::pair();
        std::string buffer(8, '\0');
        co_await a.send("x");
        co_await b.recv_descriptors(writable(buffer));
        co_await b.recv_from(writable(buffer));
    });
}
