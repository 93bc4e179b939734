// The experiment: what buffer sizes and TCP's options do to throughput and latency, measured here
// and now over loopback, with the reason beside each figure.
//
//     ./samples/run socket_options            about 5 seconds
//     ./samples/run socket_options --quick    about 1 second, and rougher
#include <rondo/rondo.hpp>

#include <CLI/CLI.hpp>
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

rondo::task<> send_for(rondo::tcp_socket& to, std::chrono::milliseconds time) {
    const std::string block(262'144, 'x');
    for (const auto end = steady::now() + time; steady::now() < end;) co_await to.send(block);
    to.shutdown(rondo::shutdown_mode::send);
}

rondo::task<> count_to_end(rondo::tcp_socket& from, double& total) {
    while (auto data = co_await from.recv()) total += static_cast<double>(data.size());
}

// Megabytes (10^6) each second.
rondo::task<double> throughput(connection& through, std::chrono::milliseconds time) {
    double total = 0;
    const auto begin = steady::now();
    co_await rondo::when_all(send_for(through.client, time), count_to_end(through.server, total));
    const std::chrono::duration<double> took = steady::now() - begin;
    co_return total / 1e6 / took.count();
}

std::string size_text(long long bytes) {
    return bytes == 0 ? "kernel's" : fmt::format("{} KiB", bytes / 1024);
}

rondo::task<> sweep_buffers(std::chrono::milliseconds time) {
    const std::vector<long long> sizes = {4096, 16'384, 65'536, 262'144, 0};
    fmt::print("Throughput, one connection, in MB/s\n"
               "{:<16}{:>12}{:>12}\n", "buffer", "send", "receive");
    for (const long long size : sizes) {
        const preparation sending = [size](rondo::tcp_socket& client) {
            if (size > 0) client.set(rondo::send_buffer(size));
        };
        connection first = co_await connect(sending, 0);
        const double by_send = co_await throughput(first, time);
        const preparation nothing = [](rondo::tcp_socket&) {};
        connection second = co_await connect(nothing, size);
        const double by_receive = co_await throughput(second, time);
        fmt::print("{:<16}{:>12.0f}{:>12.0f}\n", size_text(size), by_send, by_receive);
    }
    fmt::print("\n"
               "send     It holds what is not acknowledged. One smaller than a segment (64 KiB on\n"
               "         loopback) never fills one, and the receiver delays the acknowledgement\n"
               "         of less by up to 40 ms; over a long way a connection carries at most one\n"
               "         buffer in each round trip.\n"
               "receive  The window: what the peer may have on the way. A small one makes the\n"
               "         sender stop and wait for the reader.\n"
               "kernel's Left alone, both grow with the connection (net.ipv4.tcp_wmem, tcp_rmem);\n"
               "         once set, a size is fixed. Linux reserves twice what is asked for, and\n"
               "         no more than net.core.wmem_max and rmem_max.\n\n");
    std::fflush(stdout);
}

// --- latency -------------------------------------------------------------------------------------

constexpr std::size_t header_size = 16;
constexpr std::size_t body_size = 64;
const std::string header(header_size, 'h');
const std::string body(body_size, 'b');

// Answers each request with one byte once all of it is there.
rondo::task<> answer(rondo::tcp_socket& peer, bool quickly) {
    std::size_t missing = header_size + body_size;
    for (;;) {
        if (quickly) peer.set(rondo::quick_ack{});
        auto data = co_await peer.recv();
        if (!data) co_return;
        missing -= data.size();
        if (missing > 0) continue;
        co_await peer.send("!");
        missing = header_size + body_size;
    }
}

using request = std::function<rondo::task<>(rondo::tcp_socket&)>;

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

struct experiment {
    const char* name;
    request send;
    preparation prepare;
    bool quick_server;
    const char* why;
};

rondo::task<> compare_latency(std::chrono::milliseconds time) {
    const preparation nothing = [](rondo::tcp_socket&) {};
    const preparation at_once = [](rondo::tcp_socket& client) { client.set(rondo::no_delay{}); };
    const std::vector<experiment> experiments = {
        {"two sends", two_sends, nothing, false,
         "Nagle holds the second until the first is acknowledged; the server delays that by 40 ms"},
        {"  no_delay", two_sends, at_once, false,
         "the second goes out at once: two small segments"},
        {"  quick_ack", two_sends, nothing, true,
         "on the server: the acknowledgement comes at once, after one more round trip"},
        {"  cork", two_corked_sends, nothing, false,
         "both are held and go out as one segment, for two more system calls"},
        {"one gather send", one_gather_send, nothing, false,
         "one segment, one call: nothing for Nagle to hold back. The one to prefer"},
    };
    fmt::print("Latency of a request in two parts, {} and {} bytes, in microseconds\n",
               header_size, body_size);
    for (const experiment& each : experiments) {
        connection made = co_await connect(each.prepare, 0);
        double microseconds = 0;
        co_await rondo::when_all(ask(made.client, each.send, time, microseconds),
                                 answer(made.server, each.quick_server));
        fmt::print("{:<16}{:>12.1f}   {}\n", each.name, microseconds, each.why);
        std::fflush(stdout);
    }
}

rondo::task<> measure(std::chrono::milliseconds time) {
    co_await sweep_buffers(time);
    co_await compare_latency(time);
}

}  // namespace

int main(int argc, char** argv) {
    bool quick = false;
    CLI::App app("Measures what buffer sizes and TCP's options do over loopback, and says why.");
    app.add_flag("--quick", quick, "a fifth of the time, and rougher figures");
    CLI11_PARSE(app, argc, argv);
    return rondo::run_main(measure(quick ? 60ms : 300ms));
}
