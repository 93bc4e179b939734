// What a server on a Unix socket shares with tcp_serve(), and where it differs.
#include <rondo/net/unix_serve.hpp>

#include <rondo/task/graceful_stop.hpp>
#include <rondo/task/task_group.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/receiving.hpp>
#include <support/temporary_folder.hpp>

#include <catch2/catch_test_macros.hpp>

#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

// What a test sees of its server; it must outlive the server's task.
struct unix_test_server {
    graceful_stop stop;
    serve_stats stats;
    unix_address address;  // unnamed until it listens
    std::vector<std::exception_ptr> failures;
    bool ended = false;
};

// To be spawned: it has a context of its own.
template <typename Where, typename Handler>
task<> serve(unix_test_server& server, Where where, Handler handler,
             unix_serve_options options = {}) {
    context& here = co_await this_context();
    here.set_stop(server.stop);
    options.stats = &server.stats;
    options.on_listening = [&server](const unix_address& local) { server.address = local; };
    options.on_failure = [&server](std::exception_ptr failure) {
        server.failures.push_back(std::move(failure));
    };
    co_await unix_serve(std::move(where), std::move(handler), std::move(options));
    server.ended = true;
}

task<> echo(stream_socket peer) {
    while (const chunk data = co_await peer.recv()) co_await peer.send(data);
}

}  // namespace

TEST_CASE("unix_serve serves many clients, each in a task of its own", "[net][unix][serve]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    test::run([&]() -> task<> {
        unix_test_server server;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(server, path, echo); });
            co_await eventually([&] { return !server.address.is_unnamed(); });
            CHECK(server.address == path);
            std::vector<unix_socket> clients;
            for (std::size_t i = 0; i < 20; ++i) {
                unix_socket next = co_await unix_connect(path);
                co_await next.send(pattern(100, i));
                clients.push_back(std::move(next));
            }
            for (std::size_t i = 0; i < 20; ++i) {
                const std::string got = co_await read_exactly(clients[i], 100);
                CHECK(got == pattern(100, i));
            }
            CHECK(server.stats.accepted == 20);
            CHECK(server.stats.serving == 20);
            clients.clear();
            const bool gone = co_await eventually([&] { return server.stats.serving == 0; });
            CHECK(gone);
            server.stop.request();
        });
        CHECK(server.ended);
        CHECK(server.failures.empty());
    });
    CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("a handler's exception ends its Unix connection alone", "[net][unix][serve]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    test::run([&]() -> task<> {
        unix_test_server server;
        const auto picky = [](unix_socket peer) -> task<> {
            const std::string got = co_await read_exactly(peer, 4);
            if (got == "fail") throw std::runtime_error("as asked");
            co_await peer.send(got);
        };
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(server, path, picky); });
            co_await eventually([&] { return !server.address.is_unnamed(); });
            unix_socket good = co_await unix_connect(path);
            unix_socket bad = co_await unix_connect(path);
            co_await bad.send("fail");
            const std::string nothing = co_await read_to_end(bad);
            CHECK(nothing.empty());
            co_await good.send("good");
            const std::string got = co_await read_to_end(good);
            CHECK(got == "good");
            server.stop.request();
        });
        CHECK(server.failures.size() == 1);
        CHECK(server.stats.failed == 1);
    });
}

TEST_CASE("a stopped server on a Unix socket still echoes what had been sent",
          "[net][unix][serve]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    test::run([&]() -> task<> {
        unix_test_server server;
        const std::string sent = pattern(20'000);
        std::string got;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> { co_await serve(server, path, echo); });
            co_await eventually([&] { return !server.address.is_unnamed(); });
            unix_socket client = co_await unix_connect(path);
            co_await client.send("x");
            got = co_await read_exactly(client, 1);
            co_await client.send(sent);
            server.stop.request();
            got = co_await read_to_end(client);
        });
        CHECK(server.ended);
        CHECK((got == sent));
        CHECK_FALSE(std::filesystem::exists(path));
    });
}

TEST_CASE("an open listener is served, with the permissions and limits asked for",
          "[net][unix][serve]") {
    const temporary_folder folder;
    const std::string path = folder.file("a.sock");
    test::run([&]() -> task<> {
        unix_test_server server;
        unix_listener listener = unix_listener::listen(path, {.permissions = 0600});
        co_await with_task_group([&](task_group& group) -> task<> {
            unix_serve_options options;
            options.max_connections = 1;
            group.spawn([&, options]() mutable -> task<> {
                co_await serve(server, std::move(listener), echo, std::move(options));
            });
            co_await eventually([&] { return !server.address.is_unnamed(); });
            unix_socket first = co_await unix_connect(path);
            unix_socket second = co_await unix_connect(path);
            co_await second.send("later");
            co_await first.send("now");
            const std::string now = co_await read_exactly(first, 3);
            CHECK(now == "now");
            CHECK(server.stats.serving == 1);
            co_await first.close();
            const std::string later = co_await read_exactly(second, 5);
            CHECK(later == "later");
            server.stop.request();
        });
        CHECK(server.stats.most_serving == 1);
    });
}
