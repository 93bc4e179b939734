// A file server: sends files of a folder, from any offset on, by send_file.
//
//     ./samples/run file_server localhost:8003 docs      serves the folder docs until Ctrl-C
//     ./samples/run file_fetch localhost:8003 benchmarks.md
//     printf 'GET benchmarks.md 0\n' | nc -N localhost 8003
//
// A request is a line, `GET NAME OFFSET`. The answer is the line `OK SIZE CHECKSUM`, of the whole
// file (CRC-32, as gzip has it, in hexadecimal), and the bytes from OFFSET on; or `ERROR` and why.
// Requests may follow one another on a connection.
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>
#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>
#include <vector>

namespace fs = std::filesystem;

struct request {
    std::string name;
    std::uint64_t offset = 0;
};

std::optional<request> parse(std::string_view line) {
    if (!line.starts_with("GET ")) return std::nullopt;
    line.remove_prefix(4);
    const std::size_t blank = line.rfind(' ');  // names may have blanks, too
    if (blank == std::string_view::npos) return std::nullopt;
    request asked{std::string(line.substr(0, blank))};
    const char* const end = line.data() + line.size();
    const auto read = std::from_chars(line.data() + blank + 1, end, asked.offset);
    if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
    return asked;
}

// Why a client gets no file.
class refusal : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};
constexpr const char* no_such_file = "there is no such file";

// A file as it was at one moment.
struct version {
    dev_t device;
    ino_t inode;
    std::uint64_t size;
    std::chrono::nanoseconds changed;  // since 1970; unlike the time of writing, nobody can set it

    bool operator==(const version&) const = default;
};

// Of what was opened: the name may be another file's by now.
version version_of(const rondo::file& source) {
    struct stat now {};
    if (::fstat(source.descriptor(), &now) != 0) {
        throw rondo::file_error("fstat", errno, source.path());
    }
    if (!S_ISREG(now.st_mode)) throw refusal(no_such_file);
    const auto changed = std::chrono::seconds(now.st_ctim.tv_sec) +
                         std::chrono::nanoseconds(now.st_ctim.tv_nsec);
    return {now.st_dev, now.st_ino, static_cast<std::uint64_t>(now.st_size), changed};
}

// Reads it once, a piece at a time: in between, other connections are served.
rondo::task<std::uint32_t> checksum_of(rondo::file& source, std::uint64_t size) {
    std::vector<std::byte> piece(256 * 1024);
    uLong sum = crc32(0, nullptr, 0);
    for (std::uint64_t at = 0; at < size;) {
        const std::size_t most = std::min<std::uint64_t>(piece.size(), size - at);
        const std::size_t n = co_await source.read_at(at, std::span(piece).first(most));
        if (n == 0) throw refusal("the file has just become shorter");
        sum = crc32_z(sum, reinterpret_cast<const Bytef*>(piece.data()), n);
        at += n;
        co_await rondo::yield();
    }
    co_return static_cast<std::uint32_t>(sum);
}

class folder {
public:
    explicit folder(const fs::path& root) : root_(fs::canonical(root)) {}

    // Where that name is, if it is a file in here: neither `..` nor a link leads out.
    fs::path find(const std::string& name) const {
        std::error_code missing;
        const fs::path path = fs::canonical(root_ / name, missing);
        const bool found = !missing && fs::is_regular_file(path, missing);
        if (!found || !holds(path)) throw refusal(no_such_file);
        return path;
    }

    // The name may lead elsewhere by the time it is opened: what was opened is what counts.
    bool holds(const rondo::file& opened) const {
        std::error_code unknown;
        const auto link = fmt::format("/proc/self/fd/{}", opened.descriptor());
        const fs::path path = fs::read_symlink(link, unknown);
        return !unknown && holds(path);
    }

    // Remembered until the file changes. What changes while it is read is none of its versions; and
    // what has just changed could do so again within the same tick of the kernel's clock, which is
    // 10 ms at most. Neither is remembered.
    rondo::task<std::uint32_t> checksum(rondo::file& source, version now) {
        const auto found = known_.find(source.path());
        if (found != known_.end() && found->second.of == now) co_return found->second.sum;
        const auto age = std::chrono::system_clock::now().time_since_epoch() - now.changed;
        const std::uint32_t sum = co_await checksum_of(source, now.size);
        if (age > std::chrono::milliseconds(100) && version_of(source) == now) {
            known_.insert_or_assign(source.path(), known{now, sum});
        }
        co_return sum;
    }

private:
    struct known {
        version of;
        std::uint32_t sum;
    };

    // `path` has neither `..` nor links.
    bool holds(const fs::path& path) const {
        const fs::path inside = path.lexically_relative(root_);
        return !inside.empty() && *inside.begin() != "..";
    }

    fs::path root_;
    std::map<std::string, known> known_;  // by path
};

struct offer {
    rondo::file source;
    std::uint64_t size = 0;
    std::uint32_t sum = 0;
};

// Throws refusal.
rondo::task<offer> find_offer(folder& from, request asked) {
    const fs::path path = from.find(asked.name);
    offer found;
    try {
        found.source = co_await rondo::file::open(path.string());
        if (!from.holds(found.source)) throw refusal(no_such_file);
        const version now = version_of(found.source);
        found.size = now.size;
        if (asked.offset > found.size) {
            throw refusal(fmt::format("the file ends before {}: it has {} bytes", asked.offset,
                                      found.size));
        }
        found.sum = co_await from.checksum(found.source, now);
    } catch (const rondo::file_error& error) {
        throw refusal(error.code().message());
    }
    co_return found;
}

// A file that another one replaces is sent as it was. One that is written to meanwhile is sent as
// it is by then: size and checksum stay those of before, and the client sees that they differ. What
// is only added does no harm.
rondo::task<> send_offer(rondo::tcp_socket& peer, offer found, std::uint64_t offset) {
    const std::string answer = fmt::format("OK {} {:08x}\n", found.size, found.sum);
    co_await peer.send(answer);
    if (offset == found.size) co_return;
    const std::uint64_t rest = found.size - offset;
    const std::size_t sent = co_await rondo::send_file(peer, found.source, offset, rest);
    // What was promised cannot be kept: the client sees it by the end of the stream.
    if (sent != rest) throw std::runtime_error(found.source.path() + " became shorter");
    const fs::path path = found.source.path();
    fmt::print("sent {} from {} on: {} bytes\n", path.filename().string(), offset, sent);
    std::fflush(stdout);
}

rondo::task<> answer(rondo::tcp_socket& peer, folder& from, std::string_view line) {
    const std::optional<request> asked = parse(line);
    std::optional<offer> found;
    std::string refused;
    try {
        if (!asked) throw refusal("a request is GET NAME OFFSET");
        offer ready = co_await find_offer(from, *asked);
        found = std::move(ready);
    } catch (const refusal& reason) {
        refused = fmt::format("ERROR {}\n", reason.what());
    }
    if (found) {
        co_await send_offer(peer, std::move(*found), asked->offset);
    } else {
        co_await peer.send(refused);
    }
}

rondo::task<> serve_files(rondo::tcp_socket peer, folder& from, std::chrono::seconds patience) {
    // Who vanished without a word, or takes nothing for so long, does not stay for ever.
    peer.set(rondo::user_timeout(patience));
    peer.set(rondo::keep_alive(patience, patience / 4, 4));
    rondo::buffered_reader reader(peer, 4096);
    while (auto line = co_await reader.read_line())
        co_await answer(peer, from, *line);
}

int main(int argc, char** argv) {
    std::string where = "localhost:8003";
    std::string root = ".";
    unsigned patience = 60;
    command_line line("Sends the files of FOLDER to those who ask by file_fetch, until Ctrl-C.");
    line.add("HOST:PORT", where, "where to listen");
    line.add("FOLDER", root, "what to send").existing_directory();
    line.add("--patience", patience,
             "seconds until a client that takes nothing, or has vanished, is gone")
        .between(4, 32767);
    line.parse(argc, argv);

    folder shared{root};
    const auto serve = [&](rondo::tcp_socket peer) {
        return serve_files(std::move(peer), shared, std::chrono::seconds(patience));
    };
    rondo::serve_options options;
    options.on_listening = [](std::span<const rondo::endpoint> locals) {
        for (const auto& local : locals) fmt::print("listening on {}\n", local);
        std::fflush(stdout);
    };
    return rondo::run_main(rondo::tcp_serve(where, serve, options));
}
