// The scenarios over datagrams: UDP, and Unix datagrams.
#include <seeds/play.hpp>

#include <rondo/net/udp.hpp>
#include <rondo/net/unix_datagram.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

namespace rondo::test {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t header = 4;  // the datagram's number

/// What was sent and what has come of it.
struct exchange {
    std::uint64_t key;
    std::map<unsigned, std::size_t> sent;  // number to size, until it has come
    unsigned numbers = 0;
    unsigned senders;
    std::size_t largest = 1000;
};

void receive(play& here, exchange& all, std::span<const std::byte> bytes, std::size_t true_size) {
    here.check(bytes.size() >= header, "a datagram without its number");
    unsigned number = 0;
    std::memcpy(&number, bytes.data(), header);
    const auto found = all.sent.find(number);
    here.check(found != all.sent.end(), "a datagram came twice, or nobody sent it");
    here.check(found->second == true_size, "a datagram has another size");
    here.check(is_part(bytes.subspan(header), all.key + number, 0), "a datagram has a wrong byte");
    all.sent.erase(found);
    here.note(number);
}

template <typename Socket>
task<> receive_once(play& here, Socket& from, exchange& all) {
    if (here.one_in(3)) {
        std::array<std::byte, 1100> room;
        auto got = co_await from.recv_from(std::span(room));
        receive(here, all, std::span(room).first(got.size), got.true_size);
    } else {
        auto got = co_await from.recv_from();
        receive(here, all, got.bytes(), got.true_size());
    }
}

// Until it is cancelled. An error is told to one receive, and the socket is as good as before.
template <typename Socket>
task<> receive_all(play& here, Socket& from, exchange& all) {
    context& me = co_await this_context();
    while (!me.cancelled()) {
        if (here.one_in(4)) {
            try {
                co_await with_timeout(std::chrono::milliseconds(here.below(3)),
                                      receive_once(here, from, all));
            } catch (const operation_timed_out&) {
                here.note(1);
            } catch (const operation_canceled&) {
                here.note(2);
            } catch (const std::system_error&) {
                if (!here.errors()) throw;
            }
        } else {
            try {
                co_await receive_once(here, from, all);
            } catch (const operation_canceled&) {
                here.note(3);
            } catch (const std::system_error&) {
                if (!here.errors()) throw;
            }
        }
    }
}

template <typename Socket>
task<> send_some(play& here, Socket& to, exchange& all, unsigned most = 12) {
    for (unsigned left = 1 + here.below(most); left != 0; --left) {
        const unsigned number = all.numbers++;
        std::vector<std::byte> bytes(here.between(header, here.one_in(3) ? all.largest : 60));
        std::memcpy(bytes.data(), &number, header);
        fill(std::span(bytes).subspan(header), all.key + number, 0);
        // Before it is sent: another task may receive it first.
        all.sent.emplace(number, bytes.size());
        bool failed = false;
        try {
            if (here.one_in(2)) {
                co_await to.send(const_buffer(bytes));
            } else {
                const std::size_t cut = here.between(0, bytes.size());
                const std::span<const std::byte> whole(bytes);
                const std::array<const_buffer, 2> parts{const_buffer(whole.first(cut)),
                                                        const_buffer(whole.subspan(cut))};
                const std::span<const const_buffer> list(parts);
                co_await to.send(list);
            }
        } catch (const std::system_error&) {
            if (!here.errors()) throw;
            failed = true;
        }
        if (failed) all.sent.erase(number);
        if (here.one_in(5)) co_await sleep_for(1ms);
    }
    --all.senders;
}

// The network's own part of the way (UDP) takes no virtual time: it is given some real time.
task<> wait_for_all(exchange& all, int most_looks = 3000) {
    for (int looks = 0; looks < most_looks && (all.senders != 0 || !all.sent.empty()); ++looks) {
        co_await sleep_for(1ms);
        if (looks > 1000) ::usleep(1000);
    }
}

template <typename Socket>
task<> exchange_all(play& here, Socket& from, Socket& to) {
    exchange all{.key = here.number(), .sent = {}, .senders = 1 + here.below(3)};
    cancel_scope receiving;
    co_await with_task_group([&](task_group& group) -> task<> {
        const unsigned receivers = 1 + here.below(3);
        const unsigned senders = all.senders;
        for (unsigned i = 0; i < receivers; ++i) {
            group.spawn([&receiving, &here, &from, &all]() -> task<> {
                co_await receiving.run(receive_all(here, from, all));
            });
        }
        for (unsigned i = 0; i < senders; ++i) {
            group.spawn([&here, &to, &all] { return send_some(here, to, all); });
        }
        co_await wait_for_all(all);
        receiving.cancel();
    });
    here.check(all.sent.empty(), "a datagram did not come");
    if (here.one_in(2)) co_await from.close();
}

// Sends back what came. With a datagram to be read by another task meanwhile a reply goes through
// the engine, and no plain call is made for it.
task<> answer_once(play& here, unix_datagram_socket& at) {
    auto got = co_await at.recv_from();
    const std::span<const std::byte> whole = got.bytes();
    if (here.one_in(2)) {
        co_await at.send(const_buffer(whole));
    } else {
        const std::size_t cut = here.between(0, whole.size());
        const std::array<const_buffer, 2> parts{const_buffer(whole.first(cut)),
                                                const_buffer(whole.subspan(cut))};
        const std::span<const const_buffer> list(parts);
        co_await at.send(list);
    }
}

task<> answer_all(play& here, unix_datagram_socket& at) {
    context& me = co_await this_context();
    while (!me.cancelled()) {
        try {
            co_await answer_once(here, at);
        } catch (const operation_canceled&) {
            here.note(4);
        } catch (const std::system_error&) {
            if (!here.errors()) throw;
        }
    }
}

}  // namespace

task<> answer_scenario(play& here) {
    auto ends = unix_datagram_socket::pair();
    exchange all{.key = here.number(), .sent = {}, .senders = 1 + here.below(3)};
    all.largest = 100;  // the smallest buffers have room for it: what is cut is not sent back whole
    cancel_scope receiving;
    co_await with_task_group([&](task_group& group) -> task<> {
        const unsigned senders = all.senders;
        for (unsigned left = 2 + here.below(3); left != 0; --left) {
            group.spawn([&receiving, &here, &ends]() -> task<> {
                co_await receiving.run(answer_all(here, ends.first));
            });
        }
        group.spawn([&receiving, &here, &ends, &all]() -> task<> {
            co_await receiving.run(receive_all(here, ends.second, all));
        });
        for (unsigned i = 0; i < senders; ++i) {
            group.spawn([&here, &ends, &all] { return send_some(here, ends.second, all); });
        }
        // A reply that failed does not come, however long one waits.
        co_await wait_for_all(all, here.errors() ? 200 : 3000);
        receiving.cancel();
    });
    here.check_complete(all.sent.empty(), "a reply did not come");
}

namespace {

task<> receive_one(play& here, unix_datagram_socket& from, exchange& all, bool descriptors) {
    if (!descriptors) {
        co_await receive_once(here, from, all);
        co_return;
    }
    std::array<std::byte, 200> room;
    auto got = co_await from.recv_descriptors(std::span(room), 1);
    receive(here, all, std::span(room).first(got.size), got.true_size);
}

// Until it is said to be the end.
task<> receive_rest(play& here, unix_datagram_socket& from, exchange& all, bool descriptors) {
    bool ended = false;
    while (!ended) {
        try {
            co_await receive_one(here, from, all, descriptors);
        } catch (const operation_canceled&) {
            ended = true;
        } catch (const std::system_error&) {
            if (!here.errors()) throw;
        }
    }
}

}  // namespace

// What had come when finish_receiving() was called is received, by plain calls where it must be.
task<> finish_scenario(play& here) {
    auto ends = unix_datagram_socket::pair();
    exchange all{.key = here.number(), .sent = {}, .senders = 1};
    all.largest = 100;
    const bool descriptors = here.one_in(2);
    // No more than the kernel has room for: nobody takes them meanwhile.
    co_await send_some(here, ends.second, all, 8);
    if (here.one_in(2) && !all.sent.empty()) {
        co_await endure(here, [&] { return receive_one(here, ends.first, all, descriptors); });
    }
    ends.first.finish_receiving();
    co_await receive_rest(here, ends.first, all, descriptors);
    here.check_complete(all.sent.empty(), "a datagram that had come is lost");
}

task<> udp_scenario(play& here) {
    udp_socket from = udp_socket::bind(endpoint(ip_address::v4_loopback(), 0));
    udp_socket to(ip_version::v4);
    to.connect(from.local_endpoint());
    co_await exchange_all(here, from, to);
}

task<> unix_datagram_scenario(play& here) {
    auto ends = unix_datagram_socket::pair();
    co_await exchange_all(here, ends.first, ends.second);
}

}  // namespace rondo::test
