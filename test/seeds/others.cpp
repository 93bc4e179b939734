// The scenarios by name and over threads, and two with planted mistakes.
#include <seeds/streams.hpp>

#include <rondo/io/on.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/net/happy_eyeballs.hpp>
#include <rondo/net/resolve_error.hpp>
#include <rondo/net/resolver.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/sync/shared_channel.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rondo::test {

using namespace std::chrono_literals;

// --- names -----------------------------------------------------------------------------------

namespace {

endpoint loopback(std::uint16_t port) { return endpoint(ip_address::v4_loopback(), port); }

/// A port that refuses.
endpoint dead_port() { return tcp_listener::listen(loopback(0)).local_endpoint(); }

task<> greet_all(play& here, tcp_listener& listener) {
    for (;;) {
        auto accepted = co_await as_result(listener.accept());
        if (!accepted) {
            context& me = co_await this_context();
            if (me.cancelled()) co_return;
            co_await sleep_for(1ms);
            continue;
        }
        tcp_socket peer = std::move(*accepted);
        // It may be an attempt that another one was quicker than.
        auto greeted = co_await as_result(peer.send("hello"));
        here.note(greeted ? 1 : 0);
    }
}

task<> expect_greeting(play& here, tcp_socket from) {
    std::string heard;
    while (auto data = co_await from.recv()) heard += data.text();
    here.check(std::string_view("hello").starts_with(heard), "another greeting");
    here.check_complete(heard == "hello", "the greeting was cut short");
}

task<> connect_by_name(play& here, std::uint16_t port) {
    tcp_socket connected;
    if (here.one_in(3)) {
        connected = co_await tcp_connect("localhost:" + std::to_string(port));
    } else {
        std::vector<endpoint> candidates;
        for (unsigned dead = here.below(3); dead != 0; --dead) candidates.push_back(dead_port());
        const auto found = co_await resolve("127.0.0.1", port);
        candidates.push_back(found.front());
        if (here.one_in(2)) candidates.push_back(loopback(port));
        connected = co_await tcp_connect(candidates);
    }
    co_await expect_greeting(here, std::move(connected));
}

// On a helper thread.
task<> ask_for_nonsense(play& here) {
    bool failed = false;
    try {
        co_await resolve("127.0.0.1", "no-such-service");
    } catch (const resolve_error&) {
        failed = true;
    }
    here.check(failed, "a service that is none has a port");
}

task<> connect_some(play& here, std::uint16_t port, cancel_scope& greeting) {
    const auto connect = [&here, port] { return connect_by_name(here, port); };
    for (unsigned left = 1 + here.below(3); left != 0; --left) {
        co_await endure(here, connect);
    }
    if (here.one_in(4)) co_await endure(here, [&] { return ask_for_nonsense(here); });
    greeting.cancel();
}

}  // namespace

task<> names_scenario(play& here) {
    tcp_listener listener = tcp_listener::listen(loopback(0));
    cancel_scope greeting;
    co_await with_task_group([&](task_group& group) -> task<> {
        const std::uint16_t port = listener.local_endpoint().port();
        group.spawn([&here, &greeting, port] { return connect_some(here, port, greeting); });
        auto ended = co_await as_result(greeting.run(greet_all(here, listener)));
        here.check(ended || ended.error() == std::errc::operation_canceled,
                   "greeting ended by itself");
    });
}

// --- threads ---------------------------------------------------------------------------------

namespace {

constexpr unsigned values_each = 20;

task<> produce(shared_channel<unsigned> to, unsigned from) {
    for (unsigned i = 0; i < values_each; ++i) {
        const unsigned value = from + i;
        co_await to.send(value);
    }
    to.close();
}

task<> consume(play& here, shared_channel<unsigned> from, unsigned first) {
    unsigned next = first;
    for (;;) {
        const std::optional<unsigned> value = co_await from.recv();
        if (!value) break;
        here.check(*value == next++, "a value of another thread is lost or out of order");
    }
    here.check(next == first + values_each, "values of another thread are missing");
}

task<int> converse_over_there(std::uint64_t seed, bool errors) {
    play there(seed, errors);
    co_await echo_scenario(there);
    co_return 1;
}

}  // namespace

// The first thread's: its siblings have no root of their own but wait for what is sent to them.
task<> thread_scenario(play& here) {
    scheduler& mine = co_await this_scheduler();
    std::vector<scheduler*> others;
    for (scheduler* each : mine.siblings()) {
        if (each != &mine) others.push_back(each);
    }
    here.check(!others.empty(), "there is one thread only");
    co_await with_task_group([&](task_group& group) -> task<> {
        for (scheduler* each : others) {
            const shared_channel<unsigned> values(1 + here.below(4));
            const unsigned first = here.below(1000);
            group.spawn([each, values, first] { return on(*each, produce, values, first); });
            group.spawn([&here, values, first] { return consume(here, values, first); });
            const std::uint64_t seed = here.number();
            const bool errors = here.errors();
            group.spawn([each, seed, errors]() -> task<> {
                const int done = co_await on(*each, converse_over_there, seed, errors);
                if (done != 1) throw mismatch("another thread's value is another one");
            });
            group.spawn([&here] { return echo_scenario(here); });
        }
        co_return;
    });
}

// --- planted mistakes ------------------------------------------------------------------------

namespace {

// The mistake: what send_some() left is never sent.
task<> forward_carelessly(stream_socket from, stream_socket to) {
    while (auto data = co_await from.recv()) {
        std::ignore = co_await to.send_some(const_buffer(data.bytes()));
    }
    to.shutdown(shutdown_mode::send);
}

task<> send_carefully(play& here, stream_socket to, std::uint64_t key) {
    std::vector<std::byte> bytes(300);
    fill(std::span(bytes), key, 0);
    for (std::size_t at = 0; at < bytes.size(); at += 50) {
        co_await to.send(const_buffer(std::span(bytes).subspan(at, 50)));
        here.note(at);
    }
    // The task, and the socket with it, lives until all three have ended.
    to.shutdown(shutdown_mode::send);
}

task<> receive_forwarded(play& here, stream_socket from, std::uint64_t key) {
    const std::size_t received = co_await check_stream(here, from, key);
    here.check(received == 300, "bytes are missing at the end of the stream");
}

}  // namespace

task<> planted_byte_scenario(play& here) {
    auto first = unix_socket::pair();
    auto second = unix_socket::pair();
    const std::uint64_t key = here.number();
    co_await when_all(send_carefully(here, std::move(first.first), key),
                      forward_carelessly(std::move(first.second), std::move(second.first)),
                      receive_forwarded(here, std::move(second.second), key));
}

// The mistake: that the one that was spawned first has begun first.
task<> planted_order_scenario(play& here) {
    const std::shared_ptr<std::optional<int>> shared = std::make_shared<std::optional<int>>();
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&here, shared]() -> task<> {
            here.note(1);
            *shared = 4711;
            co_return;
        });
        group.spawn([&here, shared]() -> task<> {
            here.note(2);
            here.check(shared->has_value(), "a value was used before it was set");
            co_return;
        });
        co_return;
    });
}

}  // namespace rondo::test
