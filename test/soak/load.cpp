#include <soak/load.hpp>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <vector>

extern char** environ;

namespace soak {

using namespace rondo;
using namespace std::chrono_literals;

namespace {

using random = std::mt19937;

std::size_t below(random& source, std::size_t limit) { return source() % limit; }

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

// Bytes in which neighbours, and shifts by a buffer, differ.
const std::string& pattern() {
    static const std::string made = [] {
        std::string bytes(256 * 1024, '\0');
        random source(5);
        std::ranges::generate(bytes, [&] { return static_cast<char>(source()); });
        return bytes;
    }();
    return made;
}

std::string_view some_bytes(random& source) {
    constexpr std::array<std::size_t, 8> sizes = {1, 8, 64, 64, 500, 4096, 20'000, 100'000};
    const std::size_t at = below(source, 100'000);
    return std::string_view(pattern()).substr(at, sizes.at(below(source, sizes.size())));
}

// --- servers ---------------------------------------------------------------------------------

task<> echo(stream_socket peer) {
    while (auto data = co_await peer.recv()) co_await peer.send(data);
}

const endpoint any_port(ip_address::v4_loopback(), 0);

serve_options telling(world& all, endpoint& where) {
    serve_options options;
    options.end_on_reset = true;
    options.on_listening = [&](std::span<const endpoint> locals) {
        where = locals.front();
        ++all.listening;
    };
    return options;
}

using line = std::shared_ptr<const std::string>;

// Each line goes to all, its sender included.
class room {
public:
    task<> serve(tcp_socket socket) {
        channel<line> outbox(1024);
        members_.insert(&outbox);
        co_await when_all(read(socket, outbox), write(socket, outbox));
    }

private:
    task<> read(tcp_socket& socket, channel<line>& outbox) {
        buffered_reader reader(socket);
        std::exception_ptr failure;
        try {
            while (auto text = co_await reader.read_line()) {
                const auto said = std::make_shared<const std::string>(std::string(*text) + "\n");
                for (channel<line>* each : members_) each->try_send(said);
            }
        } catch (...) {
            failure = std::current_exception();
        }
        members_.erase(&outbox);
        outbox.close();
        if (failure) std::rethrow_exception(failure);
    }
    static task<> write(tcp_socket& socket, channel<line>& outbox) {
        std::vector<line> lines;
        std::vector<const_buffer> buffers;
        for (;;) {
            const std::size_t count = co_await outbox.receive_all(lines);
            if (count == 0) break;
            buffers.clear();
            for (const line& each : lines) buffers.emplace_back(*each);
            co_await socket.send(buffers);
        }
    }

    std::set<channel<line>*> members_;
};

task<> give_file(world& all, tcp_socket peer) {
    buffered_reader reader(peer);
    const auto name = co_await reader.read_line();
    if (!name) co_return;
    const std::string path = all.folder + "/" + std::string(*name);
    file wanted = co_await file::open(path);
    co_await send_file(peer, wanted);
    co_await wanted.close();
}

// --- clients ---------------------------------------------------------------------------------

task<> receive_same(stream_socket& peer, std::string_view expected) {
    while (!expected.empty()) {
        const chunk data = co_await peer.recv();
        if (!data) throw socket_error("recv", ECONNRESET);
        if (!expected.starts_with(data.text())) fail("wrong bytes from an echo");
        expected.remove_prefix(data.size());
    }
}

// Both directions at a time: a long message does not fit into what is between.
task<> converse(stream_socket& peer, random& source, world& all, kind what) {
    const std::size_t messages = 1 + below(source, 20);
    for (std::size_t i = 0; i < messages; ++i) {
        const std::string_view bytes = some_bytes(source);
        co_await when_all(peer.send(bytes), receive_same(peer, bytes));
        all.count(what);
    }
}

task<> read_to_end(stream_socket& peer) {
    const chunk end = co_await peer.recv();
    if (end) fail("an echo says more than it was told");
}

task<> echo_over_tcp(world& all, unsigned seed, clock::time_point until) {
    random source(seed);
    while (clock::now() < until) {
        tcp_socket peer = co_await tcp_connect(all.tcp);
        co_await converse(peer, source, all, kind::tcp);
        switch (below(source, 4)) {
            case 0:
                peer.shutdown(shutdown_mode::send);
                co_await read_to_end(peer);
                break;
            case 1: co_await peer.abort(); break;
            case 2: co_await peer.close(); break;
            default: co_await peer.send("not read any more"); break;
        }
    }
}

task<> echo_over_unix(world& all, unsigned seed, clock::time_point until) {
    random source(seed);
    const std::string path = all.unix_path();
    while (clock::now() < until) {
        unix_socket peer = co_await unix_connect(unix_address(path));
        co_await converse(peer, source, all, kind::unix_stream);
    }
}

task<> echo_over_udp(world& all, unsigned seed, clock::time_point until) {
    random source(seed);
    udp_socket socket = udp_socket::bind(any_port);
    while (clock::now() < until) {
        const std::string_view bytes = some_bytes(source).substr(0, 1400);
        const std::string text = std::to_string(source()) + std::string(bytes);
        co_await socket.send_to(text, all.udp);
        for (;;) {
            auto back = co_await as_result(with_timeout(500ms, socket.recv_from()));
            if (back.error() == std::errc::timed_out) break;
            const datagram& came = back.value();
            if (came.from() != all.udp) fail("a datagram from somebody else");
            if (came.text() != text) continue;  // what came late
            all.count(kind::udp);
            break;
        }
    }
}

task<> chat(world& all, std::string name, clock::time_point until) {
    tcp_socket socket = co_await tcp_connect(all.chat);
    buffered_reader reader(socket);
    for (unsigned said = 0; clock::now() < until; ++said) {
        const std::string mine = name + " " + std::to_string(said);
        co_await socket.send(mine, "\n");
        for (;;) {
            const auto text = co_await reader.read_line();
            if (!text) fail("the chat has ended");
            if (*text == mine) break;
            if (text->starts_with(name + " ")) fail("the chat has lost a line");
        }
        all.count(kind::chat);
    }
}

task<> use_files(world& all, std::string name, unsigned seed, clock::time_point until) {
    random source(seed);
    const std::string path = all.folder + "/" + name;
    while (clock::now() < until) {
        const std::string_view bytes =
            std::string_view(pattern()).substr(0, below(source, pattern().size()));
        const auto flags = open_flags::write | open_flags::create | open_flags::truncate;
        file out = co_await file::open(path, flags);
        co_await out.write(bytes);
        co_await out.close();
        tcp_socket peer = co_await tcp_connect(all.files);
        co_await peer.send(name, "\n");
        co_await receive_same(peer, bytes);
        co_await read_to_end(peer);
        all.count(kind::file);
    }
    ::unlink(path.c_str());
}

// Receives that are cut short again and again lose nothing.
task<> time_out(world& all, unsigned seed, clock::time_point until) {
    random source(seed);
    tcp_socket peer = co_await tcp_connect(all.tcp);
    while (clock::now() < until) {
        std::string_view awaited = some_bytes(source).substr(0, 4096);
        co_await peer.send(awaited);
        while (!awaited.empty()) {
            const auto patience = std::chrono::microseconds(below(source, 300));
            auto data = co_await as_result(with_timeout(patience, peer.recv()));
            if (data.error() == std::errc::timed_out) {
                all.count(kind::cancelled);
                continue;
            }
            const chunk& came = data.value();
            if (!came || !awaited.starts_with(came.text())) fail("wrong bytes after a time-out");
            awaited.remove_prefix(came.size());
        }
        co_await with_task_group([&](task_group& group) -> task<> {
            for (int i = 0; i < 5; ++i) {
                group.spawn([]() -> task<> {
                    auto slept = co_await as_result(sleep_for(1h));
                    if (slept) fail("an hour is over");
                });
            }
            co_await yield();
            group.cancel();
        });
    }
}

task<> use_names(world& all, clock::time_point until) {
    const std::string where = "localhost:" + std::to_string(all.tcp.port());
    while (clock::now() < until) {
        const auto found = co_await resolve(where);
        if (found.empty()) fail("localhost has no address");
        tcp_socket peer = co_await tcp_connect(where);
        co_await peer.send("name");
        co_await receive_same(peer, "name");
        all.count(kind::names);
        co_await sleep_for(2ms);
    }
}

task<> use_threads(world& all, scheduler& other, clock::time_point until) {
    while (clock::now() < until) {
        const shared_channel<int> values(4);
        const auto there = [values]() -> task<> {
            for (int i = 0; i < 10; ++i) co_await values.send(i);
            co_await blocking([] { return ::usleep(100); });
        };
        const auto here = [](const shared_channel<int>& from) -> task<> {
            for (int i = 0; i < 10; ++i) {
                const auto value = co_await from.recv();
                if (!value || *value != i) fail("a value went astray between threads");
            }
        };
        co_await when_all(on(other, there), here(values));
        all.count(kind::threads);
    }
}

// --- processes that are killed ---------------------------------------------------------------

class process {
public:
    explicit process(std::vector<std::string> command) {
        std::vector<char*> words;
        for (std::string& word : command) words.push_back(word.data());
        words.push_back(nullptr);
        const int failed = ::posix_spawn(&id_, words[0], nullptr, nullptr, words.data(), environ);
        if (failed != 0) throw std::system_error(failed, std::generic_category(), "posix_spawn");
    }
    process(const process&) = delete;
    process& operator=(const process&) = delete;
    ~process() { kill(); }
    void kill() {
        if (id_ < 0) return;
        ::kill(id_, SIGKILL);
        ::waitpid(id_, nullptr, 0);
        id_ = -1;
    }

private:
    pid_t id_ = -1;
};

// Starts a peer, lets it live for a moment, kills it.
task<> kill_again_and_again(world& all, std::vector<std::string> command, kind what, unsigned seed,
                            clock::time_point until) {
    random source(seed);
    while (clock::now() < until) {
        process peer(command);
        const auto life = std::chrono::milliseconds(100 + below(source, 200));
        co_await sleep_for(life);
        co_await blocking([&] { peer.kill(); });
        all.count(what);
    }
}

// A client of the server that is killed: whatever fails by that is no failure.
task<> talk_to_killed(world& all, unsigned seed, clock::time_point until) {
    random source(seed);
    const std::string path = all.killed_path();
    while (clock::now() < until) {
        const auto once = [&]() -> task<> {
            unix_socket peer = co_await unix_connect(unix_address(path));
            co_await converse(peer, source, all, kind::unix_stream);
        };
        const auto ended = co_await as_result(with_timeout(5s, once()));
        if (!ended && ended.error() == std::errc::timed_out) fail("a killed server still hangs");
        if (!ended) co_await sleep_for(5ms);
    }
}

}  // namespace

task<> serve_tcp(world& all) {
    auto options = telling(all, all.tcp);
    co_await tcp_serve(any_port, echo, std::move(options));
}

task<> serve_unix(world& all) {
    unix_serve_options options;
    options.end_on_reset = true;
    options.on_listening = [&](const unix_address&) { ++all.listening; };
    co_await unix_serve(unix_address(all.unix_path()), echo, std::move(options));
}

task<> serve_udp(world& all) {
    udp_serve_options options;
    options.handlers = 8;
    options.on_listening = [&](std::span<const endpoint> locals) {
        all.udp = locals.front();
        ++all.listening;
    };
    const auto answer = [](udp_socket& socket, datagram data) -> task<> {
        co_await socket.send_to(data, data.from());
    };
    co_await udp_serve(any_port, answer, std::move(options));
}

task<> serve_chat(world& all) {
    room chatters;
    auto options = telling(all, all.chat);
    const auto handler = [&](tcp_socket socket) { return chatters.serve(std::move(socket)); };
    co_await tcp_serve(any_port, handler, std::move(options));
}

task<> serve_files(world& all) {
    auto options = telling(all, all.files);
    const auto handler = [&](tcp_socket socket) { return give_file(all, std::move(socket)); };
    co_await tcp_serve(any_port, handler, std::move(options));
}

task<> run_clients(world& all, scheduler& other, unsigned seed, clock::time_point until,
                   bool peers) {
    const std::string mark = std::to_string(seed);
    co_await with_task_group([&](task_group& group) -> task<> {
        for (unsigned i = 0; i < 4; ++i) {
            group.spawn(echo_over_tcp, std::ref(all), seed + i, until);
            group.spawn(time_out, std::ref(all), seed + i, until);
        }
        for (unsigned i = 0; i < 2; ++i) {
            group.spawn(echo_over_unix, std::ref(all), seed + i, until);
            group.spawn(echo_over_udp, std::ref(all), seed + i, until);
            const std::string name = mark + "-" + std::to_string(i);
            group.spawn(chat, std::ref(all), name, until);
            group.spawn(use_files, std::ref(all), name, seed + i, until);
        }
        group.spawn(use_names, std::ref(all), until);
        group.spawn(use_threads, std::ref(all), std::ref(other), until);
        if (peers) {
            const std::vector<std::string> client = {all.program, "--talk", all.tcp.to_string()};
            const std::vector<std::string> server = {all.program, "--serve", all.killed_path()};
            group.spawn(kill_again_and_again, std::ref(all), client, kind::killed_client, seed,
                        until);
            group.spawn(kill_again_and_again, std::ref(all), server, kind::killed_server, seed + 1,
                        until);
            group.spawn(talk_to_killed, std::ref(all), seed, until);
        }
        co_return;
    });
}

task<> talk_for_ever(endpoint echo) {
    world own;
    random source(static_cast<unsigned>(::getpid()));
    for (;;) {
        tcp_socket peer = co_await tcp_connect(echo);
        co_await converse(peer, source, own, kind::tcp);
    }
}

task<> serve_for_ever(std::string path) { co_await unix_serve(unix_address(path), echo); }

}  // namespace soak
