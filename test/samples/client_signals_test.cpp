// The client samples while they wait: SIGUSR1 shows their tasks, SIGINT and SIGTERM end them.
#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/tcp.hpp>

#include <support/child_process.hpp>
#include <support/full_listener.hpp>
#include <support/private_network.hpp>
#include <support/program.hpp>
#include <support/raw_udp.hpp>
#include <support/sample.hpp>
#include <support/temporary_folder.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <poll.h>
#include <sys/socket.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace rondo;
using namespace rondo::test;

namespace {

void wait_readable(int descriptor) {
    pollfd readable{descriptor, POLLIN, 0};
    REQUIRE(::poll(&readable, 1, 30'000) == 1);
}

// Takes one connection and what is said, and does not answer by itself.
class silent_server {
public:
    std::string where() const { return listener_.local_endpoint().to_string(); }
    void accept() {
        wait_readable(listener_.descriptor());
        peer_.reset(::accept4(listener_.descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
        REQUIRE(peer_);
    }
    // Until the client has said something.
    void hear() const { wait_readable(peer_.get()); }
    void say(std::string_view text) const {
        const ssize_t sent = ::send(peer_.get(), text.data(), text.size(), MSG_NOSIGNAL);
        REQUIRE(sent == static_cast<ssize_t>(text.size()));
    }

private:
    tcp_listener listener_ = tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0));
    detail::unique_fd peer_;
};

void shows_its_tasks(program& client, const std::string& name) {
    client.signal(SIGUSR1);
    CHECK(client.wait_for_error(name + ".cpp:"));
}

outcome ends_by(program& client, int number) {
    client.signal(number);
    return client.finish();
}

}  // namespace

TEST_CASE("clients that wait for a server show their tasks at SIGUSR1, and end by signals",
          "[samples][dump_tasks]") {
    const std::string name = GENERATE("echo_client", "tcp_client", "chat_client", "redis_ping");
    const int number = GENERATE(SIGINT, SIGTERM);
    CAPTURE(name, number);
    if (!std::filesystem::exists(sample(name))) SKIP("it was not built");
    silent_server server;
    std::vector<std::string> command = {sample(name), server.where()};
    if (name != "chat_client") command.push_back("hello");
    program client(command);
    server.accept();
    if (name == "chat_client") {
        client.write("hello\n");
        server.say("* welcome\n");
        CHECK(client.read_line() == "* welcome");
    }
    server.hear();
    shows_its_tasks(client, name);
    const outcome ended = ends_by(client, number);
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.find(name + ": ") == std::string::npos);  // no error
}

TEST_CASE("echo_client shows its tasks while it waits for a line, and ends by Ctrl-C",
          "[samples][dump_tasks]") {
    sample_server echo("echo_server");
    program client({sample("echo_client"), echo.where});
    client.write("one\n");
    CHECK(client.read_line() == "one");
    client.signal(SIGUSR1);
    CHECK(client.wait_for_error("a blocking call to return"));
    client.write("two\n");
    CHECK(client.read_line() == "two");
    CHECK(ends_by(client, SIGINT).exit_code == 0);
}

TEST_CASE("udp_client shows its tasks at SIGUSR1, and ends by Ctrl-C", "[samples][dump_tasks]") {
    const raw_udp silent;
    program client(
        {sample("udp_client"), silent.local_endpoint().to_string(), "--tries", "12", "hello"});
    CHECK(client.read_line() == "Sending: hello");
    wait_readable(silent.descriptor());
    shows_its_tasks(client, "udp_client");
    const outcome ended = ends_by(client, SIGINT);
    CHECK(ended.exit_code == 0);
    CHECK(ended.out == "Sending: hello\n");
}

TEST_CASE("file_fetch shows its tasks at SIGUSR1; after Ctrl-C it keeps what has come",
          "[samples][dump_tasks]") {
    const temporary_folder folder;
    const std::string output = folder.file("got");
    silent_server server;
    program client({sample("file_fetch"), server.where(), "name", "--output", output});
    server.accept();
    server.hear();
    shows_its_tasks(client, "file_fetch");
    server.say("OK 10 00000000\nhello");
    std::error_code missing;
    while (std::filesystem::file_size(output + ".part", missing) != 5) std::this_thread::yield();
    const outcome ended = ends_by(client, SIGTERM);
    CHECK(ended.exit_code == 1);
    CHECK(ended.err.ends_with("file_fetch: interrupted; " + output +
                              ".part keeps what has come: the same command fetches the rest\n"));
    CHECK(std::filesystem::file_size(output + ".part") == 5);
}

TEST_CASE("file_fetch keeps nothing and says so where Ctrl-C comes before an answer",
          "[samples]") {
    const temporary_folder folder;
    const std::string output = folder.file("got");
    silent_server server;
    program client({sample("file_fetch"), server.where(), "name", "--output", output});
    server.accept();
    server.hear();
    const outcome ended = ends_by(client, SIGINT);
    CHECK(ended.exit_code == 1);
    CHECK(ended.err == "file_fetch: interrupted before anything came\n");
    CHECK_FALSE(std::filesystem::exists(output + ".part"));
}

TEST_CASE("port_check shows its tasks at SIGUSR1, and tells after Ctrl-C what it knows",
          "[samples][dump_tasks]") {
    full_listener silent;
    const tcp_listener open = tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0));
    const std::string known = open.local_endpoint().to_string();
    const std::string unknown = silent.where().to_string();
    program client({sample("port_check"), "--timeout", "300", known, unknown});
    wait_readable(open.descriptor());
    shows_its_tasks(client, "port_check");
    const outcome ended = ends_by(client, SIGINT);
    CHECK(ended.out.starts_with(known + ": open ("));
    CHECK(ended.out.ends_with("\n" + unknown + ": not known: interrupted\n"));
    CHECK(ended.exit_code == 1);
}

TEST_CASE("resolve shows its tasks at SIGUSR1, and tells after Ctrl-C what it knows",
          "[samples][dump_tasks]") {
    if (!may_have_private_network()) SKIP(no_private_network);
    const std::string said = in_private_network([] {
        // A name server that hears and does not answer.
        const detail::unique_fd server(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        const socket_address where(endpoint(ip_address::v4_loopback(), 53));
        if (::bind(server.get(), where.data(), where.size()) != 0) return 1;
        replace_file("/etc/nsswitch.conf", "hosts: files dns\n");
        replace_file("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:30\n");
        program client({sample("resolve"), "127.0.0.1", "silent.example"});
        wait_readable(server.get());
        shows_its_tasks(client, "resolve");
        const outcome ended = ends_by(client, SIGINT);
        say(ended.out + ended.err + "exit code " + std::to_string(ended.exit_code));
        return 0;
    });
    CHECK(said.starts_with("127.0.0.1 in "));
    CHECK(said.find("    127.0.0.1                IPv4\n") != std::string::npos);
    CHECK(said.ends_with("\nresolve \"silent.example\": interrupted\nexit code 1\n"));
}
