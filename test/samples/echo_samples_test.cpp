// The samples as a user meets them: built programs, their streams, their exit codes.
#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/endpoint.hpp>

#include <support/plain_client.hpp>
#include <support/program.hpp>

#include <catch2/catch_test_macros.hpp>

#include <netdb.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

using rondo::endpoint;
using rondo::socket_address;
using rondo::detail::unique_fd;
using rondo::test::outcome;
using rondo::test::program;
using rondo::test::run_program;

namespace {

std::string sample(const char* name) { return std::string(RONDO_SAMPLES_DIR "/") + name; }
const std::string server = sample("echo_server");
const std::string client = sample("echo_client");

bool installed(const std::string& tool) {
    return run_program({"sh", "-c", "command -v " + tool}).exit_code == 0;
}

// --- sockets of the test's own, by plain calls that give up after 30 s ---------------------------

unique_fd new_socket() {
    unique_fd made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{30, 0};
    ::setsockopt(made.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    REQUIRE(made.get() >= 0);
    return made;
}

// A port of 127.0.0.1 that is taken by a socket which does not listen.
struct taken_port {
    unique_fd socket = new_socket();
    std::string where;

    taken_port() {
        const socket_address any(*endpoint::parse("127.0.0.1:0"));
        REQUIRE(::bind(socket.get(), any.data(), any.size()) == 0);
        socket_address name;
        REQUIRE(::getsockname(socket.get(), name.data(), name.size_pointer()) == 0);
        where = name.to_endpoint()->to_string();
    }
    void listen() { REQUIRE(::listen(socket.get(), 8) == 0); }
    unique_fd accept() {
        unique_fd peer(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
        REQUIRE(peer.get() >= 0);
        return peer;
    }
};

int try_to_connect(const unique_fd& socket, const std::string& where) {
    const socket_address name(*endpoint::parse(where));
    return ::connect(socket.get(), name.data(), name.size()) == 0 ? 0 : errno;
}

unique_fd connect_to(const std::string& where) {
    unique_fd made = new_socket();
    REQUIRE(try_to_connect(made, where) == 0);
    return made;
}

void send_all(const unique_fd& socket, const std::string& bytes) {
    const ssize_t n = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    REQUIRE(n == static_cast<ssize_t>(bytes.size()));
}

// Exactly `size` bytes, or fewer if the stream ends before.
std::string receive(const unique_fd& socket, std::size_t size) {
    std::string got(size, '\0');
    std::size_t length = 0;
    while (length < size) {
        const ssize_t n = ::recv(socket.get(), got.data() + length, size - length, 0);
        REQUIRE(n >= 0);
        if (n == 0) break;
        length += static_cast<std::size_t>(n);
    }
    got.resize(length);
    return got;
}

bool at_end(const unique_fd& socket) { return receive(socket, 1).empty(); }

std::string pattern(std::size_t size) {
    std::string made(size, '\0');
    for (std::size_t i = 0; i < size; ++i) made[i] = static_cast<char>('!' + i * 7919 / 64 % 90);
    return made;
}

// Too long to be printed in full.
void check_same(const std::string& got, const std::string& expected) {
    CHECK(got.size() == expected.size());
    const auto differ = std::ranges::mismatch(got, expected);
    CHECK(differ.in2 - expected.begin() == std::ssize(expected));
}

// --- a running echo server -----------------------------------------------------------------------

struct running_server {
    program process;
    std::string where;
    std::string port;

    explicit running_server(const std::vector<std::string>& options = {})
        : process(command(options)) {
        const std::string line = process.read_line();
        const std::string start = "listening on ";
        REQUIRE(line.substr(0, start.size()) == start);
        where = line.substr(start.size());
        port = where.substr(where.find(':') + 1);
    }
    outcome interrupt() {
        process.signal(SIGINT);
        return process.finish();
    }

    static std::vector<std::string> command(const std::vector<std::string>& options) {
        std::vector<std::string> words = {server, "127.0.0.1:0"};
        words.insert(words.end(), options.begin(), options.end());
        return words;
    }
};

// What every failed command has in common.
void check_refusal(const outcome& failed, const std::string& line) {
    CHECK(failed.err == line + "\n");
    CHECK(failed.out.empty());
    CHECK(failed.exit_code == 1);
}

}  // namespace

TEST_CASE("the echo samples tell how they are used", "[samples]") {
    for (const std::string& name : {server, client}) {
        const outcome help = run_program({name, "--help"});
        CHECK(help.exit_code == 0);
        CHECK(help.out.find("HOST:PORT") != std::string::npos);
        CHECK(help.out.find("localhost:8000") != std::string::npos);
        CHECK(help.err.empty());
    }
}

TEST_CASE("netcat gets back what it sends to the echo server", "[samples]") {
    if (!installed("nc")) SKIP("there is no nc");
    running_server echo;
    const std::string text = "hello\nagain\n" + pattern(20000);
    const outcome answered = run_program({"nc", "-N", "127.0.0.1", echo.port}, text);
    check_same(answered.out, text);
    CHECK(answered.exit_code == 0);
    CHECK(echo.interrupt().exit_code == 0);
}

TEST_CASE("the echo server serves on several threads", "[samples][threads]") {
    if (!installed("nc")) SKIP("there is no nc");
    running_server echo({"--threads", "3"});
    for (int i = 0; i < 10; ++i) {
        const std::string text = "hello " + std::to_string(i) + '\n';
        const outcome answered = run_program({"nc", "-N", "127.0.0.1", echo.port}, text);
        check_same(answered.out, text);
    }
    const outcome ended = echo.interrupt();
    CHECK(ended.exit_code == 0);
    CHECK(ended.out == "listening on " + echo.where + "\n");  // once, not once for each thread
    CHECK(ended.err.empty());
}

TEST_CASE("the echo server shows at SIGUSR1 what its connections wait for, and in which line",
          "[samples][dump_tasks]") {
    running_server echo;
    int lines = 0;
    std::ifstream source(RONDO_SAMPLES_SOURCE_DIR "/echo_server.cpp");
    for (std::string line; std::getline(source, line); ++lines) {
        if (line.find("co_await peer.recv()") != std::string::npos) break;
    }
    rondo::test::plain_client idle(echo.where);
    idle.send("x");
    CHECK(idle.receive(1) == "x");
    rondo::test::plain_client talking(echo.where);
    talking.send("x");
    CHECK(talking.receive(1) == "x");
    echo.process.signal(SIGUSR1);
    // The handler has run before the server reads this.
    talking.send("y");
    CHECK(talking.receive(1) == "y");
    const outcome ended = echo.interrupt();
    CHECK(ended.exit_code == 0);
    CAPTURE(ended.err);
    CHECK(ended.err.find("connection: recv from 127.0.0.1:") != std::string::npos);
    CHECK(ended.err.find("echo_server.cpp:" + std::to_string(lines + 1) + "\n") !=
          std::string::npos);
}

TEST_CASE("the echo server gives up who says or takes nothing, and counts it", "[samples]") {
    program echo({server, "--idle", "0.05", "--limit", "2", "--stats", "127.0.0.1:0"});
    const std::string line = echo.read_line();
    const std::string where = line.substr(line.rfind(' ') + 1);
    rondo::test::plain_client silent(where);
    silent.send("x");
    CHECK(silent.receive(1) == "x");
    CHECK(silent.at_end());
    rondo::test::plain_client deaf(where, 4096);
    try {
        deaf.send_until_stuck();
    } catch (const std::system_error& gone) {
        CHECK(gone.code() == std::errc::connection_reset);  // there were bytes the server left
    }
    rondo::test::plain_client second(where);
    CHECK(second.at_end());
    rondo::test::plain_client newcomer(where);
    newcomer.send("y");
    CHECK(newcomer.receive(1) == "y");
    newcomer.finish();
    CHECK(newcomer.at_end());
    echo.signal(SIGTERM);
    const outcome ended = echo.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.out.find("accepted 4 connections, ") != std::string::npos);
    CHECK(ended.out.find(": 3 timed out, 0 failed; ") != std::string::npos);
    CHECK(ended.out.find("\nrondo_buffers_held{thread=\"0\"} 0\n") != std::string::npos);
}

TEST_CASE("socat gets back what it sends to the echo server", "[samples]") {
    if (!installed("socat")) SKIP("there is no socat");
    running_server echo;
    const std::string text = "hello\n" + pattern(300000);
    const outcome answered = run_program({"socat", "-t30", "-", "TCP:" + echo.where}, text);
    check_same(answered.out, text);
    CHECK(answered.exit_code == 0);
    CHECK(echo.interrupt().exit_code == 0);
}

TEST_CASE("a Python client checks thousands of echoed bytes on many connections", "[samples]") {
    if (!installed("python3")) SKIP("there is no python3");
    running_server echo;
    const char* script = R"(
import random, socket, sys, threading
peers = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30) for _ in range(100)]
texts = [random.Random(i).randbytes(5000 + 700 * i) for i in range(len(peers))]
senders = [threading.Thread(target=p.sendall, args=(t,)) for p, t in zip(peers, texts)]
for sender in senders: sender.start()
for peer, text in zip(peers, texts):
    got = bytearray()
    while len(got) < len(text): got += peer.recv(65536) or sys.exit("the stream ended early")
    assert got == text
for sender in senders: sender.join()
print("all", len(peers), "as sent")
)";
    const outcome checked = run_program({"python3", "-c", script, echo.port});
    CHECK(checked.err.empty());
    CHECK(checked.out == "all 100 as sent\n");
    const outcome ended = echo.interrupt();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
}

TEST_CASE("echo_client prints each of its messages as a line", "[samples]") {
    running_server echo;
    const outcome talked = run_program({client, echo.where, "hello", "two words", ""});
    CHECK(talked.out == "hello\ntwo words\n\n");
    CHECK(talked.err.empty());
    CHECK(talked.exit_code == 0);
}

TEST_CASE("echo_client finds a server on localhost's second address", "[samples]") {
    running_server echo;
    CHECK(run_program({client, "localhost:" + echo.port, "hello"}).out == "hello\n");
}

TEST_CASE("echo_client gives its input back unchanged, whatever its lines are", "[samples]") {
    running_server echo;
    std::string text = "short\n\n";
    text += pattern(16'000'000) + "\n";  // more than the socket buffers on both sides hold
    text += std::string("a NUL \0 and a byte of no text \xff\n", 33);
    text += "a last line without its end";
    const outcome talked = run_program({client, echo.where}, text);
    check_same(talked.out, text);
    CHECK(talked.err.empty());
    CHECK(talked.exit_code == 0);
}

TEST_CASE("echo_client without input ends in peace", "[samples]") {
    running_server echo;
    const outcome talked = run_program({client, echo.where});
    CHECK(talked.out.empty());
    CHECK(talked.err.empty());
    CHECK(talked.exit_code == 0);
}

TEST_CASE("echo_client answers a line before the next is given, and ends by Ctrl-C", "[samples]") {
    running_server echo;
    program talking({client, echo.where});
    for (const std::string line : {"one", "two", "three"}) {
        talking.write(line + "\n");
        CHECK(talking.read_line() == line);
    }
    talking.signal(SIGINT);
    CHECK(talking.finish().exit_code == 0);
}

TEST_CASE("echo_client puts together an answer that comes byte by byte", "[samples]") {
    taken_port listener;
    listener.listen();
    program talking({client, listener.where, "piecemeal"});
    const unique_fd peer = listener.accept();
    for (const char c : receive(peer, 10)) send_all(peer, std::string(1, c));
    CHECK(at_end(peer));
    const outcome talked = talking.finish();
    CHECK(talked.out == "piecemeal\n");
    CHECK(talked.exit_code == 0);
}

TEST_CASE("echo_client says so when the server closes before all came back", "[samples]") {
    taken_port listener;
    listener.listen();
    program talking({client, listener.where, "hello", "again"});
    unique_fd peer = listener.accept();
    CHECK(receive(peer, 6) == "hello\n");
    send_all(peer, "hel");
    peer.reset();
    const outcome talked = talking.finish();
    CHECK(talked.out == "hel");
    CHECK(talked.err == "echo_client: the server closed the connection too early\n");
    CHECK(talked.exit_code == 1);
}

TEST_CASE("echo_client says what to check when nobody listens", "[samples]") {
    const taken_port nobody;
    check_refusal(run_program({client, nobody.where, "hello"}),
                  "echo_client: connect " + nobody.where +
                      ": Connection refused (nothing listens there; see ss -ltn)");
}

TEST_CASE("a bad endpoint is one line that quotes it and tells what is expected", "[samples]") {
    const std::vector<std::pair<std::string, std::string>> table = {
        {"nonsense", "the port is missing, as in localhost:80"},
        {"8000", "a port alone is written with its colon, as in :8000"},
        {"127.0.0.1:", "the port is missing behind the colon"},
        {"127.0.0.1:65536", "port 65536 is not between 0 and 65535"},
        {"127.0.0.256:80", "\"127.0.0.256\" is not an IPv4 address: four numbers from 0 to 255 "
                           "without leading zeros are expected, as in 127.0.0.1"},
        {"::1:80", "an IPv6 address with a port is written in brackets, as in [::1]:80"},
    };
    for (const auto& [text, reason] : table) {
        check_refusal(run_program({server, text}),
                      "echo_server: listen \"" + text + "\": " + reason);
        check_refusal(run_program({client, text, "hello"}),
                      "echo_client: connect \"" + text + "\": " + reason);
    }
}

TEST_CASE("a name is refused where one listens, and asked for where one connects", "[samples]") {
    check_refusal(run_program({server, "example.com:80"}),
                  "echo_server: listen \"example.com:80\": a host name where a numeric address or "
                  "localhost is expected");
    check_refusal(run_program({server, "localhost:-1"}),
                  "echo_server: listen \"localhost:-1\": port \"-1\" is not a number between 0 and "
                  "65535");
    // Services have names, too, and this is none: no server is needed to tell.
    check_refusal(run_program({client, "localhost:-1", "hello"}),
                  std::string("echo_client: resolve \"localhost:-1\": ") +
                      ::gai_strerror(EAI_SERVICE) +
                      " (no such service; see /etc/services, or give the port's number)");
}

TEST_CASE("an echo server refuses numbers that make no sense", "[samples]") {
    const std::vector<std::vector<std::string>> table = {
        {"--threads", "1000000"}, {"--threads", "1025"}, {"--threads", "-1"},
        {"--threads", "4294967296"}, {"--idle", "-1"}, {"--idle", "nan"},
        {"--idle", "inf"}, {"--limit", "-1"}};
    for (const auto& numbers : table) {
        CAPTURE(numbers);
        const outcome refused = run_program({server, numbers[0], numbers[1], "127.0.0.1:0"});
        CHECK(refused.exit_code >= 100);
        CHECK(refused.out.empty());
        CHECK(refused.err.starts_with(numbers[0] + ": "));
    }
    const outcome many = run_program({server, "--threads", "1025"});
    CHECK(many.err.find("1024") != std::string::npos);  // what is allowed
}

TEST_CASE("a second echo server on a busy port says what to check", "[samples]") {
    const running_server first;
    check_refusal(run_program({server, first.where}),
                  "echo_server: bind " + first.where +
                      ": Address already in use (another socket has this address; see ss -tulnp)");
}

TEST_CASE("an echo server without the right to a port says what to check", "[samples]") {
    int first_free = 0;
    std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first_free;
    if (first_free <= 80) SKIP("here everybody may listen on port 80");
    std::vector<std::string> command = {server, "127.0.0.1:80"};
    if (::geteuid() == 0) {
        command.insert(command.begin(), {"setpriv", "--bounding-set=-net_bind_service"});
    }
    check_refusal(run_program(command),
                  "echo_server: bind 127.0.0.1:80: Permission denied (ports below "
                  "net.ipv4.ip_unprivileged_port_start, 1024 unless changed, are for root or "
                  "CAP_NET_BIND_SERVICE; see sysctl net.ipv4.ip_unprivileged_port_start)");
}

TEST_CASE("an echo server on an address of another host says what to check", "[samples]") {
    check_refusal(run_program({server, "198.51.100.1:8000"}),
                  "echo_server: bind 198.51.100.1:8000: Cannot assign requested address "
                  "(no interface here has this address; see ip address)");
}

TEST_CASE("echo_client without a route says what to check", "[samples]") {
    const std::vector<std::string> apart = {"unshare", "--net", "--map-root-user", "--"};
    std::vector<std::string> probe = apart;
    probe.push_back("true");
    if (run_program(probe).exit_code != 0) SKIP("no network namespace can be made here");
    std::vector<std::string> command = apart;
    command.insert(command.end(), {client, "198.51.100.1:8000", "hello"});
    check_refusal(run_program(command),
                  "echo_client: connect 198.51.100.1:8000: Network is unreachable "
                  "(no route to it; see ip route get 198.51.100.1)");
}

TEST_CASE("an unknown engine is one line that tells the choice", "[samples]") {
    check_refusal(run_program({"env", "RONDO_ENGINE=kqueue", server}),
                  "echo_server: RONDO_ENGINE is \"kqueue\", it may be auto, uring or epoll");
}

TEST_CASE("after Ctrl-C the echo server echoes what had arrived, then exits 0", "[samples]") {
    running_server echo;
    const unique_fd busy = connect_to(echo.where);
    const unique_fd idle = connect_to(echo.where);
    for (const unique_fd* peer : {&busy, &idle}) {
        send_all(*peer, "served");
        CHECK(receive(*peer, 6) == "served");
    }
    // Stopped, so that the signal is there before any of these bytes has been looked at.
    echo.process.stop();
    // Less than the server's receive window: it has arrived once send(2) has returned.
    const std::string sent = pattern(40'000);
    send_all(busy, sent);
    echo.process.signal(SIGINT);
    echo.process.signal(SIGCONT);
    check_same(receive(busy, sent.size()), sent);
    CHECK(at_end(busy));
    CHECK(at_end(idle));
    const outcome ended = echo.process.finish();
    CHECK(ended.exit_code == 0);
    CHECK(ended.err.empty());
}

TEST_CASE("SIGTERM ends the echo server as Ctrl-C does", "[samples]") {
    running_server echo;
    echo.process.signal(SIGTERM);
    CHECK(echo.process.finish().exit_code == 0);
}

