#include <rondo/io/run.hpp>
#include <rondo/io/signal.hpp>
#include <rondo/net/serve.hpp>
#include <rondo/task/task_group.hpp>

#include <support/child_process.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/test_server.hpp>

#include <catch2/catch_test_macros.hpp>

#include <sys/resource.h>

#include <csignal>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

constexpr std::size_t connections = 10'000;
constexpr rlim_t descriptors = connections + 500;

// Both processes hold one end of every connection.
class raised_limit {
public:
    raised_limit() {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        const rlimit wanted = {descriptors, before_.rlim_max};
        enough_ = before_.rlim_cur >= descriptors || ::setrlimit(RLIMIT_NOFILE, &wanted) == 0;
    }
    ~raised_limit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
    bool enough() const { return enough_; }

private:
    rlimit before_ = {};
    bool enough_ = false;
};

int serve_until_terminated() {
    serve_stats stats;
    serve_options options;
    options.stats = &stats;
    options.on_listening = [](std::span<const endpoint> where) {
        say(std::to_string(where[0].port()));
    };
    const int code =
        run_main(tcp_serve(endpoint(ip_address::v4_loopback(), 0), test::echo, options));
    say(std::to_string(stats.most_serving));
    say(std::to_string(stats.accepted));
    say(std::to_string(stats.failed));
    return code;
}

// Sends a message on every one of its sockets, and checks the echo of each.
task<> echo_on_all(std::vector<tcp_socket>& sockets, std::size_t first_id, std::size_t& echoed) {
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        const std::size_t id = first_id + i;
        const std::string message = pattern(20 + id % 300, id);
        co_await sockets[i].send(message);
    }
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        const std::size_t id = first_id + i;
        const std::string back = co_await read_exactly(sockets[i], 20 + id % 300);
        if (back == pattern(20 + id % 300, id)) ++echoed;
    }
}

}  // namespace

TEST_CASE("ten thousand connections between two processes echo checked bytes", "[load][net]") {
    const raised_limit limit;
    if (!limit.enough()) SKIP("the hard limit of descriptors is below 10500; see ulimit -Hn");
    child_process server(serve_until_terminated);
    const auto port = static_cast<std::uint16_t>(std::stoi(server.read_line()));
    const endpoint where(ip_address::v4_loopback(), port);
    constexpr std::size_t workers = 100;
    constexpr std::size_t each = connections / workers;
    std::vector<std::vector<tcp_socket>> sockets(workers);
    std::size_t echoed = 0;
    rondo::run({}, [&]() -> task<> {
        co_await with_task_group([&](task_group& group) -> task<> {
            for (std::size_t worker = 0; worker < workers; ++worker) {
                group.spawn([&, worker]() -> task<> {
                    for (std::size_t i = 0; i < each; ++i) {
                        sockets[worker].push_back(co_await tcp_connect(where));
                    }
                });
            }
            co_return;
        });
        // All are open from here to the end.
        for (int round = 0; round < 3; ++round) {
            co_await with_task_group([&](task_group& group) -> task<> {
                for (std::size_t worker = 0; worker < workers; ++worker) {
                    group.spawn([&, worker]() -> task<> {
                        co_await echo_on_all(sockets[worker], worker * each, echoed);
                    });
                }
                co_return;
            });
        }
        server.signal(SIGTERM);
        // The server drains: every connection gets the end of the stream, and nothing else.
        std::size_t ended = 0;
        for (std::vector<tcp_socket>& own : sockets) {
            for (tcp_socket& socket : own) {
                const chunk end = co_await socket.recv();
                ended += !end;
            }
        }
        CHECK(ended == connections);
        sockets.clear();
    });
    CHECK(echoed == 3 * connections);
    CHECK(server.read_line() == std::to_string(connections));  // served at a time
    CHECK(server.read_line() == std::to_string(connections));  // accepted
    CHECK(server.read_line() == "0");                          // failed
    CHECK(server.wait() == 0);
}
