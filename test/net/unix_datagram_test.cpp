#include <rondo/net/unix_datagram.hpp>

#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/thrown_by.hpp>

#include <catch2/catch_test_macros.hpp>

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

// A new folder, removed with what the test left in it.
struct folder {
    std::string path = "/tmp/rondo-datagram-XXXXXX";
    folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
    ~folder() {
        ::unlink(file().c_str());
        ::rmdir(path.c_str());
    }
    std::string file() const { return path + "/socket"; }
};

bool exists(const std::string& path) {
    struct stat file{};
    return ::lstat(path.c_str(), &file) == 0;
}

// A socket file whose socket is gone.
void leave_behind(const std::string& path) {
    const detail::unique_fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const unix_address where(path);
    const unix_socket_address name(where);
    REQUIRE(::bind(socket.get(), name.data(), name.size()) == 0);
}

// How many datagrams wait in the pair before a send must wait, too.
task<int> fill(unix_datagram_socket& socket, const unix_address* to) {
    int sent = 0;
    for (; sent < 10000; ++sent) {
        cancel_scope scope;
        const std::string text = std::to_string(sent);
        const auto one = [&]() -> task<> {
            if (to != nullptr) {
                co_await socket.send_to(text, *to);
            } else {
                co_await socket.send(text);
            }
        };
        bool done = false;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto outcome = co_await as_result(scope.run(one()));
                done = outcome.has_value();
            });
            co_await some_turns(3);
            scope.cancel();
        });
        if (!done) break;
    }
    co_return sent;
}

}  // namespace

TEST_CASE("two Unix datagram sockets of a pair keep borders and bytes", "[net][udp][unix]") {
    test::run([]() -> task<> {
        auto [first, second] = unix_datagram_socket::pair();
        co_await first.send("one");
        co_await first.send("");
        const std::array<const_buffer, 2> parts = {"th", "ree"};
        co_await first.send(std::span<const const_buffer>(parts));
        const unix_datagram one = co_await second.recv();
        CHECK(one.text() == "one");
        CHECK(one.from().is_unnamed());
        const unix_datagram empty = co_await second.recv();
        CHECK(empty.empty());
        std::string buffer(2, '\0');
        const auto three = co_await second.recv_from(writable(buffer));
        CHECK(buffer == "th");
        CHECK(three.true_size == 5);
        CHECK(three.truncated());
        CHECK(first.local_address().is_unnamed());
        CHECK(first.remote_address().is_unnamed());
    });
}

TEST_CASE("a Unix datagram comes with its sender's name", "[net][udp][unix]") {
    test::run([]() -> task<> {
        const folder place;
        unix_datagram_socket server = unix_datagram_socket::bind(place.file());
        CHECK(server.local_address() == unix_address(place.file()));
        unix_datagram_socket client = unix_datagram_socket::bind("*");
        CHECK(client.local_address().is_abstract());
        for (int round = 0; round < 2; ++round) {
            co_await client.send_to("question", place.file());
            const unix_datagram got = co_await server.recv_from();
            CHECK(got.text() == "question");
            CHECK(got.from() == client.local_address());
            co_await server.send_to("answer", got.from());
            std::string buffer(100, '\0');
            const auto answer = co_await client.recv_from(writable(buffer));
            CHECK(buffer.substr(0, answer.size) == "answer");
            CHECK(answer.from == unix_address(place.file()));
        }
        unix_datagram_socket nameless = unix_datagram_socket::open();
        nameless.connect(place.file());
        CHECK(nameless.remote_address() == unix_address(place.file()));
        co_await nameless.send("from nobody");
        const unix_datagram last = co_await server.recv_from();
        CHECK(last.text() == "from nobody");
        CHECK(last.from().is_unnamed());
    });
}

TEST_CASE("a socket file left behind is replaced, one in use and other files are not",
          "[net][udp][unix]") {
    const folder place;
    const auto refusal = [&] {
        try {
            const unix_datagram_socket unexpected = unix_datagram_socket::bind(place.file());
        } catch (const socket_error& error) {
            return error.code();
        }
        return std::error_code();
    };
    {
        const unix_datagram_socket first = unix_datagram_socket::bind(place.file());
        CHECK(refusal() == std::errc::address_in_use);
    }
    leave_behind(place.file());
    {
        const unix_datagram_socket second = unix_datagram_socket::bind(place.file());
        CHECK(second.local_address() == unix_address(place.file()));
    }
    std::ofstream(place.file()) << "no socket";
    CHECK(refusal() == std::errc::file_exists);
    CHECK(exists(place.file()));
}

TEST_CASE("a socket file goes with its socket, and stays with a released one",
          "[net][udp][unix]") {
    const folder place;
    {
        unix_datagram_socket socket = unix_datagram_socket::bind(place.file());
        unix_datagram_socket moved = std::move(socket);
        socket = unix_datagram_socket();
        CHECK(exists(place.file()));
        moved = unix_datagram_socket();
        CHECK_FALSE(exists(place.file()));
    }
    test::run([&]() -> task<> {
        unix_datagram_socket socket = unix_datagram_socket::bind(place.file());
        co_await socket.close();
        CHECK_FALSE(exists(place.file()));
        socket = unix_datagram_socket::bind(place.file());
        const auto released = co_await socket.release();
        CHECK(exists(place.file()));
    });
}

TEST_CASE("a Unix datagram to nobody is an error that names the address", "[net][udp][unix]") {
    test::run([]() -> task<> {
        const folder place;
        unix_datagram_socket socket = unix_datagram_socket::open();
        std::string text;
        try {
            co_await socket.send_to("x", place.file());
        } catch (const socket_error& error) {
            CHECK(error.code() == std::errc::no_such_file_or_directory);
            text = error.what();
        }
        CHECK(text.find("send_to " + place.file()) == 0);
        leave_behind(place.file());
        const auto refused = co_await as_result(socket.send_to("x", place.file()));
        CHECK(refused.error() == std::errc::connection_refused);
        CHECK_THROWS_AS(socket.connect(place.file()), socket_error);
    });
}

TEST_CASE("a Unix datagram longer than the send buffer is refused", "[net][udp][unix]") {
    test::run([]() -> task<> {
        auto [first, second] = unix_datagram_socket::pair();
        first.set(send_buffer(8192));
        const std::string too_long(100'000, 'x');
        std::string text;
        try {
            co_await first.send(too_long);
        } catch (const socket_error& error) {
            CHECK(error.code() == std::errc::message_size);
            text = error.what();
        }
        CHECK(text == "send: Message too long (longer than a datagram can be; see send_buffer)");
        co_await first.send("short enough");
        const unix_datagram got = co_await second.recv();
        CHECK(got.text() == "short enough");
    });
}

TEST_CASE("a send waits while the peer's queue is full, and arrives whole and in order",
          "[net][udp][unix]") {
    test::run([]() -> task<> {
        auto [first, second] = unix_datagram_socket::pair();
        const int queued = co_await fill(first, nullptr);
        CHECK(queued > 0);
        CHECK(queued < 10000);
        const auto send_more = [&]() -> task<> {
            for (int i = queued; i < queued + 40; ++i) co_await first.send(std::to_string(i));
        };
        const auto receive = [&]() -> task<> {
            co_await some_turns(3);
            for (int i = 0; i < queued + 40; ++i) {
                const unix_datagram got = co_await second.recv();
                CHECK(got.text() == std::to_string(i));
            }
        };
        co_await when_all(send_more(), receive());
    });
}

TEST_CASE("a send without a connection waits for the peer's queue, too", "[net][udp][unix]") {
    test::run([]() -> task<> {
        unix_datagram_socket receiver = unix_datagram_socket::bind("*");
        unix_datagram_socket sender = unix_datagram_socket::open();
        const unix_address to = receiver.local_address();
        const int queued = co_await fill(sender, &to);
        CHECK(queued > 0);
        CHECK(queued < 10000);
        const auto send_more = [&]() -> task<> {
            for (int i = queued; i < queued + 20; ++i) {
                co_await sender.send_to(std::to_string(i), to);
            }
        };
        const auto receive = [&]() -> task<> {
            co_await some_turns(3);
            for (int i = 0; i < queued + 20; ++i) {
                const unix_datagram got = co_await receiver.recv_from();
                CHECK(got.text() == std::to_string(i));
            }
        };
        co_await when_all(send_more(), receive());
    });
}

TEST_CASE("a waiting send ends with its socket", "[net][udp][unix][cancellation]") {
    test::run([]() -> task<> {
        unix_datagram_socket receiver = unix_datagram_socket::bind("*");
        const unix_address to = receiver.local_address();
        for (const bool connected : {true, false}) {
            unix_datagram_socket sender = unix_datagram_socket::open();
            const unix_address* const target = connected ? nullptr : &to;
            if (connected) sender.connect(to);
            co_await fill(sender, target);
            std::error_code outcome;
            const auto send = [&]() -> task<> {
                if (connected) {
                    auto sent = co_await as_result(sender.send("x"));
                    outcome = sent.error();
                } else {
                    auto sent = co_await as_result(sender.send_to("x", to));
                    outcome = sent.error();
                }
            };
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn(send);
                co_await some_turns(5);
                co_await sender.close();
            });
            CHECK(outcome == std::errc::operation_canceled);
        }
    });
}

TEST_CASE("a send that yields to others ends before its socket is closed",
          "[net][udp][unix][cancellation]") {
    test::run([]() -> task<> {
        unix_datagram_socket socket = unix_datagram_socket::open();
        int failed = 0;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                // Each fails at once, and now and then one lets others run before it says so.
                while (socket.is_open()) {
                    try {
                        co_await socket.send_to("x", "@rondo-nobody-is-here");
                    } catch (const socket_error& error) {
                        CHECK(error.code() == std::errc::connection_refused);
                        ++failed;
                    }
                }
            });
            co_await yield();
            co_await socket.close();
        });
        CHECK(failed > 0);
    });
}

TEST_CASE("a Unix datagram socket is released with what it has received", "[net][udp][unix]") {
    test::run([]() -> task<> {
        auto [first, second] = unix_datagram_socket::pair();
        co_await first.send("arm");
        const unix_datagram armed = co_await second.recv();
        CHECK(armed.text() == "arm");
        co_await first.send("kept");
        co_await some_turns();
        auto released = co_await second.release();
        unix_datagram_socket again(std::move(released.descriptor));
        if (released.received.empty()) {
            const unix_datagram got = co_await again.recv();
            CHECK(got.text() == "kept");
        } else {
            CHECK(released.received.front().text() == "kept");
        }
    });
}
