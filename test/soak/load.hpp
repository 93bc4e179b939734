// The mixed load of the soak: servers that stay, and clients that come and go in rounds.
#pragma once

#include <rondo/rondo.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace soak {

using clock = std::chrono::steady_clock;

/// What clients do, by kind.
enum class kind : std::uint8_t {
    tcp, unix_stream, udp, chat, file, cancelled, names, threads, killed_client, killed_server,
};
inline constexpr std::array<std::string_view, 10> kind_names = {
    "TCP messages", "Unix messages", "datagrams", "chat lines", "files", "time-outs", "names",
    "calls on threads", "killed clients", "killed servers",
};

/// Shared by all threads: set before clients begin, but for the counts.
struct world {
    std::string folder;   ///< for files and Unix sockets
    std::string program;  ///< this one, to be run as a peer
    std::atomic<unsigned> listening = 0;
    rondo::endpoint tcp;
    rondo::endpoint udp;
    rondo::endpoint chat;
    rondo::endpoint files;
    std::array<std::atomic<std::uint64_t>, kind_names.size()> done{};

    std::string unix_path() const { return folder + "/echo"; }
    std::string killed_path() const { return folder + "/killed"; }
    void count(kind what) { done.at(static_cast<std::size_t>(what)).fetch_add(1); }
};

inline constexpr unsigned servers = 5;  // that add themselves to world::listening

/// Serve until cancelled.
rondo::task<> serve_tcp(world& all);  // on each thread
rondo::task<> serve_unix(world& all);
rondo::task<> serve_udp(world& all);
rondo::task<> serve_chat(world& all);
rondo::task<> serve_files(world& all);

/// All kinds of clients of one thread, until then. Throws where a byte is wrong. `others` is the
/// scheduler of another thread; `peers` says whether there are processes to be killed, too.
rondo::task<> run_clients(world& all, rondo::scheduler& other, unsigned seed,
                          clock::time_point until, bool peers);

/// What the processes that are killed do.
rondo::task<> talk_for_ever(rondo::endpoint echo);
rondo::task<> serve_for_ever(std::string path);

}  // namespace soak
