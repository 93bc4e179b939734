// The experiment: what buffer sizes and TCP's options do to throughput and latency, measured here
// and now over loopback, with the reason beside each figure.
//
//     ./samples/run socket_options            about 7 seconds
//     ./samples/run socket_options --quick    a fifth of that, and rougher
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <functional>

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

namespace {

const rondo::endpoint anywhere(rondo::ip_address::v4_loopback(), 0);

struct connection {
    rondo::tcp_socket client;
    rondo::tcp_socket server;
};

using preparation = std::function<void(rondo::tcp_socket&)>;

// Buffers are to be set before the connection is made: the window is agreed upon then. What is
// accepted takes after its listener, so the server's end is prepared on that.
rondo::task<connection> connect(preparation prepare, long long server_buffer) {
    rondo::tcp_listener listener(rondo::ip_version::v4);
    if (server_buffer > 0) listener.set(rondo::receive_buffer(server_buffer));
    listener.bind(anywhere);
    listener.listen();
    connection made;
    made.client = rondo::tcp_socket(rondo::ip_version::v4);
    prepare(made.client);
    co_await made.client.connect(listener.local_endpoint());
    made.server = co_await listener.accept();
    co_return made;
}

// --- throughput ----------------------------------------------------------------------------------

using request = std::function<rondo::task<>(rondo::tcp_socket&)>;

const std::string block(262'144, 'x');

rondo::task<> block_of_stream(rondo::tcp_socket& to) { co_await to.send(block); }

rondo::task<> send_for(rondo::tcp_socket& to, const request& send, std::chrono::milliseconds time) {
    for (const auto end = steady::now() + time; steady::now() < end;) co_await send(to);
    to.shutdown(rondo::shutdown_mode::send);
}

rondo::task<> count_to_end(rondo::tcp_socket& from, bool quickly, double& total) {
    for (;;) {
        if (quickly) from.set(rondo::quick_ack{});
        auto data = co_await from.recv();
        if (!data) co_return;
        total += static_cast<double>(data.size());
    }
}

// Megabytes (10^6) each second.
rondo::task<double> throughput(connection& through, request send, bool quickly,
                               std::chrono::milliseconds time) {
    double total = 0;
    const auto begin = steady::now();
    co_await rondo::when_all(send_for(through.client, send, time),
                             count_to_end(through.server, quickly, total));
    const std::chrono::duration<double> took = steady::now() - begin;
    co_return total / 1e6 / took.count();
}

// --- latency -------------------------------------------------------------------------------------

constexpr std::size_t header_size = 16;
constexpr std::size_t body_size = 64;
const std::string header(header_size, 'h');
const std::string body(body_size, 'b');

// Answers each request of `size` bytes with one byte once all of it is there.
rondo::task<> answer(rondo::tcp_socket& peer, std::size_t size, bool quickly) {
    std::size_t missing = size;
    for (;;) {
        if (quickly) peer.set(rondo::quick_ack{});
        auto data = co_await peer.recv();
        if (!data) co_return;
        missing -= data.size();
        if (missing > 0) continue;
        co_await peer.send("!");
        missing = size;
    }
}

rondo::task<> two_sends(rondo::tcp_socket& to) {
    co_await to.send(header);
    co_await to.send(body);
}

rondo::task<> one_gather_send(rondo::tcp_socket& to) { co_await to.send(header, body); }

rondo::task<> two_corked_sends(rondo::tcp_socket& to) {
    to.set(rondo::cork{true});
    co_await two_sends(to);
    to.set(rondo::cork{false});
}

rondo::task<> ask(rondo::tcp_socket& server, const request& send, std::chrono::milliseconds time,
                  double& microseconds) {
    const auto begin = steady::now();
    int count = 0;
    while (steady::now() < begin + time) {
        co_await send(server);
        const auto answered = co_await server.recv();
        if (!answered) throw std::runtime_error("the server has closed the connection");
        ++count;
    }
    const std::chrono::duration<double, std::micro> took = steady::now() - begin;
    microseconds = took.count() / count;
    server.shutdown(rondo::shutdown_mode::send);
}

// From a request to its answer, in microseconds.
rondo::task<double> latency(connection& through, request send, std::size_t size, bool quickly,
                            std::chrono::milliseconds time) {
    double microseconds = 0;
    co_await rondo::when_all(ask(through.client, send, time, microseconds),
                             answer(through.server, size, quickly));
    co_return microseconds;
}

// --- buffer sizes --------------------------------------------------------------------------------

const std::string page(65'536, 'p');

rondo::task<> one_page(rondo::tcp_socket& to) { co_await to.send(page); }

std::string size_text(long long bytes) {
    return bytes == 0 ? "kernel's" : fmt::format("{} KiB", bytes / 1024);
}

struct figures {
    double megabytes = 0;     // each second
    double microseconds = 0;  // for an answer
};

rondo::task<figures> measure_buffers(long long send, long long receive,
                                     std::chrono::milliseconds time) {
    const preparation prepare = [send](rondo::tcp_socket& client) {
        if (send > 0) client.set(rondo::send_buffer(send));
    };
    figures found;
    connection first = co_await connect(prepare, receive);
    found.megabytes = co_await throughput(first, block_of_stream, false, time);
    connection second = co_await connect(prepare, receive);
    found.microseconds = co_await latency(second, one_page, page.size(), false, time);
    co_return found;
}

rondo::task<> sweep_buffers(std::chrono::milliseconds time) {
    const std::vector<long long> sizes = {4096, 16'384, 65'536, 262'144, 0};
    fmt::print("Buffer sizes: throughput of a stream in MB/s, and latency of a request of 64 KiB\n"
               "in microseconds, over one connection\n"
               "{:<16}{:>14}{:>12}{:>14}{:>12}\n",
               "buffer", "send: MB/s", "us", "receive: MB/s", "us");
    for (const long long size : sizes) {
        const figures by_send = co_await measure_buffers(size, 0, time);
        const figures by_receive = co_await measure_buffers(0, size, time);
        fmt::print("{:<16}{:>14.0f}{:>12.0f}{:>14.0f}{:>12.0f}\n", size_text(size),
                   by_send.megabytes, by_send.microseconds, by_receive.megabytes,
                   by_receive.microseconds);
    }
    fmt::print("\n"
               "send     It holds what is not acknowledged. One smaller than a segment (64 KiB on\n"
               "         loopback) never fills one, and the receiver delays the acknowledgement\n"
               "         of less by 40 ms, over a long way by up to 200 ms: the rest of a stream,\n"
               "         and of a request, waits for that again and again. Over a long way a\n"
               "         connection carries at most one buffer in each round trip.\n"
               "receive  The window: what the peer may have on the way. Where it is small, the\n"
               "         sender stops and waits for the reader, many times for one request.\n"
               "kernel's Left alone, both grow with the connection (net.ipv4.tcp_wmem, tcp_rmem);\n"
               "         once set, a size is fixed. Linux reserves twice what is asked for, and\n"
               "         no more than net.core.wmem_max and rmem_max. Here, where the way is\n"
               "         short, a size that holds a few segments does about as well; over a long\n"
               "         one it takes as much as the way holds.\n\n");
    std::fflush(stdout);
}

// --- options -------------------------------------------------------------------------------------

struct experiment {
    const char* name;
    request send;
    preparation prepare;
    bool quick_server;
};

rondo::task<> compare_options(std::chrono::milliseconds time) {
    const preparation nothing = [](rondo::tcp_socket&) {};
    const preparation at_once = [](rondo::tcp_socket& client) { client.set(rondo::no_delay{}); };
    const std::vector<experiment> experiments = {
        {"two sends", two_sends, nothing, false},
        {"  no_delay", two_sends, at_once, false},
        {"  quick_ack", two_sends, nothing, true},
        {"  cork", two_corked_sends, nothing, false},
        {"one gather send", one_gather_send, nothing, false},
    };
    fmt::print("Options: requests in two parts, {} and {} bytes: throughput in MB/s where nobody\n"
               "waits for answers, latency in microseconds where everybody does\n"
               "{:<16}{:>14}{:>12}\n",
               header_size, body_size, "requests", "MB/s", "us");
    for (const experiment& each : experiments) {
        connection first = co_await connect(each.prepare, 0);
        const double megabytes = co_await throughput(first, each.send, each.quick_server, time);
        connection second = co_await connect(each.prepare, 0);
        const double microseconds = co_await latency(second, each.send, header_size + body_size,
                                                     each.quick_server, time);
        fmt::print("{:<16}{:>14.1f}{:>12.1f}\n", each.name, megabytes, microseconds);
        std::fflush(stdout);
    }
    fmt::print("\n"
               "two sends        Nagle's algorithm holds the second part until the first is\n"
               "                 acknowledged, and the receiver, who waits for the rest, delays\n"
               "                 that by 40 ms, over a long way by up to 200 ms. A stream does\n"
               "                 not suffer: what is held leaves with what follows, and only the\n"
               "                 calls are paid for.\n"
               "  no_delay       Nothing is held, so the answer comes at once; but each part is a\n"
               "                 segment of its own, which gains a stream nothing.\n"
               "  quick_ack      On the receiver: it acknowledges the first part at once, which\n"
               "                 sets the second one free. For a stream these are packets more.\n"
               "  cork           Both parts are held until the cork is out, and leave as one\n"
               "                 segment: no wait, for two more system calls.\n"
               "one gather send  One call and one segment: there is nothing to hold back, and a\n"
               "                 stream pays for half the calls. The one to prefer.\n");
}

rondo::task<> measure(std::chrono::milliseconds time) {
    co_await sweep_buffers(time);
    co_await compare_options(time);
}

}  // namespace

int main(int argc, char** argv) {
    bool quick = false;
    command_line line("Measures what buffer sizes and TCP's options do over loopback, and says "
                      "why.");
    line.flag("--quick", quick, "a fifth of the time, and rougher figures");
    line.parse(argc, argv);
    return rondo::run_main(measure(quick ? 40ms : 200ms));
}
