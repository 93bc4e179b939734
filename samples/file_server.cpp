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
#include <zlib.h>

#include <charconv>
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

// Reads it once, a piece at a time: in between, other connections are served.
rondo::task<std::uint32_t> checksum_of(rondo::file& source, std::uint64_t size) {
    std::vector<std::byte> piece(256 * 1024);
    uLong sum = crc32(0, nullptr, 0);
    for (std::uint64_t at = 0; at < size;) {
        const std::size_t n = co_await source.read_at(at, piece);
        if (n == 0) throw std::runtime_error("the file became shorter");
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
    std::optional<fs::path> find(const std::string& name) const {
        std::error_code missing;
        const fs::path path = fs::canonical(root_ / name, missing);
        if (missing || !fs::is_regular_file(path, missing)) return std::nullopt;
        if (!holds(path)) return std::nullopt;
        return path;
    }

    // The name may lead elsewhere by the time it is opened: what was opened is what counts.
    bool holds(const rondo::file& opened) const {
        std::error_code unknown;
        const auto link = fmt::format("/proc/self/fd/{}", opened.descriptor());
        const fs::path path = fs::read_symlink(link, unknown);
        return !unknown && holds(path);
    }

    // Remembered until the file changes.
    rondo::task<std::uint32_t> checksum(fs::path path, rondo::file& source) {
        const known now{source.size(), fs::last_write_time(path), 0};
        const auto found = known_.find(path);
        if (found != known_.end() && found->second.same_file(now)) co_return found->second.sum;
        const std::uint32_t sum = co_await checksum_of(source, now.size);
        known_[path] = {now.size, now.changed, sum};
        co_return sum;
    }

private:
    struct known {
        std::uint64_t size;
        fs::file_time_type changed;
        std::uint32_t sum;
        bool same_file(const known& other) const {
            return size == other.size && changed == other.changed;
        }
    };
    // `path` has neither `..` nor links.
    bool holds(const fs::path& path) const {
        const fs::path inside = path.lexically_relative(root_);
        return !inside.empty() && *inside.begin() != "..";
    }

    fs::path root_;
    std::map<fs::path, known> known_;
};

rondo::task<> send_answer(rondo::tcp_socket& peer, folder& from, fs::path path,
                          std::uint64_t offset) {
    auto opened = co_await rondo::as_result(rondo::file::open(path.string()));
    if (!opened) {
        const std::string refusal = fmt::format("ERROR {}\n", opened.error().message());
        co_await peer.send(refusal);
        co_return;
    }
    rondo::file source = std::move(*opened);
    if (!from.holds(source)) {
        co_await peer.send("ERROR there is no such file\n");
        co_return;
    }
    const std::uint64_t size = source.size();
    if (offset > size) {
        const std::string refusal =
            fmt::format("ERROR the file ends before {}: it has {} bytes\n", offset, size);
        co_await peer.send(refusal);
        co_return;
    }
    const std::uint32_t sum = co_await from.checksum(path, source);
    const std::string answer = fmt::format("OK {} {:08x}\n", size, sum);
    co_await peer.send(answer);
    if (offset == size) co_return;
    const std::size_t sent = co_await rondo::send_file(peer, source, offset, size - offset);
    // What was promised cannot be kept: the client sees it by the end of the stream.
    if (sent != size - offset) throw std::runtime_error(path.string() + " became shorter");
    fmt::print("sent {} from {} on: {} bytes\n", path.filename().string(), offset, sent);
    std::fflush(stdout);
}

rondo::task<> serve_files(rondo::tcp_socket peer, folder& from) {
    rondo::buffered_reader reader(peer, 4096);
    while (auto line = co_await reader.read_line()) {
        const std::optional<request> asked = parse(*line);
        const auto path = asked ? from.find(asked->name) : std::nullopt;
        if (!asked) {
            co_await peer.send("ERROR a request is GET NAME OFFSET\n");
        } else if (!path) {
            co_await peer.send("ERROR there is no such file\n");
        } else {
            co_await send_answer(peer, from, *path, asked->offset);
        }
    }
}

int main(int argc, char** argv) {
    std::string where = "localhost:8003";
    std::string root = ".";
    command_line line("Sends the files of FOLDER to those who ask by file_fetch, until Ctrl-C.");
    line.add("HOST:PORT", where, "where to listen");
    line.add("FOLDER", root, "what to send").existing_directory();
    line.parse(argc, argv);

    folder shared{root};
    const auto serve = [&shared](rondo::tcp_socket peer) {
        return serve_files(std::move(peer), shared);
    };
    rondo::serve_options options;
    options.on_listening = [](std::span<const rondo::endpoint> locals) {
        for (const auto& local : locals) fmt::print("listening on {}\n", local);
        std::fflush(stdout);
    };
    return rondo::run_main(rondo::tcp_serve(where, serve, options));
}
