// Takes TCP connections through every state of RFC 9293 and shows what ss makes of each.
//
//     ./samples/run connection_states              all of it, in a moment
//     ./samples/run connection_states --pause 5    and, to look for yourself, in another terminal:
//     watch -n 1 "ss -tan | grep PORT"             with the port it prints
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <stdexcept>

using namespace std::chrono_literals;
using rondo::tcp_state;

namespace {

std::chrono::milliseconds pause_after_each{0};

// One end of a connection. The kernel knows it by these, longer than there is a socket for it.
struct connection_end {
    std::string name;
    std::uint16_t local = 0;
    std::uint16_t remote = 0;
};

connection_end client_end(const rondo::tcp_socket& socket) {
    return {"client", socket.local_endpoint().port(), socket.remote_endpoint().port()};
}

connection_end server_end(const rondo::tcp_socket& socket) {
    return {"server", socket.local_endpoint().port(), socket.remote_endpoint().port()};
}

bool is_in(const connection_end& end, tcp_state state) {
    rondo::connection_filter filter;
    filter.local_port = end.local;
    filter.remote_port = end.remote;
    filter.states = {state};
    return !rondo::list_connections(filter).empty();
}

void print_row(const std::string& who, tcp_state state, const std::string& in_ss,
               const std::string& why) {
    fmt::print("{:<8}{:<14}{:<14}{}\n", who, state, in_ss, why);
    std::fflush(stdout);
}

// The other end's packets may still be on their way.
rondo::task<> show(const connection_end& end, tcp_state state, std::string why) {
    const auto give_up = std::chrono::steady_clock::now() + 10s;
    while (!is_in(end, state)) {
        if (std::chrono::steady_clock::now() > give_up) {
            throw std::runtime_error(fmt::format("the {} does not come to {}", end.name, state));
        }
        co_await rondo::sleep_for(1ms);
    }
    print_row(end.name, state, std::string(ss_name(state)), why);
    co_await rondo::sleep_for(pause_after_each);
}

// Buffers of a few kilobytes, so that they are full soon. Connections take after their listener.
template <typename Socket>
void narrow(Socket& socket) {
    socket.set(rondo::receive_buffer(8192));
    socket.set(rondo::send_buffer(8192));
}

// Sends until neither end has room: then a send does not complete, and has sent nothing.
rondo::task<> fill(rondo::tcp_socket& from) {
    const std::string block(4096, 'x');
    try {
        while (true) co_await rondo::with_timeout(50ms, from.send_some(block));
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::timed_out) throw;
    }
}

rondo::task<> read_to_end(rondo::tcp_socket& from) {
    while (auto data = co_await from.recv()) continue;
}

// A listener whose backlog is full does not answer: the second client waits for its SYN-ACK.
rondo::task<> without_answer(rondo::endpoint anywhere) {
    rondo::tcp_listener listener(rondo::ip_version::v4);
    listener.bind(anywhere);
    listener.listen(0);
    const auto where = listener.local_endpoint();
    const auto first = co_await rondo::tcp_connect(where);
    rondo::tcp_socket second(rondo::ip_version::v4);
    second.bind(anywhere);
    const connection_end end{"client", second.local_endpoint().port(), where.port()};
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        group.spawn([&]() -> rondo::task<> { co_await second.connect(where); });
        co_await show(end, tcp_state::syn_sent,
                      "connect() has sent a SYN; nobody answers (the backlog is full)");
        group.cancel();
    });
}

// Who closes first waits for the other; both FINs are held back by what the peer has no room for.
rondo::task<> close_one_after_the_other(rondo::tcp_socket& client, rondo::tcp_socket& server) {
    const auto here = client_end(client);
    const auto there = server_end(server);
    co_await fill(client);
    client.shutdown(rondo::shutdown_mode::send);
    co_await show(here, tcp_state::fin_wait_1,
                  "shutdown(send): a FIN is to follow what the server has no room for");
    co_await read_to_end(server);
    co_await show(here, tcp_state::fin_wait_2, "the server has acknowledged the FIN; it may send");
    co_await show(there, tcp_state::close_wait, "recv() has returned 0; the server may still send");
    co_await fill(server);
    server.shutdown(rondo::shutdown_mode::send);
    co_await show(there, tcp_state::last_ack, "its own FIN is not acknowledged yet");
    co_await read_to_end(client);
    co_await show(here, tcp_state::time_wait,
                  "who closed first keeps the ports for 60 s, for late packets; no program has it");
    print_row("server", server.info().state, "not listed", "over, and nothing is left of it");
}

rondo::task<> close_at_once(rondo::tcp_socket& client, rondo::tcp_socket& server) {
    const auto here = client_end(client);
    co_await fill(client);
    co_await fill(server);
    client.shutdown(rondo::shutdown_mode::send);
    server.shutdown(rondo::shutdown_mode::send);
    co_await read_to_end(client);
    co_await show(here, tcp_state::closing,
                  "both have closed at once: a FIN came before the acknowledgement of one's own");
    co_await read_to_end(server);
    co_await show(here, tcp_state::time_wait, "the acknowledgement came: as above, on both sides");
}

rondo::task<> walk() {
    const rondo::endpoint anywhere(rondo::ip_address::v4_loopback(), 0);
    rondo::tcp_listener listener(rondo::ip_version::v4);
    listener.bind(anywhere);
    const connection_end listening{"server", listener.local_endpoint().port(), 0};
    fmt::print("the server's port is {}; to see each for yourself: --pause 5, and ss -tan\n\n"
               "{:<8}{:<14}{:<14}\n", listening.local, "end", "RFC 9293", "ss");
    print_row("server", rondo::tcp_info::of(listener.descriptor()).state, "not listed",
              "a socket that neither listens nor is connected");
    narrow(listener);
    listener.set(rondo::defer_accept(30s));
    listener.listen();
    co_await show(listening, tcp_state::listen, "listen(): the kernel takes connections now");
    co_await without_answer(anywhere);

    rondo::tcp_socket client(rondo::ip_version::v4);
    narrow(client);
    co_await client.connect(listener.local_endpoint());
    const auto here = client_end(client);
    const connection_end not_yet{"server", here.remote, here.local};
    co_await show(not_yet, tcp_state::syn_received,
                  "SYN and SYN-ACK were sent; no socket has it yet (defer_accept waits for data)");
    co_await client.send("hello");
    rondo::tcp_socket server = co_await listener.accept();
    co_await show(here, tcp_state::established, "the usual one: both may send");
    co_await show(server_end(server), tcp_state::established, "accept() has returned it");
    co_await close_one_after_the_other(client, server);

    rondo::tcp_socket other(rondo::ip_version::v4);
    narrow(other);
    co_await other.connect(listener.local_endpoint());
    co_await other.send("hello");
    server = co_await listener.accept();
    co_await close_at_once(other, server);

    rondo::tcp_socket last = co_await rondo::tcp_connect(listener.local_endpoint());
    const auto gone = client_end(last);
    co_await last.abort();
    print_row("client", is_in(gone, tcp_state::time_wait) ? tcp_state::time_wait
                                                          : tcp_state::closed,
              "not listed", "abort() resets the connection: no FIN, and no TIME-WAIT");
}

}  // namespace

int main(int argc, char** argv) {
    double pause = 0;
    command_line line("Takes TCP connections through every state and shows what ss makes of each.");
    line.add("--pause", pause, "seconds to stay in each state").between(0.0, 60.0);
    line.parse(argc, argv);
    pause_after_each = std::chrono::milliseconds(static_cast<long>(pause * 1000));
    return rondo::run_main(walk());
}
