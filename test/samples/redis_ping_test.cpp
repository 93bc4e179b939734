// redis_ping against a real Redis server, and against servers that are none.
#include <rondo/net/tcp.hpp>
#include <rondo/task/result.hpp>

#include <support/harness.hpp>
#include <support/program.hpp>
#include <support/sample.hpp>
#include <support/tcp_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

const std::string redis_ping = sample("redis_ping");

bool is_missing() { return !installed("redis-server") || !std::filesystem::exists(redis_ping); }

// A folder that goes with its owner.
struct temporary_folder {
    std::filesystem::path path;

    temporary_folder() {
        std::string name = (std::filesystem::temp_directory_path() / "rondo-redis-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
        path = name;
    }
    ~temporary_folder() {
        std::error_code ignored;  // a folder left behind is no failure
        std::filesystem::remove_all(path, ignored);
    }
};

// A server with an empty database of its own, which takes connections.
class redis_server {
public:
    explicit redis_server(const std::vector<std::string>& more = {}) {
        // It takes no port 0, and what was free may be taken by the time it starts.
        for (int tries = 0; tries < 10; ++tries) {
            port = std::to_string(listen_on_loopback().local_endpoint().port());
            std::vector<std::string> command = {
                "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", folder_.path.string()};
            command.insert(command.end(), more.begin(), more.end());
            process_ = std::make_unique<program>(command);
            if (comes_up()) return;
        }
        throw std::runtime_error("redis-server does not start");
    }

    std::string port;
    std::string where() const { return "127.0.0.1:" + port; }

    outcome stop() {
        process_->signal(SIGTERM);
        return process_->finish();
    }

private:
    // Its log ends when it does.
    bool comes_up() {
        for (;;) {
            const std::string line = process_->read_line();
            if (line.find("eady to accept connections") != std::string::npos) return true;
            if (line.find("Failed listening") != std::string::npos) return false;
        }
    }

    temporary_folder folder_;
    std::unique_ptr<program> process_;
};

// What redis_ping says of a server that answers `answer` to whatever comes, and closes.
std::string said_of(const std::string& answer) {
    tcp_listener listener = listen_on_loopback();
    program client({redis_ping, listener.local_endpoint().to_string()});
    test::run([&]() -> task<> {
        tcp_socket peer = co_await accept_one(listener);
        co_await peer.recv();
        if (!answer.empty()) co_await peer.send(answer);
    });
    const outcome ended = client.finish();
    CHECK(ended.exit_code == 1);
    CHECK(ended.out.empty());
    return ended.err;
}

}  // namespace

TEST_CASE("redis_ping asks, stores and reads", "[samples]") {
    if (is_missing()) SKIP("there is no redis-server, or no hiredis to build redis_ping with");
    redis_server redis;
    const outcome first = run_program({redis_ping, redis.where()});
    CHECK(first.err.empty());
    CHECK(first.out == "PING -> PONG\n"
                       "SET greeting \"Hello from rondo!\" -> OK\n"
                       "GET greeting -> Hello from rondo!\n");
    CHECK(first.exit_code == 0);
    const std::string longer(100'000, 'x');
    const outcome second = run_program({redis_ping, redis.where(), "colour", longer});
    CHECK(second.exit_code == 0);
    CHECK(second.out.ends_with("GET colour -> " + longer + "\n"));
    const outcome blanks = run_program({redis_ping, redis.where(), "two words", "light blue"});
    CHECK(blanks.out.ends_with("GET two words -> light blue\n"));
    CHECK(redis.stop().exit_code == 0);
}

TEST_CASE("redis_ping gives a server's refusal as one line", "[samples]") {
    if (is_missing()) SKIP("there is no redis-server, or no hiredis to build redis_ping with");
    redis_server redis({"--requirepass", "secret"});
    const outcome refused = run_program({redis_ping, redis.where()});
    CHECK(refused.exit_code == 1);
    CHECK(refused.out.empty());
    CHECK(refused.err == "redis_ping: NOAUTH Authentication required.\n");
    CHECK(redis.stop().exit_code == 0);
}

TEST_CASE("redis_ping says what is wrong where there is no Redis", "[samples]") {
    if (!std::filesystem::exists(redis_ping)) SKIP("there is no hiredis to build redis_ping with");
    std::string nobody;
    {
        const tcp_listener closed = listen_on_loopback();
        nobody = closed.local_endpoint().to_string();
    }
    const outcome refused = run_program({redis_ping, nobody});
    CHECK(refused.exit_code == 1);
    CHECK(refused.err == "redis_ping: connect " + nobody +
                             ": Connection refused (nothing listens there; see ss -ltn)\n");
    CHECK(said_of("") == "redis_ping: the server closed the connection too early\n");
    CHECK(said_of("+PON") == "redis_ping: the server closed the connection too early\n");
    CHECK(said_of("HTTP/1.1 400 Bad Request\r\n") ==
          "redis_ping: Protocol error, got \"H\" as reply type byte\n");
    CHECK(said_of("*1\r\n$4\r\nPING\r\n") == "redis_ping: the server's reply is not a text\n");
}
