// The scenarios over streams: echo, chat fan-out, TCP, and cancellation.
#include <seeds/streams.hpp>

#include <rondo/net/tcp.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/net/unix_serve.hpp>
#include <rondo/net/socket_option.hpp>
#include <rondo/stream/buffered_reader.hpp>
#include <rondo/sync/broadcast.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/with_timeout.hpp>
#include <rondo/testing/socket_pair.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace rondo::test {

using namespace std::chrono_literals;

mismatch::~mismatch() = default;

task<> send_stream(play& here, stream_socket& to, std::uint64_t key, std::size_t total) {
    const std::size_t largest = here.one_in(3) ? 16'000 : 700;
    std::vector<std::byte> piece(largest);
    std::size_t sent = 0;
    while (sent != total) {
        const std::size_t size = std::min(here.between(1, largest), total - sent);
        const std::span bytes(piece.data(), size);
        fill(bytes, key, sent);
        switch (here.below(5)) {
            case 0: {
                const std::size_t some = co_await to.send_some(const_buffer(bytes));
                here.check(some >= 1 && some <= size, "send_some returned an impossible count");
                sent += some;
                continue;
            }
            case 1: {
                const std::size_t cut = here.between(0, size);
                co_await to.send(const_buffer(bytes.first(cut)), const_buffer(bytes.subspan(cut)));
                break;
            }
            case 2: co_await to.send_zero_copy(const_buffer(bytes)); break;
            case 3: co_await yield(); [[fallthrough]];
            default: co_await to.send(const_buffer(bytes));
        }
        sent += size;
        here.note(sent);
    }
    to.shutdown(shutdown_mode::send);
}

task<std::size_t> check_stream(play& here, stream_socket& from, std::uint64_t key) {
    std::size_t received = 0;
    std::vector<std::byte> room(3000);
    std::deque<chunk> kept;
    for (;;) {
        std::size_t count = 0;
        if (here.one_in(3)) {
            const std::span part(room.data(), here.between(1, room.size()));
            count = co_await from.recv(part);
            here.check(is_part(part.first(count), key, received), "recv(buffer): a wrong byte");
        } else {
            chunk data = co_await from.recv();
            count = data.size();
            here.check(is_part(data.bytes(), key, received), "recv(): a wrong byte");
            // Held for a while, so that the pool runs low.
            if (here.one_in(4)) kept.push_back(std::move(data));
            if (kept.size() > 3) kept.pop_front();
        }
        if (count == 0) break;
        received += count;
        here.note(count);
        if (here.one_in(8)) co_await yield();
    }
    co_return received;
}

task<> echo_back(play& here, stream_socket peer) {
    if (here.one_in(4)) {
        std::vector<std::byte> room(here.between(1, 2000));
        for (;;) {
            const std::size_t count = co_await peer.recv(std::span(room));
            if (count == 0) break;
            const std::span<const std::byte> all(room.data(), count);
            co_await peer.send(const_buffer(all));
        }
    } else {
        while (auto data = co_await peer.recv()) co_await peer.send(data);
    }
    if (here.one_in(2)) co_await peer.close();
}

namespace {

task<> receive_all_of(play& here, stream_socket& from, std::uint64_t key, std::size_t total) {
    const std::size_t received = co_await check_stream(here, from, key);
    here.check(received <= total, "more bytes came back than were sent");
    here.check_complete(received == total, "bytes are missing at the end of the stream");
}

}  // namespace

task<> converse(play& here, stream_socket& with, std::uint64_t key, std::size_t total) {
    co_await when_all(send_stream(here, with, key, total),
                      receive_all_of(here, with, key, total));
}

// --- echo ------------------------------------------------------------------------------------

namespace {

std::pair<unix_socket, unix_socket> unix_ends(play& here) {
    auto ends = unix_socket::pair();
    if (here.one_in(2)) {
        ends.first.set(send_buffer{4096});
        ends.second.set(send_buffer{4096});
    }
    return ends;
}

task<> converse_by(play& here, stream_socket with, std::uint64_t key, std::size_t total) {
    co_await converse(here, with, key, total);
}

}  // namespace

task<> echo_scenario(play& here) {
    const unsigned pairs = 1 + here.below(3);
    co_await with_task_group([&](task_group& group) -> task<> {
        for (unsigned i = 0; i < pairs; ++i) {
            auto ends = unix_ends(here);
            const std::uint64_t key = here.number();
            const std::size_t total = here.between(0, 12'000);
            group.spawn([&here](unix_socket peer) {
                return endure(here, [&here, peer = std::move(peer)]() mutable {
                    return echo_back(here, std::move(peer));
                });
            }, std::move(ends.first));
            group.spawn([&here, key, total](unix_socket peer) {
                return endure(here, [&here, key, total, peer = std::move(peer)]() mutable {
                    return converse_by(here, std::move(peer), key, total);
                });
            }, std::move(ends.second));
        }
        co_return;
    });
}

// --- chat ------------------------------------------------------------------------------------

namespace {

using line = std::shared_ptr<const std::string>;

struct room {
    room(unsigned members, unsigned lines_each) noexcept
        : clients(members), lines(lines_each), talkers(members) {}
    broadcast<line> said{4096};
    unsigned clients;
    unsigned lines;
    unsigned talkers;  // whose end has not come
};

task<> hear(play& here, room& where, stream_socket& member) {
    std::exception_ptr failure;
    try {
        buffered_reader reader(member);
        for (;;) {
            auto text = co_await reader.read_line();
            if (!text) break;
            // Cut short by an error at the member's end.
            if (!text->ends_with('.')) break;
            where.said.send(std::make_shared<std::string>(std::string(*text) + '\n'));
        }
    } catch (const std::system_error&) {
        failure = std::current_exception();
    }
    if (--where.talkers == 0) where.said.close();
    if (failure && !here.errors()) std::rethrow_exception(failure);
}

task<> tell(broadcast_receiver<line>& news, stream_socket& member) {
    std::vector<line> lines;
    std::vector<const_buffer> parts;
    for (;;) {
        const broadcast_count count = co_await news.receive_all(lines);
        if (!count) break;
        parts.clear();
        for (const line& each : lines) parts.emplace_back(std::string_view(*each));
        const std::span<const const_buffer> all(parts);
        co_await member.send(all);
    }
    member.shutdown(shutdown_mode::send);
}

// A member that cannot be told any more is still heard to its end, or the others would wait.
task<> attend_member(play& here, room& where, broadcast_receiver<line> news, unix_socket member) {
    const auto tell_member = [&] { return tell(news, member); };
    co_await when_all(hear(here, where, member), endure(here, tell_member));
}

task<> talk(play& here, room& where, stream_socket& hub, unsigned who) {
    std::string said;
    for (unsigned i = 0; i < where.lines; ++i) {
        said = std::to_string(who) + ' ' + std::to_string(i) + ' ' +
               std::string(here.between(0, here.one_in(4) ? 900 : 60), 'x') + ".\n";
        co_await hub.send(said);
        if (here.one_in(3)) co_await sleep_for(1ms);
    }
    hub.shutdown(shutdown_mode::send);
}

task<> listen_to_all(play& here, room& where, stream_socket& hub) {
    std::vector<unsigned> next(where.clients, 0);
    buffered_reader reader(hub);
    for (;;) {
        auto text = co_await reader.read_line();
        if (!text) break;
        const std::string heard(*text);
        here.check_complete(heard.ends_with('.'), "a line was cut short");
        if (!heard.ends_with('.')) break;
        const unsigned long who = std::stoul(heard);
        const unsigned long number = std::stoul(heard.substr(heard.find(' ')));
        here.check(who < where.clients, "a line of nobody");
        here.check(heard.find_first_not_of("0123456789 x.") == std::string::npos, "a torn line");
        here.check(number == next[who]++, "a member's lines are not in order");
        here.note(who * 1000 + number);
    }
    for (const unsigned each : next) {
        here.check_complete(each == where.lines, "a member's line is missing");
    }
}

task<> take_part(play& here, room& where, unix_socket hub, unsigned who) {
    co_await when_all(talk(here, where, hub, who), listen_to_all(here, where, hub));
}

}  // namespace

task<> chat_scenario(play& here) {
    room where(2 + here.below(3), 1 + here.below(8));
    co_await with_task_group([&](task_group& group) -> task<> {
        for (unsigned who = 0; who < where.clients; ++who) {
            auto ends = unix_ends(here);
            group.spawn([&here, &where](broadcast_receiver<line> news, unix_socket member) {
                return endure(here, [&here, &where, news = std::move(news),
                                     member = std::move(member)]() mutable {
                    return attend_member(here, where, std::move(news), std::move(member));
                });
            }, where.said.subscribe(), std::move(ends.first));
            group.spawn([&here, &where, who](unix_socket hub) {
                return endure(here, [&here, &where, who, hub = std::move(hub)]() mutable {
                    return take_part(here, where, std::move(hub), who);
                });
            }, std::move(ends.second));
        }
        co_return;
    });
}

// --- TCP -------------------------------------------------------------------------------------

namespace {

// Whatever accept() fails with, the listener is as good as before.
task<> accept_and_echo(play& here, tcp_listener& listener, task_group& group) {
    for (;;) {
        auto accepted = co_await as_result(listener.accept());
        if (!accepted) {
            context& me = co_await this_context();
            if (me.cancelled()) co_return;
            co_await sleep_for(1ms);
            continue;
        }
        group.spawn([&here](tcp_socket peer) {
            return endure(here, [&here, peer = std::move(peer)]() mutable {
                return echo_back(here, std::move(peer));
            });
        }, std::move(*accepted));
    }
}

task<> connect_and_converse(play& here, endpoint where) {
    const std::uint64_t key = here.number();
    tcp_socket socket = co_await tcp_connect(where);
    co_await converse(here, socket, key, here.between(0, 9000));
    if (here.one_in(4)) co_await socket.abort();
}

task<> connect_all(play& here, endpoint where, cancel_scope& accepting) {
    co_await with_task_group([&](task_group& clients) -> task<> {
        for (unsigned left = 1 + here.below(4); left != 0; --left) {
            clients.spawn([&here, where] {
                return endure(here, [&here, where] { return connect_and_converse(here, where); });
            });
        }
        co_return;
    });
    accepting.cancel();
}

}  // namespace

task<> tcp_scenario(play& here) {
    tcp_listener listener = tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0));
    const endpoint where = listener.local_endpoint();
    cancel_scope accepting;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&here, &accepting, where] { return connect_all(here, where, accepting); });
        auto ended = co_await as_result(accepting.run(accept_and_echo(here, listener, group)));
        here.check(ended || ended.error() == std::errc::operation_canceled,
                   "accepting ended by itself");
    });
}

// --- a server --------------------------------------------------------------------------------

namespace {

task<> connect_to_server(play& here, unix_address where) {
    const std::uint64_t key = here.number();
    unix_socket socket = co_await unix_connect(where);
    co_await converse(here, socket, key, here.between(0, 6000));
}

// In the end the server is cancelled; where failures are expected, also under way.
task<> visit_server(play& here, unix_address where, cancel_scope& serving) {
    const bool early = here.errors() && here.one_in(3);
    co_await with_task_group([&](task_group& clients) -> task<> {
        for (unsigned left = 1 + here.below(6); left != 0; --left) {
            clients.spawn([&here, where] {
                return endure(here, [&here, where] { return connect_to_server(here, where); });
            });
        }
        if (early) co_await sleep_for(1ms);
        if (early) serving.cancel();
    });
    serving.cancel();
}

}  // namespace

task<> serve_scenario(play& here) {
    unix_listener listener = unix_listener::listen(unix_address("*"));
    const unix_address where = listener.local_address();
    serve_stats stats;
    unix_serve_options options;
    options.max_connections = 1 + here.below(4);
    options.stats = &stats;
    options.on_failure = [&here](const std::exception_ptr&) { here.note(1); };
    cancel_scope serving;
    co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn([&here, &serving, where] { return visit_server(here, where, serving); });
        const auto handler = [&here](unix_socket peer) { return echo_back(here, std::move(peer)); };
        const auto serve = [&]() -> task<> {
            co_await unix_serve(std::move(listener), handler, options);
        };
        co_await endure(here, [&]() -> task<> {
            auto ended = co_await as_result(serving.run(serve()));
            here.check(!ended, "the server ended by itself");
            if (ended.error() != std::errc::operation_canceled) {
                throw std::system_error(ended.error());
            }
        });
    });
    here.check(stats.serving == 0, "a connection is served although its server has ended");
    here.check(here.errors() || stats.failed == 0, "a connection failed");
}

// --- cancellation ----------------------------------------------------------------------------

namespace {

// Goes on from what a send cut short tells.
task<> send_impatiently(play& here, unix_socket& to, std::uint64_t key, std::size_t total) {
    std::vector<std::byte> piece(5000);
    std::size_t sent = 0;
    while (sent != total) {
        const std::size_t size = std::min(here.between(1, piece.size()), total - sent);
        const std::span bytes(piece.data(), size);
        fill(bytes, key, sent);
        const auto patience = std::chrono::milliseconds(here.below(4));
        try {
            if (here.one_in(2)) {
                co_await with_timeout(patience, to.send(const_buffer(bytes)));
                sent += size;
            } else {
                sent += co_await with_timeout(patience, to.send_some(const_buffer(bytes)));
            }
        } catch (const operation_timed_out& late) {
            sent += late.transferred();
        }
        here.check(sent <= total, "more was sent than was asked for");
        here.note(sent);
        if (here.one_in(4)) co_await sleep_for(1ms);
    }
    to.shutdown(shutdown_mode::send);
}

/// What is received of one stream, by whoever.
struct progress {
    std::uint64_t key;
    std::size_t received = 0;
    bool ended = false;
};

void take(play& here, progress& so_far, std::span<const std::byte> bytes) {
    here.check(is_part(bytes, so_far.key, so_far.received), "a byte was lost or doubled");
    so_far.received += bytes.size();
    here.note(bytes.size());
}

task<> receive_once(play& here, unix_socket& from, progress& so_far) {
    std::array<std::byte, 1500> room;
    if (here.one_in(3)) {
        const std::size_t count = co_await from.recv(std::span(room));
        take(here, so_far, std::span(room).first(count));
        so_far.ended = count == 0;
    } else {
        const chunk data = co_await from.recv();
        take(here, so_far, data.bytes());
        so_far.ended = !data;
    }
}

// Another task cancels the scope it receives in.
task<> receive_in_scope(play& here, unix_socket& from, progress& so_far) {
    cancel_scope scope;
    auto cancel_soon = [&]() -> task<> {
        if (here.one_in(2)) co_await yield();
        if (here.one_in(2)) co_await sleep_for(1ms);
        scope.cancel();
    };
    auto receive = [&]() -> task<> {
        try {
            while (!so_far.ended) co_await scope.run(receive_once(here, from, so_far));
        } catch (const operation_canceled&) {
            here.note(1);
        }
    };
    co_await when_all(receive(), cancel_soon());
}

task<> receive_impatiently(play& here, unix_socket& from, progress& so_far) {
    while (!so_far.ended) {
        const unsigned way = here.below(8);
        if (way == 0) co_await sleep_for(1ms);
        if (way == 1) {
            co_await receive_in_scope(here, from, so_far);
        } else if (way == 2) {
            // The connection goes to a socket of its own, with what was there unread.
            released_socket taken = co_await from.release();
            take(here, so_far, taken.received);
            from = unix_socket(std::move(taken.descriptor));
            if (taken.error) throw std::system_error(taken.error);
        } else {
            const auto patience = std::chrono::milliseconds(here.below(3));
            try {
                co_await with_timeout(patience, receive_once(here, from, so_far));
            } catch (const operation_timed_out&) {
                here.note(2);
            }
        }
    }
}

// Each end goes when it has ended, so that a failed one does not keep the other waiting.
task<> send_and_go(play& here, unix_socket to, std::uint64_t key, std::size_t total) {
    co_await send_impatiently(here, to, key, total);
}

task<> receive_and_go(play& here, unix_socket from, progress& so_far) {
    co_await receive_impatiently(here, from, so_far);
}

}  // namespace

task<> cancel_scenario(play& here) {
    auto ends = unix_ends(here);
    const std::size_t total = here.between(1, 20'000);
    progress so_far{.key = here.number()};
    const auto send = [&] { return send_and_go(here, std::move(ends.first), so_far.key, total); };
    const auto receive = [&] { return receive_and_go(here, std::move(ends.second), so_far); };
    co_await when_all(endure(here, send), endure(here, receive));
    here.check_complete(so_far.received == total, "bytes are missing at the end of the stream");
}

}  // namespace rondo::test
