// The cancellation contract, on the engine that the environment names.
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/tcp_pair.hpp>
#include <support/thrown_by.hpp>

#include <rondo/io/scheduler.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/generator.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/when_any.hpp>
#include <rondo/task/with_timeout.hpp>
#include <rondo/testing/faulty_engine.hpp>

#include <catch2/catch_test_macros.hpp>

#include <linux/io_uring.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <random>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace rondo;
using namespace std::chrono_literals;
using rondo::test::connected_pair;
using rondo::test::eventually;
using rondo::test::thrown_by;
using rondo::test::some_turns;

namespace {

constexpr auto canceled = std::errc::operation_canceled;

std::size_t waiting_bytes(tcp_socket& socket) {
    int count = 0;
    ::ioctl(socket.descriptor(), FIONREAD, &count);
    return static_cast<std::size_t>(count);
}

// Whoever receives on it is in the ready queue.
bool is_woken(tcp_socket& socket) {
    const receive_state& state = socket.state();
    const operation* direct = state.direct_reader;
    const bool waits = state.waited_for() || (direct != nullptr && !direct->made_ready());
    return state.reading() && !waits;
}

// Everything up to the end of the stream.
task<std::string> read_all(tcp_socket& socket) {
    std::string all;
    while (auto data = co_await socket.recv()) all += data.text();
    co_return all;
}

// The bytes from `first` on of a stream in which a lost, doubled or foreign byte shows.
std::string stream_bytes(std::size_t first, std::size_t count) {
    std::string made(count, '\0');
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = first + i;
        made[i] = static_cast<char>('A' + (at * 7 + at / 251) % 64);
    }
    return made;
}

// Where the kernel's ends refuses more, on any machine.
constexpr std::size_t more_than_fits = std::size_t{512} * 1024;

// --- 1. level-triggered ------------------------------------------------------------------------

struct sockets_in_all_states {
    explicit sockets_in_all_states(test::tcp_pair made) : pair(std::move(made)) {}
    tcp_listener listener = test::listen_on_loopback();
    tcp_socket fresh{ip_version::v4};
    test::tcp_pair pair;
};

task<> every_operation_throws(sockets_in_all_states& s) {
    std::array<std::byte, 16> buffer = {};
    std::error_code e = co_await thrown_by(s.pair.a.recv());
    CHECK(e == canceled);
    e = co_await thrown_by(s.pair.a.recv(buffer));
    CHECK(e == canceled);
    e = co_await thrown_by(s.pair.a.send("text"));
    CHECK(e == canceled);
    e = co_await thrown_by(s.pair.a.send(""));
    CHECK(e == canceled);
    e = co_await thrown_by(s.pair.a.send_some("text"));
    CHECK(e == canceled);
    e = co_await thrown_by(s.pair.a.send("one", "two", "three"));
    CHECK(e == canceled);
    e = co_await thrown_by(s.listener.accept());
    CHECK(e == canceled);
    e = co_await thrown_by(s.fresh.connect(s.listener.local_endpoint()));
    CHECK(e == canceled);
    e = co_await thrown_by(sleep_for(1h));
    CHECK(e == canceled);
    e = co_await thrown_by(sleep_for(0s));
    CHECK(e == canceled);
    e = co_await thrown_by(sleep_until(rondo::clock::now() - 1h));
    CHECK(e == canceled);
    e = co_await thrown_by(yield());
    CHECK(e == canceled);
}

task<> every_operation_gives_the_error(sockets_in_all_states& s) {
    std::array<std::byte, 16> buffer = {};
    const auto chunk_outcome = co_await as_result(s.pair.a.recv());
    CHECK(chunk_outcome.error() == canceled);
    const auto count = co_await as_result(s.pair.a.recv(buffer));
    CHECK(count.error() == canceled);
    const auto sent = co_await as_result(s.pair.a.send("text"));
    CHECK(sent.error() == canceled);
    const auto some = co_await as_result(s.pair.a.send_some("text"));
    CHECK(some.error() == canceled);
    const auto gathered = co_await as_result(s.pair.a.send("one", "two", "three"));
    CHECK(gathered.error() == canceled);
    const auto accepted = co_await as_result(s.listener.accept());
    CHECK(accepted.error() == canceled);
    const auto connected = co_await as_result(s.fresh.connect(s.listener.local_endpoint()));
    CHECK(connected.error() == canceled);
    const auto slept = co_await as_result(sleep_for(1h));
    CHECK(slept.error() == canceled);
    const auto yielded = co_await as_result(yield());
    CHECK(yielded.error() == canceled);
}

generator<int> endless_yields() {
    for (int i = 0;; ++i) {
        co_await yield();
        co_yield i;
    }
}

task<> every_compound_throws(sockets_in_all_states& s) {
    std::error_code e = co_await thrown_by(with_timeout(1h, s.pair.a.recv()));
    CHECK(e == canceled);
    e = co_await thrown_by(with_timeout(0s, s.pair.a.recv()));
    CHECK(e == canceled);
    e = co_await thrown_by(when_all(s.pair.a.recv(), s.listener.accept()));
    CHECK(e == canceled);
    e = co_await thrown_by(when_any(s.pair.a.recv(), sleep_for(1h)));
    CHECK(e == canceled);
    auto body = [&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> { co_await s.pair.a.send("text"); });
        co_await s.listener.accept();
    };
    e = co_await thrown_by(with_task_group(body));
    CHECK(e == canceled);
    auto source = endless_yields();
    e = co_await thrown_by(source.next());
    CHECK(e == canceled);
}

task<> fail_all_in_a_cancelled_scope() {
    test::tcp_pair pair = co_await connected_pair();
    sockets_in_all_states all(std::move(pair));
    // Data that has come changes nothing, and stays for later.
    co_await all.pair.b.send("waiting");
    auto& first = all.pair.a;
    cancel_scope scope;
    scope.cancel();
    for (int twice = 0; twice != 2; ++twice) {
        co_await scope.run(every_operation_throws(all));
        co_await scope.run(every_operation_gives_the_error(all));
        co_await scope.run(every_compound_throws(all));
    }
    all.pair.b.shutdown(shutdown_mode::send);
    first.shutdown(shutdown_mode::send);
    const std::string received = co_await read_all(first);
    CHECK(received == "waiting");
    const std::string sent = co_await read_all(all.pair.b);
    CHECK(sent.empty());
}

TEST_CASE("In a cancelled scope every await of an operation fails, again and again",
          "[cancellation]") {
    test::run(fail_all_in_a_cancelled_scope);
}

// A loop that swallows the cancellation of what `make()` returns, and a task with other plans.
template <typename Make>
task<> swallow_beside_another_task(Make make) {
    constexpr int most = 1'000'000;
    bool other_done = false;
    int rounds = 0;
    auto swallow = [&]() -> task<> {
        while (!other_done && rounds < most) {
            ++rounds;
            auto outcome = co_await as_result(make());
            REQUIRE(outcome.error() == canceled);
        }
    };
    auto other = [&]() -> task<> {
        for (int i = 0; i != 100; ++i) co_await yield();
        co_await some_turns(3);
        other_done = true;
    };
    cancel_scope scope;
    scope.cancel();
    co_await when_all(scope.run(swallow()), other());
    CHECK(other_done);
    CHECK(rounds < most);
    CHECK(rounds >= 100);
}

task<> swallow_every_kind() {
    test::tcp_pair pair = co_await connected_pair();
    sockets_in_all_states s(std::move(pair));
    std::array<std::byte, 16> buffer = {};
    // With data there recv() would not even wait.
    co_await s.pair.b.send("waiting");
    co_await swallow_beside_another_task([&] { return s.pair.a.recv(); });
    co_await swallow_beside_another_task([&] { return s.pair.a.recv(buffer); });
    co_await swallow_beside_another_task([&] { return s.pair.a.send("x"); });
    co_await swallow_beside_another_task([&] { return s.pair.a.send(""); });
    co_await swallow_beside_another_task([&] { return s.pair.a.send_some("x"); });
    co_await swallow_beside_another_task([&] { return s.pair.a.send("x", "y"); });
    co_await swallow_beside_another_task([&] { return s.listener.accept(); });
    const endpoint there = s.listener.local_endpoint();
    co_await swallow_beside_another_task([&] { return s.fresh.connect(there); });
    co_await swallow_beside_another_task([] { return sleep_for(0s); });
    co_await swallow_beside_another_task([] { return yield(); });
}

TEST_CASE("A loop that swallows its cancellation does not starve other tasks", "[cancellation]") {
    test::run(swallow_every_kind);
}

task<> clean_up_under_a_shield() {
    test::tcp_pair pair = co_await connected_pair();
    cancel_scope scope;
    bool cleaned = false;
    auto work = [&]() -> task<> {
        std::exception_ptr failure;
        try {
            co_await pair.a.recv();
        } catch (...) {
            failure = std::current_exception();
        }
        CHECK(is_canceled(failure));
        // Operations, time-outs and branches work as if nothing had happened.
        co_await shield(pair.a.send("bye"));
        const std::error_code e = co_await thrown_by(shield(with_timeout(1ms, sleep_for(1h))));
        CHECK(e == std::errc::timed_out);
        co_await shield(when_all(yield(), sleep_for(1ms)));
        cleaned = true;
        std::rethrow_exception(failure);
    };
    auto canceller = [&]() -> task<> {
        co_await some_turns(3);
        scope.cancel();
    };
    const auto both = co_await when_all(as_result(scope.run(work())), canceller());
    CHECK(std::get<0>(both).error() == canceled);
    CHECK(cleaned);
    pair.a.shutdown(shutdown_mode::send);
    const std::string received = co_await read_all(pair.b);
    CHECK(received == "bye");
}

TEST_CASE("shield protects a clean-up, and around it the cancellation stays", "[cancellation]") {
    test::run(clean_up_under_a_shield);
}

task<> cancel_around_a_shielded_wait() {
    test::tcp_pair pair = co_await connected_pair();
    cancel_scope outer;
    cancel_scope inner;
    std::string received;
    auto work = [&]() -> task<> {
        const chunk data = co_await shield(pair.a.recv());
        received = data.text();
        std::error_code e = co_await thrown_by(pair.a.recv());
        CHECK(e == canceled);
        e = co_await thrown_by(shield(inner.run(pair.a.recv())));
        CHECK(e == canceled);
    };
    auto other = [&]() -> task<> {
        co_await some_turns(5);
        outer.cancel();
        co_await some_turns(5);
        CHECK(received.empty());
        co_await pair.b.send("data");
        const bool arrived = co_await eventually([&] { return !received.empty(); });
        CHECK(arrived);
        co_await some_turns(5);
        inner.cancel();
    };
    co_await when_all(outer.run(work()), other());
    CHECK(received == "data");
}

TEST_CASE("A shielded wait outlasts a cancellation around it, not one of a scope inside",
          "[cancellation]") {
    test::run(cancel_around_a_shielded_wait);
}

// --- 2. an await returns only after the last completion ----------------------------------------

task<> poison_after_a_cancelled_recv() {
    test::tcp_pair pair = co_await connected_pair();
    std::minstd_rand random(1);
    for (int round = 0; round != 200; ++round) {
        auto buffer = std::make_unique<std::array<std::byte, 64>>();
        cancel_scope scope;
        auto canceller = [&]() -> task<> {
            co_await some_turns(static_cast<int>(random() % 4));
            scope.cancel();
        };
        const auto both =
            co_await when_all(as_result(scope.run(pair.a.recv(*buffer))), canceller());
        REQUIRE(std::get<0>(both).error() == canceled);
        buffer->fill(std::byte{0xAA});
        co_await pair.b.send("late");
        // A request still in the kernel would take these bytes out of the socket.
        const bool there = co_await eventually([&] { return waiting_bytes(pair.a) == 4; });
        REQUIRE(there);
        const bool untouched =
            std::ranges::all_of(*buffer, [](std::byte b) { return b == std::byte{0xAA}; });
        REQUIRE(untouched);
        std::string got;
        while (got.size() < 4) {
            const std::size_t n = co_await pair.a.recv(*buffer);
            got.append(reinterpret_cast<const char*>(buffer->data()), n);
        }
        REQUIRE(got == "late");
    }
}

TEST_CASE("A cancelled recv into a buffer no longer touches it", "[cancellation]") {
    test::run(poison_after_a_cancelled_recv);
}

// Cancels a send that blocks, overwrites what it was sending, and lets the peer read.
template <typename Send>
task<> poison_after_a_cancelled_send(Send send, int distance) {
    test::tcp_pair pair = co_await test::narrow_pair();
    std::string data = stream_bytes(0, more_than_fits);
    cancel_scope scope;
    std::size_t transferred = 0;
    auto sender = [&]() -> task<> {
        try {
            co_await scope.run(send(pair.a, data));
            FAIL("more went out than the kernel holds");
        } catch (const operation_canceled& cut) {
            transferred = cut.transferred();
        }
        std::ranges::fill(data, '\xAA');
        pair.a.shutdown(shutdown_mode::send);
    };
    auto canceller = [&]() -> task<> {
        const bool begun = co_await eventually([&] { return waiting_bytes(pair.b) != 0; });
        CHECK(begun);
        co_await some_turns(distance);
        scope.cancel();
    };
    co_await when_all(sender(), canceller());
    const std::string received = co_await read_all(pair.b);
    REQUIRE(received.size() == transferred);
    REQUIRE(received == stream_bytes(0, transferred));
    CHECK(transferred > 0);
}

TEST_CASE("A cancelled send tells exactly what the peer reads, and reads no more of its data",
          "[cancellation]") {
    for (int distance = 0; distance != 12; ++distance) {
        test::run([distance] {
            const auto whole = [](tcp_socket& to, std::string& data) -> task<> {
                co_await to.send(data);
            };
            return poison_after_a_cancelled_send(whole, distance);
        });
        test::run([distance] {
            const auto in_parts = [](tcp_socket& to, std::string& data) -> task<> {
                const std::string_view all = data;
                std::vector<const_buffer> parts;
                for (std::size_t at = 0; at < all.size(); at += 5000) {
                    parts.push_back(all.substr(at, 5000));
                }
                co_await to.send(parts);
            };
            return poison_after_a_cancelled_send(in_parts, distance);
        });
    }
}

task<> unhook_a_reader() {
    test::tcp_pair pair = co_await connected_pair();
    scheduler& here = co_await this_scheduler();
    const auto waiting = here.buffers().usable() ? receive_state::phase::armed
                                                 : receive_state::phase::copying;
    for (int round = 0; round != 100; ++round) {
        cancel_scope scope;
        std::uint64_t entries = 0;
        auto canceller = [&]() -> task<> {
            co_await some_turns(3);
            entries = here.stats().entries;
            scope.cancel();
        };
        const auto both = co_await when_all(as_result(scope.run(pair.a.recv())), canceller());
        REQUIRE(std::get<0>(both).error() == canceled);
        if (!test::faulty()) {
            REQUIRE(here.stats().entries == entries);
            REQUIRE(pair.a.state().current_phase() == waiting);
        }
        const std::string text = "late " + std::to_string(round);
        co_await pair.b.send(text);
        std::string got;
        while (got.size() < text.size()) {
            const chunk data = co_await pair.a.recv();
            got += data.text();
        }
        REQUIRE(got == text);
    }
}

TEST_CASE("A cancelled recv() only unhooks: its request stays armed and what comes is kept",
          "[cancellation]") {
    test::run(unhook_a_reader);
}

task<> unhook_an_acceptor() {
    tcp_listener listener = test::listen_on_loopback();
    scheduler& here = co_await this_scheduler();
    for (int round = 0; round != 50; ++round) {
        cancel_scope scope;
        std::uint64_t entries = 0;
        auto canceller = [&]() -> task<> {
            co_await some_turns(3);
            entries = here.stats().entries;
            scope.cancel();
        };
        const auto both =
            co_await when_all(as_result(scope.run(test::accept_one(listener))), canceller());
        REQUIRE(std::get<0>(both).error() == canceled);
        if (!test::faulty()) REQUIRE(here.stats().entries == entries);
        test::tcp_pair pair = co_await connected_pair(listener);
        REQUIRE(pair.a.local_endpoint() == pair.b.remote_endpoint());
    }
}

TEST_CASE("A cancelled accept only unhooks: who connects later is there for the next",
          "[cancellation]") {
    test::run(unhook_an_acceptor);
}

// --- 3. what happened wins ---------------------------------------------------------------------

// Cancels when the completion has come and the reader has not yet run.
task<> cancel_behind_the_data() {
    test::tcp_pair pair = co_await connected_pair();
    for (int round = 0; round != 100; ++round) {
        cancel_scope scope;
        auto reader = [&]() -> task<> {
            const chunk data = co_await pair.a.recv();
            REQUIRE(data.text() == "x");
            const std::error_code e = co_await thrown_by(pair.a.recv());
            REQUIRE(e == canceled);
        };
        auto canceller = [&]() -> task<> {
            const bool came = co_await eventually([&] { return is_woken(pair.a); });
            REQUIRE(came);
            scope.cancel();
        };
        co_await when_all(canceller(), scope.run(reader()), pair.b.send("x"));
    }
}

TEST_CASE("Data that came before the cancel is delivered, and the next await reports it",
          "[cancellation]") {
    test::run(cancel_behind_the_data);
}

task<> cancel_behind_the_data_in_a_buffer() {
    test::tcp_pair pair = co_await connected_pair();
    for (int round = 0; round != 100; ++round) {
        std::array<std::byte, 8> buffer = {};
        cancel_scope scope;
        auto reader = [&]() -> task<> {
            const std::size_t n = co_await pair.a.recv(buffer);
            REQUIRE(n == 1);
            REQUIRE(buffer[0] == std::byte{'x'});
            const std::error_code e = co_await thrown_by(pair.a.recv(buffer));
            REQUIRE(e == canceled);
        };
        auto canceller = [&]() -> task<> {
            const bool came = co_await eventually([&] { return is_woken(pair.a); });
            REQUIRE(came);
            scope.cancel();
        };
        co_await when_all(canceller(), scope.run(reader()), pair.b.send("x"));
    }
}

TEST_CASE("Data that came into a buffer before the cancel is delivered", "[cancellation]") {
    test::run(cancel_behind_the_data_in_a_buffer);
}

task<> cancel_behind_a_connection() {
    tcp_listener listener = test::listen_on_loopback();
    for (int round = 0; round != 50; ++round) {
        cancel_scope scope;
        tcp_socket made(ip_version::v4);
        auto acceptor = [&]() -> task<> {
            tcp_socket accepted = co_await test::accept_one(listener);
            REQUIRE(accepted.remote_endpoint() == made.local_endpoint());
            const std::error_code e = co_await thrown_by(listener.accept());
            REQUIRE(e == canceled);
        };
        auto canceller = [&]() -> task<> {
            const bool came =
                co_await eventually([&] { return listener.state().undelivered() != 0; });
            REQUIRE(came);
            scope.cancel();
        };
        co_await when_all(canceller(), scope.run(acceptor()),
                          made.connect(listener.local_endpoint()));
    }
}

TEST_CASE("A connection accepted before the cancel is delivered", "[cancellation]") {
    test::run(cancel_behind_a_connection);
}

// What send_some() said plus what send() said before it was cut short is what the peer reads.
task<> cancel_partial_sends(int distance) {
    test::tcp_pair pair = co_await test::narrow_pair();
    const std::string data = stream_bytes(0, more_than_fits);
    std::size_t delivered = 0;
    bool sent_some = false;
    cancel_scope scope;
    auto sender = [&]() -> task<> {
        for (;;) {
            const const_buffer rest(std::string_view(data).substr(delivered));
            auto n = co_await as_result(pair.a.send_some(rest));
            if (!n) {
                REQUIRE(n.error() == canceled);
                break;
            }
            REQUIRE(*n > 0);
            delivered += *n;
            sent_some = true;
        }
        const std::error_code e = co_await thrown_by(pair.a.send_some(data));
        REQUIRE(e == canceled);
        pair.a.shutdown(shutdown_mode::send);
    };
    auto canceller = [&]() -> task<> {
        co_await some_turns(distance);
        scope.cancel();
    };
    co_await when_all(canceller(), scope.run(sender()));
    const std::string received = co_await read_all(pair.b);
    REQUIRE(received.size() == delivered);
    REQUIRE(received == stream_bytes(0, delivered));
    if (distance > 3 && !test::faulty()) CHECK(sent_some);
}

TEST_CASE("A partial send_some is delivered in spite of the cancel", "[cancellation]") {
    for (int distance = 0; distance != 12; ++distance) {
        test::run(cancel_partial_sends, distance);
    }
}

// A request completes while its cancel is prepared: at every distance of the two.
task<> cancel_around_a_whole_send() {
    std::size_t sent = 0;
    std::size_t cut = 0;
    test::tcp_pair pair = co_await connected_pair();
    for (unsigned round = 0; round != 300; ++round) {
        const std::string text = stream_bytes(sent, 1 + round % 50);
        cancel_scope scope;
        auto sender = [&]() -> task<> {
            try {
                co_await pair.a.send(text);
                sent += text.size();
            } catch (const operation_canceled& error) {
                sent += error.transferred();
                ++cut;
            }
        };
        auto canceller = [&]() -> task<> {
            co_await some_turns(static_cast<int>(round % 4));
            scope.cancel();
        };
        co_await when_all(scope.run(sender()), canceller());
    }
    pair.a.shutdown(shutdown_mode::send);
    const std::string received = co_await read_all(pair.b);
    CHECK(received.size() == sent);
    CHECK(received == stream_bytes(0, sent));
    CHECK(cut < 300);
}

TEST_CASE("A send that completes around its cancel counts every byte once", "[cancellation]") {
    test::run(cancel_around_a_whole_send);
}

// --- 4. the operation it was meant for, or none ------------------------------------------------

// In a frame of its own, which is recycled: the next one is at the same address.
[[gnu::noinline]] task<std::size_t> receive_into(tcp_socket& socket, std::span<std::byte> buffer,
                                                 const void*& address) {
    auto operation = socket.recv(buffer);
    address = &operation;
    const std::size_t n = co_await operation;
    co_return n;
}

struct victim_and_successor {
    tcp_socket& socket;
    std::array<std::byte, 4> buffer = {};
    const void* first = nullptr;
    const void* second = nullptr;
    bool first_ended = false;
    std::size_t received = 0;

    task<> read(cancel_scope& scope) {
        auto raced = co_await as_result(scope.run(receive_into(socket, buffer, first)));
        if (raced) {
            received += *raced;
        } else {
            REQUIRE(raced.error() == canceled);
        }
        first_ended = true;
        // Nobody cancels this one.
        auto after = co_await as_result(shield(receive_into(socket, buffer, second)));
        REQUIRE(after.error() == std::error_code());
        received += *after;
    }
};

task<> cancel_a_predecessor(unsigned rounds) {
    test::tcp_pair pair = co_await connected_pair();
    std::minstd_rand random(4);
    std::size_t sent = 0;
    std::size_t received = 0;
    unsigned same_address = 0;
    for (unsigned round = 0; round != rounds; ++round) {
        victim_and_successor reader{pair.a};
        cancel_scope scope;
        auto other = [&]() -> task<> {
            const unsigned dice = static_cast<unsigned>(random());
            co_await some_turns(static_cast<int>(dice % 3));
            if (dice / 3 % 2 == 0) {
                co_await pair.b.send("x");
                ++sent;
            }
            co_await some_turns(static_cast<int>(dice / 6 % 3));
            scope.cancel();
            const bool ended = co_await eventually([&] { return reader.first_ended; });
            REQUIRE(ended);
            co_await some_turns(static_cast<int>(dice / 18 % 3));
            co_await pair.b.send("y");
            ++sent;
        };
        co_await when_all(reader.read(scope), other());
        received += reader.received;
        if (reader.first == reader.second) ++same_address;
    }
    pair.b.shutdown(shutdown_mode::send);
    const std::string rest = co_await read_all(pair.a);
    CHECK(received + rest.size() == sent);
    CHECK(same_address > rounds / 2);
}

TEST_CASE("A cancel never reaches a later receive at the same address", "[cancellation]") {
    test::run(cancel_a_predecessor, 4000u);
}

// Each send but the first is at the address of one whose cancel may still be under way.
task<> cancel_a_predecessor_that_sends() {
    test::tcp_pair pair = co_await test::narrow_pair();
    const std::string data = stream_bytes(0, 300'000);
    std::size_t sent = 0;
    auto whole = [&](std::size_t from, std::size_t count) -> task<> {
        co_await pair.a.send(std::string_view(data).substr(from, count));
    };
    auto sender = [&]() -> task<> {
        while (sent < data.size()) {
            const std::size_t count = std::min<std::size_t>(data.size() - sent, 3000);
            cancel_scope scope;
            auto canceller = [&]() -> task<> {
                co_await some_turns(static_cast<int>(sent % 5));
                scope.cancel();
            };
            try {
                co_await when_all(scope.run(whole(sent, count)), canceller());
                sent += count;
            } catch (const operation_canceled& error) {
                sent += error.transferred();
            }
            const std::size_t next = std::min<std::size_t>(data.size() - sent, 1000);
            co_await whole(sent, next);
            sent += next;
        }
        pair.a.shutdown(shutdown_mode::send);
    };
    const auto both = co_await when_all(sender(), read_all(pair.b));
    const bool all_there = std::get<1>(both) == data;
    CHECK(all_there);
}

TEST_CASE("A cancel never reaches a later send at the same address", "[cancellation]") {
    test::run(cancel_a_predecessor_that_sends);
}

// --- 5. bounded --------------------------------------------------------------------------------

task<> cancel_more_than_the_queue_holds(std::size_t count) {
    std::vector<test::tcp_pair> pairs;
    tcp_listener listener = test::listen_on_loopback();
    for (std::size_t i = 0; i != count; ++i) {
        test::tcp_pair pair = co_await connected_pair(listener);
        pairs.push_back(std::move(pair));
    }
    std::size_t waiting = 0;
    std::size_t ended = 0;
    auto wait = [&](tcp_socket& socket) -> task<> {
        std::array<std::byte, 8> buffer = {};
        ++waiting;
        auto n = co_await as_result(socket.recv(buffer));
        REQUIRE(n.error() == canceled);
        ++ended;
    };
    co_await with_task_group([&](task_group& group) -> task<> {
        for (test::tcp_pair& pair : pairs) {
            group.spawn([&] { return wait(pair.a); });
            group.spawn([&] { return wait(pair.b); });
        }
        const bool all = co_await eventually([&] { return waiting == 2 * count; });
        REQUIRE(all);
        co_await some_turns(3);
        CHECK(ended == 0);
        group.cancel();
    });
    CHECK(ended == 2 * count);
}

TEST_CASE("A submission queue of 4 entries loses none of 600 cancels", "[cancellation]") {
    run_options options = test::options();
    options.queues.entries = 4;
    options.queues.completions = 8;
    rondo::run(options, cancel_more_than_the_queue_holds, std::size_t{300});
}

// --- 6. deadlines ------------------------------------------------------------------------------

task<> time_out_single_and_compound() {
    test::tcp_pair pair = co_await connected_pair();
    std::error_code e = co_await thrown_by(with_timeout(1ms, pair.a.recv()));
    CHECK(e == std::errc::timed_out);
    std::error_code inside;
    auto work = [&]() -> task<> {
        inside = co_await thrown_by(pair.a.recv());
        co_await yield();
    };
    e = co_await thrown_by(with_timeout(1ms, work()));
    CHECK(e == std::errc::timed_out);
    CHECK(inside == canceled);
    e = co_await thrown_by(with_timeout(1ms, when_all(pair.a.recv(), sleep_for(1h))));
    CHECK(e == std::errc::timed_out);
    auto body = [&](task_group& group) -> task<> {
        group.spawn([&]() -> task<> { co_await pair.a.recv(); });
        co_await sleep_for(1h);
    };
    e = co_await thrown_by(with_timeout(1ms, with_task_group(body)));
    CHECK(e == std::errc::timed_out);
    co_await pair.b.send("after all that");
    const chunk data = co_await pair.a.recv();
    CHECK(data);
}

namespace {

task<> cancel_after(cancel_scope& scope, int turns) {
    for (int i = 0; i != turns; ++i) co_await yield();
    scope.cancel();
}

}  // namespace

// Where the peer sends nothing more, a full socket still polls as ready to io_uring, which tries a
// send 128 times and then on a thread of its own; between two attempts a cancel does not find it.
TEST_CASE("A cancel finds a send that the kernel tries over and over", "[cancellation]") {
    rondo::test::run([]() -> task<> {
        const std::vector<std::byte> data(65536);
        for (int turns = 0; turns < 200; turns += 7) {
            auto [a, b] = unix_socket::pair();
            a.set(send_buffer(1));
            b.shutdown(shutdown_mode::send);
            cancel_scope scope;
            std::error_code error;
            const auto body = [&](task_group& group) -> task<> {
                group.spawn(cancel_after, std::ref(scope), turns);
                auto sent = co_await as_result(scope.run(a.send(data)));
                error = sent.error();
            };
            co_await with_task_group(body);
            CHECK(error == std::errc::operation_canceled);
        }
    });
}

// A thread of the kernel that has a request is interrupted, and the request may survive that.
TEST_CASE("A cancel is asked again where the kernel answered EALREADY and nothing came of it",
          "[cancellation]") {
    if (test::faulty()) SKIP("the plan is this test's own");
    run_options options = test::options();
    options.make_engine = [](const engine_options& queues) {
        testing::fault_plan plan;
        for (unsigned nth : {1u, 2u, 3u}) {
            plan.rules.push_back({IORING_OP_ASYNC_CANCEL, nth, testing::fault::error, EALREADY});
        }
        return std::make_unique<testing::faulty_engine>(
            make_engine(engine_kind::automatic, queues), plan);
    };
    rondo::run(options, []() -> task<> {
        const std::vector<std::byte> data(8 << 20);
        auto [a, b] = unix_socket::pair();
        const auto sent = co_await as_result(with_timeout(1ms, a.send(data)));
        CHECK(sent.error() == std::errc::timed_out);
        scheduler& here = co_await this_scheduler();
        CHECK(here.stats().timers == 0);
    });
}

TEST_CASE("A time-out around single or compound work reports timed_out at its own boundary",
          "[cancellation]") {
    test::run(time_out_single_and_compound);
}

task<> race_chunks(std::vector<std::string>& parts, unsigned& timeouts, std::minstd_rand& random,
                   tcp_socket& from) {
    for (;;) {
        const auto patience = std::chrono::microseconds(random() % 60);
        auto data = co_await as_result(with_timeout(patience, from.recv()));
        if (!data) {
            REQUIRE(data.error() == std::errc::timed_out);
            ++timeouts;
        } else if (data->empty()) {
            co_return;
        } else {
            parts.emplace_back(data->text());
        }
    }
}

task<> race_buffers(std::vector<std::string>& parts, unsigned& timeouts, std::minstd_rand& random,
                    tcp_socket& from) {
    std::array<std::byte, 256> buffer = {};
    for (;;) {
        const auto patience = std::chrono::microseconds(random() % 60);
        auto n = co_await as_result(with_timeout(patience, from.recv(buffer)));
        if (!n) {
            REQUIRE(n.error() == std::errc::timed_out);
            ++timeouts;
        } else if (*n == 0) {
            co_return;
        } else {
            parts.emplace_back(reinterpret_cast<const char*>(buffer.data()), *n);
        }
    }
}

// Messages with pauses of about the time-outs' length, so that either may win.
task<> write_with_pauses(tcp_socket& to, std::size_t& written) {
    std::minstd_rand random(7);
    for (int i = 0; i != 3000; ++i) {
        const std::string text = stream_bytes(written, 1 + random() % 40);
        co_await to.send(text);
        written += text.size();
        co_await sleep_for(std::chrono::microseconds(random() % 60));
    }
    to.shutdown(shutdown_mode::send);
}

template <typename Reader>
task<> race_timeouts_against_data(Reader reader) {
    test::tcp_pair pair = co_await connected_pair();
    std::minstd_rand random(9);
    std::vector<std::string> parts;
    unsigned timeouts = 0;
    std::size_t written = 0;
    co_await when_all(reader(parts, timeouts, random, pair.a),
                      write_with_pauses(pair.b, written));
    std::string all;
    for (const std::string& part : parts) all += part;
    CHECK(all.size() == written);
    const bool in_order = all == stream_bytes(0, written);
    CHECK(in_order);
    CHECK(timeouts > 0);
    CHECK(timeouts + parts.size() > 1000);
}

TEST_CASE("3,000 races of a time-out against recv() lose no byte", "[cancellation]") {
    test::run([] { return race_timeouts_against_data(race_chunks); });
}

TEST_CASE("3,000 races of a time-out against recv(buffer) lose no byte", "[cancellation]") {
    test::run([] { return race_timeouts_against_data(race_buffers); });
}

task<> race_timeouts_against_connections() {
    tcp_listener listener = test::listen_on_loopback();
    constexpr std::size_t wanted = 300;
    std::vector<endpoint> accepted;
    std::vector<endpoint> connected;
    auto acceptor = [&]() -> task<> {
        std::minstd_rand random(3);
        while (accepted.size() < wanted) {
            const auto patience = std::chrono::microseconds(random() % 100);
            auto peer = co_await as_result(with_timeout(patience, test::accept_one(listener)));
            if (peer) {
                accepted.push_back(peer->remote_endpoint());
            } else {
                REQUIRE(peer.error() == std::errc::timed_out);
            }
        }
    };
    auto connector = [&]() -> task<> {
        std::minstd_rand random(5);
        std::vector<tcp_socket> kept;
        while (connected.size() < wanted) {
            tcp_socket made = co_await tcp_connect(listener.local_endpoint());
            connected.push_back(made.local_endpoint());
            kept.push_back(std::move(made));
            co_await sleep_for(std::chrono::microseconds(random() % 100));
        }
    };
    auto both = [&]() -> task<> { co_await when_all(acceptor(), connector()); };
    co_await with_timeout(60s, both());
    std::ranges::sort(accepted);
    std::ranges::sort(connected);
    CHECK(accepted == connected);
}

TEST_CASE("300 races of a time-out against accept lose no connection", "[cancellation]") {
    test::run(race_timeouts_against_connections);
}

task<> stop_from_another_thread(std::stop_source& source, std::atomic<bool>& waiting) {
    test::tcp_pair pair = co_await connected_pair();
    context& here = co_await this_context();
    cancel_scope scope;
    scope.bind(source.get_token(), here.loop());
    auto announce = [&]() -> task<> {
        waiting = true;
        waiting.notify_all();
        co_await pair.a.recv();
    };
    const std::error_code e = co_await thrown_by(scope.run(announce()));
    CHECK(e == canceled);
    CHECK(scope.cancelled());
}

TEST_CASE("A stop token asked to stop on another thread wakes and cancels", "[cancellation]") {
    for (int round = 0; round != 50; ++round) {
        std::stop_source source;
        std::atomic<bool> waiting = false;
        std::jthread other([&] {
            waiting.wait(false);
            source.request_stop();
        });
        test::run([&] { return stop_from_another_thread(source, waiting); });
    }
}

}  // namespace
