// file_server and file_fetch as a user meets them.
#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/endpoint.hpp>

#include <support/program.hpp>
#include <support/raw_peer.hpp>
#include <support/scratch_directory.hpp>

#include <catch2/catch_test_macros.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

namespace fs = std::filesystem;
using rondo::endpoint;
using rondo::socket_address;
using rondo::detail::unique_fd;
using namespace rondo::test;
using namespace std::chrono_literals;

namespace {

std::string sample(const char* name) { return std::string(RONDO_SAMPLES_DIR "/") + name; }

void write_file(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}
std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// A server of a folder with a large file, and a folder to fetch into.
struct exchange {
    scratch_directory directory;
    std::string text = pattern(2'000'000);
    std::string from = directory / "from";
    std::string to = directory / "to";
    std::string output = to + "/large";

    exchange() {
        fs::create_directories(from + "/inside");
        fs::create_directory(to);
        write_file(from + "/large", text);
    }
    outcome fetch(const std::string& where, const std::string& name = "large") const {
        return run_program({sample("file_fetch"), where, name, "--output", output});
    }
    void check_fetched(const outcome& done) const {
        CHECK(done.err.empty());
        CHECK(done.exit_code == 0);
        CHECK(done.out == output + ": " + std::to_string(text.size()) +
                              " bytes, checksum verified\n");
        CHECK((read_file(output) == text));
        CHECK_FALSE(fs::exists(output + ".part"));
    }
};

struct running_server {
    program process;
    std::string where;

    explicit running_server(const std::string& folder, const std::string& patience = "60")
        : process({sample("file_server"), "127.0.0.1:0", folder, "--patience", patience}) {
        const std::string line = process.read_line();
        const std::string start = "listening on ";
        REQUIRE(line.starts_with(start));
        where = line.substr(start.size());
    }
};

/// The answer, with `size` bytes of the file where it has them.
std::string ask(raw_peer& client, const std::string& request, std::size_t size) {
    client.send(request);
    std::string answer;
    const auto whole = [&answer, size] {
        const std::size_t line = answer.find('\n');
        if (line == std::string::npos) return false;
        return !answer.starts_with("OK") || answer.size() >= line + 1 + size;
    };
    while (!whole()) {
        pollfd until{client.descriptor(), POLLIN, 0};
        REQUIRE(::poll(&until, 1, 30'000) == 1);
        REQUIRE_FALSE((client.at_end() || client.was_reset()));
        answer += client.read();
    }
    return answer;
}

/// Asks for "shared", of six bytes, until the server answers without reading it.
void ask_until_remembered(raw_peer& client, const std::string& path) {
    const unique_fd reads(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    REQUIRE(::inotify_add_watch(reads.get(), path.c_str(), IN_ACCESS) > 0);
    const auto end = std::chrono::steady_clock::now() + 30s;
    for (bool read = true; read;) {
        REQUIRE(std::chrono::steady_clock::now() < end);
        ask(client, "GET shared 6\n", 0);
        inotify_event event;
        read = false;
        while (::read(reads.get(), &event, sizeof event) > 0) read = true;
    }
}

/// The server's end of that connection, as a descriptor of this process; none where it may not.
unique_fd other_end(const program& server, const raw_peer& client) {
    const unique_fd process(static_cast<int>(::syscall(SYS_pidfd_open, server.id(), 0)));
    if (!process) return {};
    for (int number = 3; number < 100; ++number) {
        unique_fd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
        if (!copy && errno != EBADF) return {};
        socket_address peer;
        if (!copy || ::getpeername(copy.get(), peer.data(), peer.size_pointer()) != 0) continue;
        if (peer.to_endpoint() == client.local_endpoint()) return copy;
    }
    throw std::runtime_error("the server has no such connection");
}

int option_of(const unique_fd& socket, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(::getsockopt(socket.get(), level, name, &value, &size) == 0);
    return value;
}

/// A server that answers once, with whatever the test says.
struct false_server {
    unique_fd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    std::string where;

    false_server() {
        const socket_address any(*endpoint::parse("127.0.0.1:0"));
        REQUIRE(::bind(listener.get(), any.data(), any.size()) == 0);
        REQUIRE(::listen(listener.get(), 1) == 0);
        socket_address name;
        REQUIRE(::getsockname(listener.get(), name.data(), name.size_pointer()) == 0);
        where = name.to_endpoint()->to_string();
    }
    /// Returns the next client's connection, and its request.
    std::pair<unique_fd, std::string> hear() const {
        unique_fd client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        REQUIRE(client.get() >= 0);
        std::string asked;
        char byte = 0;
        while (byte != '\n' && ::recv(client.get(), &byte, 1, 0) == 1) asked += byte;
        return {std::move(client), asked};
    }
    /// Says that and no more.
    static void say(const unique_fd& client, const std::string& bytes) {
        REQUIRE(::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(bytes.size()));
        ::shutdown(client.get(), SHUT_WR);
    }
    /// Returns the request.
    std::string answer(const std::string& bytes) const {
        const auto [client, asked] = hear();
        say(client, bytes);
        return asked;
    }
};

}  // namespace

TEST_CASE("file_fetch fetches a file, and no second time", "[samples][file]") {
    exchange files;
    running_server server(files.from);
    files.check_fetched(files.fetch(server.where));
    CHECK(server.process.read_line() == "sent large from 0 on: 2000000 bytes");
    const outcome again = files.fetch(server.where);
    CHECK(again.exit_code == 1);
    CHECK(again.err == "file_fetch: " + files.output + " is there already\n");
    server.process.signal(SIGINT);
    CHECK(server.process.finish().exit_code == 0);
}

TEST_CASE("file_fetch keeps what came before the connection ended and fetches the rest",
          "[samples][file]") {
    exchange files;
    {
        const false_server cut;
        program fetch({sample("file_fetch"), cut.where, "large", "--output", files.output});
        const std::string asked =
            cut.answer("OK 2000000 00000000\n" + files.text.substr(0, 50'000));
        CHECK(asked == "GET large 0\n");
        const outcome failed = fetch.finish();
        CHECK(failed.exit_code == 1);
        CHECK(failed.err == "file_fetch: the connection ended after 50000 of 2000000 bytes, kept "
                            "in " + files.output + ".part: the same command fetches the rest\n");
        CHECK((read_file(files.output + ".part") == files.text.substr(0, 50'000)));
        CHECK_FALSE(fs::exists(files.output));
    }
    running_server server(files.from);
    files.check_fetched(files.fetch(server.where));
    CHECK(server.process.read_line() == "sent large from 50000 on: 1950000 bytes");
}

TEST_CASE("file_fetch refuses what does not have the checksum", "[samples][file]") {
    exchange files;
    running_server server(files.from);
    for (const std::size_t kept : {std::size_t{1000}, files.text.size()}) {
        write_file(files.output + ".part", std::string(kept, 'x'));
        const outcome failed = files.fetch(server.where);
        CHECK(failed.exit_code == 1);
        CHECK(failed.err == "file_fetch: the checksum is wrong: the file has changed meanwhile, or "
                            "what was kept was of another one; fetch it again from the start\n");
        CHECK_FALSE(fs::exists(files.output + ".part"));
        CHECK_FALSE(fs::exists(files.output));
    }
    files.check_fetched(files.fetch(server.where));
}

TEST_CASE("file_fetch refuses what was kept of a longer file", "[samples][file]") {
    exchange files;
    running_server server(files.from);
    write_file(files.output + ".part", files.text + "x");
    const outcome failed = files.fetch(server.where);
    CHECK(failed.exit_code == 1);
    CHECK(failed.err == "file_fetch: what was kept is longer than the file: fetch it again from "
                        "the start\n");
    CHECK_FALSE(fs::exists(files.output));
    files.check_fetched(files.fetch(server.where));
}

TEST_CASE("file_fetch leaves alone what another one is fetching", "[samples][file]") {
    exchange files;
    const false_server slow;
    program first({sample("file_fetch"), slow.where, "large", "--output", files.output});
    const auto [client, asked] = slow.hear();
    running_server server(files.from);
    const outcome second = files.fetch(server.where);
    CHECK(second.exit_code == 1);
    CHECK(second.err ==
          "file_fetch: another file_fetch is writing to " + files.output + ".part\n");
    CHECK_FALSE(fs::exists(files.output));
    files.text = "first ";
    false_server::say(client, "OK 6 1cf17afc\nfirst ");
    files.check_fetched(first.finish());
}

TEST_CASE("file_fetch removes what it made, and nothing else, where it got nothing",
          "[samples][file]") {
    exchange files;
    running_server server(files.from);
    CHECK(files.fetch(server.where, "missing").exit_code == 1);
    CHECK_FALSE(fs::exists(files.output + ".part"));
    write_file(files.output + ".part", "kept");
    CHECK(files.fetch(server.where, "missing").exit_code == 1);
    CHECK(read_file(files.output + ".part") == "kept");
}

TEST_CASE("file_server knows a file's checksum again when the file has changed",
          "[samples][file]") {
    exchange files;
    running_server server(files.from);
    files.check_fetched(files.fetch(server.where));
    fs::remove(files.output);
    files.text += "and more";
    write_file(files.from + "/large", files.text);
    files.check_fetched(files.fetch(server.where));
}

TEST_CASE("file_server tells files of one size and date apart", "[samples][file]") {
    exchange files;
    const std::string path = files.from + "/shared";
    write_file(path, "first ");
    const auto date = fs::last_write_time(path);
    running_server server(files.from);
    raw_peer client = raw_peer::connect_to(*endpoint::parse(server.where));
    CHECK(ask(client, "GET shared 6\n", 0) == "OK 6 1cf17afc\n");

    ask_until_remembered(client, path);
    write_file(files.from + "/next", "second");
    fs::last_write_time(files.from + "/next", date);
    fs::rename(files.from + "/next", path);
    CHECK(ask(client, "GET shared 6\n", 0) == "OK 6 b61f1169\n");

    ask_until_remembered(client, path);
    write_file(path, "third!");
    fs::last_write_time(path, date);
    CHECK(ask(client, "GET shared 6\n", 0) == "OK 6 d49068b2\n");
}

TEST_CASE("file_server sends nothing but files of its folder", "[samples][file]") {
    exchange files;
    write_file(files.directory / "secret", "not for everybody");
    fs::create_symlink(files.directory / "secret", files.from + "/link");
    fs::create_directory(files.directory / "from-besides");
    write_file(files.directory / "from-besides/file", "beside");
    running_server server(files.from);
    for (const std::string& name :
         {std::string("../secret"), std::string("inside/../../secret"), std::string("link"),
          files.directory / "secret", std::string("../from-besides/file"),
          std::string("inside"), std::string("missing")}) {
        const outcome refused = files.fetch(server.where, name);
        CHECK(refused.exit_code == 1);
        CHECK(refused.err == "file_fetch: the server: there is no such file\n");
        CHECK_FALSE(fs::exists(files.output + ".part"));
    }
    write_file(files.from + "/inside/a name with blanks", files.text);
    files.check_fetched(files.fetch(server.where, "inside/../inside/a name with blanks"));
}

TEST_CASE("file_server sends nothing from outside where a link takes a file's place meanwhile",
          "[samples][file]") {
    exchange files;
    write_file(files.directory / "secret", "secret");
    write_file(files.from + "/own", "shared");
    fs::create_hard_link(files.from + "/own", files.from + "/shared");
    running_server server(files.from);
    raw_peer client = raw_peer::connect_to(*endpoint::parse(server.where));
    const std::jthread other([&files](const std::stop_token& stop) {
        const std::string next = files.from + "/next";
        const std::string shared = files.from + "/shared";
        while (!stop.stop_requested()) {
            fs::create_symlink("../secret", next);
            fs::rename(next, shared);
            fs::create_hard_link(files.from + "/own", next);
            fs::rename(next, shared);
        }
    });
    std::size_t sent = 0;
    std::size_t refused = 0;
    const auto begin = std::chrono::steady_clock::now();
    const auto age = [begin] { return std::chrono::steady_clock::now() - begin; };
    while (age() < 250ms || ((sent == 0 || refused == 0) && age() < 30s)) {
        const std::string answer = ask(client, "GET shared 0\n", 6);
        INFO(answer);
        REQUIRE(answer.find("secret") == std::string::npos);
        if (answer.starts_with("OK 6 ")) {
            ++sent;
            server.process.read_line();
        } else {
            ++refused;
        }
    }
    // Both were seen, so they did take turns.
    CHECK(sent != 0);
    CHECK(refused != 0);
}

TEST_CASE("file_server gives up a client that has vanished or takes nothing", "[samples][file]") {
    exchange files;
    running_server server(files.from, "40");
    raw_peer client = raw_peer::connect_to(*endpoint::parse(server.where));
    CHECK(ask(client, "GET missing 0\n", 0) == "ERROR there is no such file\n");
    const unique_fd socket = other_end(server.process, client);
    if (!socket) SKIP("this process may not look at the descriptors of another one");
    CHECK(option_of(socket, IPPROTO_TCP, TCP_USER_TIMEOUT) == 40'000);
    CHECK(option_of(socket, SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option_of(socket, IPPROTO_TCP, TCP_KEEPIDLE) == 40);
    CHECK(option_of(socket, IPPROTO_TCP, TCP_KEEPINTVL) == 10);
    CHECK(option_of(socket, IPPROTO_TCP, TCP_KEEPCNT) == 4);
}

TEST_CASE("file_server answers nonsense by a line and goes on", "[samples][file]") {
    exchange files;
    write_file(files.from + "/small", "small");
    running_server server(files.from);
    const outcome talk = run_program(
        {"nc", "-N", "127.0.0.1", server.where.substr(server.where.find(':') + 1)},
        "HELO\nGET small\nGET small x\nGET small 0\nGET small 3\nGET small 5\nGET small 6\n");
    const std::string refusal = "ERROR a request is GET NAME OFFSET\n";
    CHECK(talk.out == refusal + refusal + refusal +
                          "OK 5 7545ea13\nsmallOK 5 7545ea13\nllOK 5 7545ea13\n"
                          "ERROR the file ends before 6: it has 5 bytes\n");
}

TEST_CASE("file_fetch says what is wrong with a server", "[samples][file]") {
    exchange files;
    const false_server other;
    program fetch({sample("file_fetch"), other.where, "large", "--output", files.output});
    other.answer("HTTP/1.1 400 Bad Request\n");
    const outcome failed = fetch.finish();
    CHECK(failed.exit_code == 1);
    CHECK(failed.err == "file_fetch: the server does not answer as file_server does\n");
    CHECK_FALSE(fs::exists(files.output + ".part"));
}
