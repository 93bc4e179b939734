#include <rondo/net/tcp.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/misuse.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/tcp_pair.hpp>
#include <support/transport.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <fcntl.h>
#include <sys/socket.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;

// --- values ----------------------------------------------------------------------------------

TEST_CASE("sockets and listeners move and do not copy", "[net][tcp]") {
    STATIC_CHECK(std::is_nothrow_move_constructible_v<tcp_socket>);
    STATIC_CHECK(std::is_nothrow_move_assignable_v<tcp_socket>);
    STATIC_CHECK_FALSE(std::is_copy_constructible_v<tcp_socket>);
    STATIC_CHECK(std::is_nothrow_move_constructible_v<tcp_listener>);
    STATIC_CHECK_FALSE(std::is_copy_constructible_v<tcp_listener>);
}

TEST_CASE("a socket is non-blocking, close-on-exec, and closed with its object", "[net][tcp]") {
    for (const ip_version version : {ip_version::v4, ip_version::v6}) {
        int descriptor = -1;
        {
            tcp_socket socket(version);
            REQUIRE(socket.is_open());
            descriptor = socket.descriptor();
            CHECK((::fcntl(descriptor, F_GETFL) & O_NONBLOCK) != 0);
            CHECK((::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) != 0);
        }
        CHECK_FALSE(is_open(descriptor));
    }
    CHECK_FALSE(tcp_socket().is_open());
    CHECK_FALSE(tcp_listener().is_open());
}

TEST_CASE("a moved socket leaves a closed one behind, and an assignment closes the old one",
          "[net][tcp]") {
    tcp_socket first(ip_version::v4);
    tcp_socket second(ip_version::v4);
    const int old = second.descriptor();
    const int kept = first.descriptor();
    second = std::move(first);
    CHECK_FALSE(first.is_open());
    CHECK_FALSE(is_open(old));
    CHECK(second.descriptor() == kept);
    tcp_socket third(std::move(second));
    CHECK_FALSE(second.is_open());
    CHECK(third.descriptor() == kept);
}

TEST_CASE("options are typed, at creation and later", "[net][tcp]") {
    tcp_listener listener = tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0),
                                                 reuse_address{true}, reuse_port{true});
    CHECK(listener.get<reuse_address>().enabled);
    CHECK(listener.get<reuse_port>().enabled);
    tcp_listener same = tcp_listener::listen(listener.local_endpoint(), reuse_address{true},
                                             reuse_port{true});
    CHECK(same.local_endpoint() == listener.local_endpoint());
    tcp_socket socket(ip_version::v4);
    CHECK_FALSE(socket.get<no_delay>().enabled);
    socket.set(no_delay{true});
    CHECK(socket.get<no_delay>().enabled);
}

// --- bind, listen ----------------------------------------------------------------------------

TEST_CASE("port 0 lets the kernel choose, and local_endpoint() tells", "[net][tcp]") {
    for (const ip_address& address : {ip_address::v4_loopback(), ip_address::v6_loopback()}) {
        const tcp_listener listener = tcp_listener::listen(endpoint(address, 0));
        CHECK(listener.local_endpoint().address() == address);
        CHECK(listener.local_endpoint().port() != 0);
    }
}

TEST_CASE("an IPv6 listener leaves the port free for IPv4", "[net][tcp]") {
    // Some other socket of this machine may have the port on IPv4: another try then.
    bool both = false;
    for (int i = 0; i < 50 && !both; ++i) {
        const tcp_listener v6 = tcp_listener::listen(endpoint(ip_address::v6_any(), 0));
        const endpoint same(ip_address::v4_any(), v6.local_endpoint().port());
        try {
            const tcp_listener v4 = tcp_listener::listen(same);
            both = v4.local_endpoint() == same;
        } catch (const socket_error& error) {
            CHECK(error.code() == std::errc::address_in_use);
        }
    }
    CHECK(both);
}

TEST_CASE("a busy port is refused with verb, endpoint and what to check", "[net][tcp]") {
    const tcp_listener listener = listen_on_loopback();
    const endpoint local = listener.local_endpoint();
    std::string text;
    try {
        tcp_listener::listen(local);
    } catch (const socket_error& error) {
        CHECK(error.code() == std::errc::address_in_use);
        text = error.what();
    }
    CHECK(text == "bind " + local.to_string() +
                      ": Address already in use (another socket has this address; see ss -tulnp)");
}

TEST_CASE("an address of no interface cannot be bound", "[net][tcp]") {
    tcp_socket socket(ip_version::v4);
    const endpoint elsewhere = endpoint::parse("192.0.2.1:0").value();
    std::string text;
    try {
        socket.bind(elsewhere);
    } catch (const socket_error& error) {
        CHECK(error.code() == std::errc::address_not_available);
        text = error.what();
    }
    CHECK(text == "bind 192.0.2.1:0: Cannot assign requested address "
                  "(no interface here has this address; see ip address)");
}

TEST_CASE("port 80 without permission is refused with the sysctl to look at", "[net][tcp]") {
    const child_result outcome = in_child([] {
        if (::setgid(65534) != 0 || ::setuid(65534) != 0) {
            say("cannot drop root");
            return 2;
        }
        try {
            tcp_listener::listen(endpoint::parse("127.0.0.1:80").value(), reuse_address{});
        } catch (const socket_error& error) {
            std::fputs(error.what(), stderr);
            return error.code() == std::errc::permission_denied ? 0 : 3;
        }
        return 4;
    });
    if (outcome.code == 2) SKIP("the test does not run as root");
    if (outcome.code == 4) SKIP("port 80 needs no permission here");
    CHECK(outcome.code == 0);
    CHECK(outcome.error_text.starts_with("bind 127.0.0.1:80: Permission denied (ports below "));
    CHECK(outcome.error_text.find("sysctl net.ipv4.ip_unprivileged_port_start") !=
          std::string::npos);
}

TEST_CASE("listen() takes a backlog, and a second one changes nothing else", "[net][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener(ip_version::v4);
        listener.bind(endpoint(ip_address::v4_loopback(), 0));
        listener.listen(1);
        listener.listen(16);
        raw_peer peer = raw_peer::connect_to(listener.local_endpoint());
        const tcp_socket accepted = co_await accept_one(listener);
        CHECK(accepted.remote_endpoint() == peer.local_endpoint());
    });
}

// --- receiving and sending over a connection -------------------------------------------------

TEST_CASE("both ends know both endpoints", "[net][tcp]") {
    test::run([]() -> task<> {
        const tcp_pair pair = co_await connected_pair();
        CHECK(pair.a.local_endpoint() == pair.b.remote_endpoint());
        CHECK(pair.a.remote_endpoint() == pair.b.local_endpoint());
        CHECK(pair.a.local_endpoint().port() != 0);
    });
}

TEST_CASE("remote_endpoint() of a socket without a connection throws", "[net][tcp]") {
    const tcp_socket socket(ip_version::v4);
    std::error_code error;
    try {
        socket.remote_endpoint();
    } catch (const socket_error& failure) {
        error = failure.code();
    }
    CHECK(error == std::errc::not_connected);
}

TEST_CASE("recv(buffer) returns what came, and 0 after the peer shuts down", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        co_await pair.a.send("hello");
        const std::string got = co_await read_exactly_into_buffer(pair.b, 5, 64);
        CHECK(got == "hello");
        pair.a.shutdown(shutdown_mode::send);
        std::string buffer(8, '\0');
        const std::size_t n = co_await pair.b.recv(writable(buffer));
        CHECK(n == 0);
    });
}

TEST_CASE("recv(buffer) leaves no request and no buffer behind", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        co_await pair.a.send("hello");
        const std::string got = co_await read_exactly_into_buffer(pair.b, 5, 5);
        CHECK(got == "hello");
        CHECK_FALSE(pair.b.state().in_use());
        scheduler& here = co_await this_scheduler();
        CHECK(here.stats().buffers_held == 0);
    });
}

TEST_CASE("recv() returns a true chunk with the bytes, and a false one after the peer shuts down",
          "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        co_await pair.a.send("hello");
        const std::string got = co_await read_exactly(pair.b, 5);
        CHECK(got == "hello");
        pair.a.shutdown(shutdown_mode::send);
        const chunk end = co_await pair.b.recv();
        CHECK_FALSE(end);
        CHECK(end.size() == 0);
    });
}

TEST_CASE("a cancelled recv(buffer) loses nothing", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        raw_stream_pair pair = connected_to_raw_peer(over);
        std::string got;
        std::size_t sent = 0;
        for (int i = 0; i < 50; ++i) {
            cancel_scope scope;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    std::string buffer(7, '\0');
                    auto n = co_await as_result(scope.run(pair.socket.recv(writable(buffer))));
                    if (n) got.append(buffer, 0, *n);
                });
                for (int turns = 0; turns < i % 4; ++turns) co_await next_turn();
                pair.peer.send(pattern(5, 0, sent));
                sent += 5;
                for (int turns = 0; turns < i % 3; ++turns) co_await next_turn();
                scope.cancel();
            });
        }
        pair.peer.finish();
        const std::string rest = co_await read_to_end(pair.socket);
        CHECK(got + rest == pattern(sent));
    });
}

TEST_CASE("a receive and a send overlap on one socket", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        const std::string there = pattern(3'000'000, 1);
        const std::string back = pattern(3'000'000, 2);
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await pair.a.send(there); });
            group.spawn([&]() -> task<> { co_await pair.b.send(back); });
            group.spawn([&]() -> task<> {
                const std::string got = co_await read_exactly(pair.b, there.size());
                CHECK((got == there));
            });
            const std::string got = co_await read_exactly(pair.a, back.size());
            CHECK((got == back));
        });
    });
}

TEST_CASE("a chunk outlives its scheduler, and to_owned() keeps the bytes anywhere",
          "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    raw_stream_pair pair = connected_to_raw_peer(over);
    chunk kept;
    chunk owned;
    test::run([&]() -> task<> {
        pair.peer.send("leased");
        kept = co_await pair.socket.recv();
        owned = kept.to_owned();
        CHECK(owned.data() != kept.data());
    });
    CHECK(kept.text() == owned.text());
    CHECK(std::string("leased").starts_with(kept.text()));
    kept.bytes()[0] = std::byte{'L'};  // still writable memory
    CHECK(owned.text()[0] == 'l');
    kept = chunk();
    CHECK_FALSE(kept);
    CHECK(owned);
}

TEST_CASE("bytes in a vector are sent as they are, alone and with others", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        const std::string text = pattern(100);
        const auto bytes = std::as_bytes(std::span(text));
        std::vector<std::byte> data(bytes.begin(), bytes.end());
        const std::vector<std::byte> constant = data;
        co_await pair.a.send(data);
        co_await pair.a.send(constant);
        co_await pair.a.send("and ", constant, data);
        pair.a.shutdown(shutdown_mode::send);
        const std::string got = co_await read_to_end(pair.b);
        CHECK(got == text + text + "and " + text + text);
    });
}

TEST_CASE("receiving into no room again and again lets others run", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        bool other_ended = false;
        const auto other = [&]() -> task<> {
            for (int i = 0; i < 10; ++i) co_await yield();
            other_ended = true;
        };
        const auto receiver = [&]() -> task<> {
            for (int i = 0; i < 1'000'000 && !other_ended; ++i) {
                co_await pair.a.recv(std::span<std::byte>());
            }
            CHECK(other_ended);
        };
        co_await when_all(receiver(), other());
    });
}

TEST_CASE("a reset connection's error names the peer it was connected to", "[net][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        const std::string peer_name = listener.local_endpoint().to_string();
        tcp_socket client = co_await tcp_connect(listener.local_endpoint());
        tcp_socket accepted = co_await accept_one(listener);
        accepted.set(rondo::linger{std::chrono::seconds(0)});
        co_await accepted.close();
        // The kernel has forgotten the peer's name by now.
        std::string text;
        try {
            co_await client.recv();
        } catch (const socket_error& error) {
            CHECK(error.code() == std::errc::connection_reset);
            text = error.what();
        }
        CHECK(text.starts_with("recv"));
        CHECK(text.find(peer_name) != std::string::npos);
    });
}

// --- shutdown --------------------------------------------------------------------------------

TEST_CASE("shutdown(send) ends the stream there and leaves the way back open", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        co_await pair.a.send("last words");
        pair.a.shutdown(shutdown_mode::send);
        const std::string got = co_await read_to_end(pair.b);
        CHECK(got == "last words");
        co_await pair.b.send("answer");
        const std::string answer = co_await read_exactly(pair.a, 6);
        CHECK(answer == "answer");
        std::error_code error;
        try {
            co_await pair.a.send("more");
        } catch (const socket_error& failure) {
            error = failure.code();
        }
        CHECK(error == std::errc::broken_pipe);
    });
}

TEST_CASE("shutdown(receive) delivers what was received, then the end", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        for (const bool armed : {false, true}) {
            raw_stream_pair pair = connected_to_raw_peer(over);
            if (armed) {
                pair.peer.send("arm");
                const std::string first = co_await read_exactly(pair.socket, 3);
                CHECK(first == "arm");
            }
            pair.peer.send("received");
            pair.socket.shutdown(shutdown_mode::receive);
            const std::string got = co_await read_to_end(pair.socket);
            CHECK(got == "received");
            co_await pair.socket.send("still sending");
            const bool answered =
                co_await eventually([&] { return pair.peer.reads("still sending"); });
            CHECK(answered);
        }
    });
}

TEST_CASE("shutdown(both) ends the stream at both ends", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        pair.a.shutdown(shutdown_mode::both);
        const std::string there = co_await read_to_end(pair.b);
        const std::string here = co_await read_to_end(pair.a);
        CHECK(there.empty());
        CHECK(here.empty());
    });
}

TEST_CASE("shutdown of a socket without a connection throws", "[net][tcp]") {
    tcp_socket socket(ip_version::v4);
    std::string text;
    try {
        socket.shutdown(shutdown_mode::both);
    } catch (const socket_error& error) {
        CHECK(error.code() == std::errc::not_connected);
        text = error.what();
    }
    CHECK(text.starts_with("shutdown: "));
}

// --- close, release --------------------------------------------------------------------------

TEST_CASE("close() cancels and joins what other tasks await", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        for (const bool leased : {false, true}) {
            stream_pair pair = co_await narrow_pair(over);
            const int descriptor = pair.a.descriptor();
            const std::string data = pattern(16'000'000);
            std::error_code received;
            std::error_code sent;
            bool joined = false;
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn([&]() -> task<> {
                    std::string buffer(8, '\0');
                    if (leased) {
                        const auto result = co_await as_result(pair.a.recv());
                        received = result.error();
                    } else {
                        const auto result = co_await as_result(pair.a.recv(writable(buffer)));
                        received = result.error();
                    }
                });
                group.spawn([&]() -> task<> {
                    const auto result = co_await as_result(pair.a.send(data));
                    sent = result.error();
                });
                co_await some_turns();
                co_await pair.a.close();
                joined = received && sent;
                CHECK_FALSE(is_open(descriptor));
                CHECK_FALSE(pair.a.is_open());
            });
            CHECK(joined);
            CHECK(received == std::errc::operation_canceled);
            CHECK(sent == std::errc::operation_canceled);
        }
    });
}

TEST_CASE("close() delivers what was sent before it", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        const std::string data = pattern(100'000);
        co_await pair.a.send(data);
        co_await pair.a.close();
        const std::string got = co_await read_to_end(pair.b);
        CHECK((got == data));
    });
}

// Its frame, and what it took over, may live on in a variable or in when_all().
TEST_CASE("close() has closed when it completes, wherever the task is kept", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        const int descriptor = pair.a.descriptor();
        task<> closing = pair.a.close();
        co_await std::move(closing);
        CHECK_FALSE(is_open(descriptor));
        const std::string rest = co_await read_to_end(pair.b);
        CHECK(rest.empty());
    });
}

TEST_CASE("abort() and a listener's close() have closed when they complete", "[net][tcp]") {
    test::run([]() -> task<> {
        tcp_listener listener = listen_on_loopback();
        tcp_pair pair = co_await connected_pair(listener);
        const int connection = pair.a.descriptor();
        const int listening = listener.descriptor();
        task<> aborting = pair.a.abort();
        task<> closing = listener.close();
        co_await std::move(aborting);
        co_await std::move(closing);
        CHECK_FALSE(is_open(connection));
        CHECK_FALSE(is_open(listening));
    });
}

TEST_CASE("close() closes in a cancelled scope too", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        co_await pair.a.send("x");
        const std::string got = co_await read_exactly(pair.b, 1);  // armed from here on
        CHECK(got == "x");
        const int descriptor = pair.b.descriptor();
        cancel_scope scope;
        scope.cancel();
        co_await scope.run(pair.b.close());
        CHECK_FALSE(is_open(descriptor));
    });
}

TEST_CASE("a released socket goes on in another run()", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    raw_stream_pair pair = connected_to_raw_peer(over);
    released_socket released;
    test::run([&]() -> task<> {
        pair.peer.send("first, ");
        const std::string got = co_await read_exactly(pair.socket, 7);
        CHECK(got == "first, ");
        pair.peer.send("second");
        co_await some_turns();
        released = co_await pair.socket.release();
    });
    CHECK((::fcntl(released.descriptor.get(), F_GETFL) & O_NONBLOCK) != 0);
    std::string got(reinterpret_cast<const char*>(released.received.data()),
                    released.received.size());
    test::run([&]() -> task<> {
        stream_socket socket(std::move(released.descriptor));
        const std::string rest = co_await read_exactly(socket, 6 - got.size());
        got += rest;
        co_await socket.send("answer");
        const bool answered = co_await eventually([&] { return pair.peer.reads("answer"); });
        CHECK(answered);
    });
    CHECK(got == "second");
}

TEST_CASE("release() joins what other tasks await", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    test::run([over]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        std::error_code received;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                const auto result = co_await as_result(pair.a.recv());
                received = result.error();
            });
            co_await some_turns();
            const released_socket released = co_await pair.a.release();
            CHECK(received == std::errc::operation_canceled);
            CHECK(is_open(released.descriptor.get()));
        });
    });
}

TEST_CASE("sockets live over two successive run() calls", "[net][tcp][unix]") {
    const transport over = GENERATE(transport::tcp, transport::unix_stream);
    stream_socket a;
    stream_socket b;
    test::run([&]() -> task<> {
        stream_pair pair = co_await connected_pair(over);
        co_await pair.a.send("one");
        const std::string got = co_await read_exactly(pair.b, 3);
        CHECK(got == "one");
        a = std::move(pair.a);
        b = std::move(pair.b);
    });
    test::run([&]() -> task<> {
        co_await a.send("two");
        const std::string got = co_await read_exactly(b, 3);
        CHECK(got == "two");
        co_await b.send("three");
        const std::string back = co_await read_exactly_into_buffer(a, 5, 2);
        CHECK(back == "three");
    });
}

// --- misuse ----------------------------------------------------------------------------------

TEST_CASE("two receives at once on one socket are misuse", "[net][tcp_misuse]") {
    check_misuse("two receives at once on one socket", []() -> task<> {
        tcp_pair pair = co_await connected_pair();
        co_await with_task_group([&](task_group& group) -> task<> {
            for (int i = 0; i < 2; ++i) {
                group.spawn([&]() -> task<> { co_await pair.a.recv(); });
            }
            co_return;
        });
    });
    check_misuse("two receives at once on one socket", []() -> task<> {
        tcp_pair pair = co_await connected_pair();
        std::string buffer(8, '\0');
        co_await with_task_group([&](task_group& group) -> task<> {
            for (int i = 0; i < 2; ++i) {
                group.spawn([&]() -> task<> { co_await pair.a.recv(writable(buffer)); });
            }
            co_return;
        });
    });
}

TEST_CASE("two sends at once on one socket are misuse", "[net][tcp_misuse]") {
    check_misuse("two sends at once on one socket", []() -> task<> {
        tcp_pair pair = co_await narrow_pair();
        const std::string data = pattern(16'000'000);
        co_await with_task_group([&](task_group& group) -> task<> {
            for (int i = 0; i < 2; ++i) {
                group.spawn([&]() -> task<> { co_await pair.a.send(data); });
            }
            co_return;
        });
    });
}

TEST_CASE("a socket destroyed while a task awaits it is misuse", "[net][tcp_misuse]") {
    check_misuse("a socket is destroyed while a task awaits it", []() -> task<> {
        tcp_pair pair = co_await connected_pair();
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await pair.a.recv(); });
            co_await some_turns();
            pair.a = tcp_socket();
        });
    });
}

TEST_CASE("an armed socket destroyed on another thread is misuse", "[net][tcp_misuse]") {
    check_misuse("a socket is destroyed on another thread", []() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        pair.peer.send("x");
        const std::string got = co_await read_exactly(pair.socket, 1);  // armed from here on
        std::thread([&] { const tcp_socket gone = std::move(pair.socket); }).join();
    });
}

TEST_CASE("a socket used on a second scheduler while the first one lives is misuse",
          "[net][tcp_misuse]") {
    check_misuse("a socket is used on another scheduler", []() -> task<> {
        raw_pair pair = connected_to_raw_peer();
        pair.peer.send("x");
        const std::string got = co_await read_exactly(pair.socket, 1);
        std::thread([&] {
            test::run([&]() -> task<> { co_await pair.socket.recv(); });
        }).join();
    });
}

TEST_CASE("run() inside of run() is misuse", "[net][tcp_misuse]") {
    check_misuse("a second scheduler is made on one thread", []() -> task<> {
        co_await next_turn();
        test::run([]() -> task<> { co_return; });
    });
}
