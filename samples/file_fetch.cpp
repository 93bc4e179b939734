// Fetches a file from file_server. What is cut short is kept as NAME.part, and the same command
// fetches the rest; at the end the checksum of the whole is compared.
//
//     ./samples/run file_server localhost:8003 docs
//     ./samples/run file_fetch localhost:8003 benchmarks.md
//     ./samples/run file_fetch localhost:8003 architecture.md --output /tmp/a.md
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace fs = std::filesystem;

std::runtime_error failure(const std::string& sentence) { return std::runtime_error(sentence); }

// What has come so far.
class received {
public:
    void add(std::span<const std::byte> bytes) {
        sum_ = crc32_z(sum_, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
        size_ += bytes.size();
    }
    std::uint64_t size() const { return size_; }
    std::uint32_t checksum() const { return static_cast<std::uint32_t>(sum_); }

private:
    std::uint64_t size_ = 0;
    uLong sum_ = crc32(0, nullptr, 0);
};

// On a terminal, ten times a second; else nothing.
class progress_bar {
public:
    progress_bar(std::uint64_t total, std::uint64_t start) : total_(total), start_(start) {}
    progress_bar(const progress_bar&) = delete;
    progress_bar& operator=(const progress_bar&) = delete;
    ~progress_bar() {
        if (shown_) fmt::print(stderr, "\n");
    }

    void show(std::uint64_t size) {
        const auto now = std::chrono::steady_clock::now();
        if (!on_terminal_ || (now < next_ && size != total_)) return;
        next_ = now + std::chrono::milliseconds(100);
        shown_ = true;
        constexpr double mebibyte = 1024 * 1024;
        constexpr std::size_t width = 40;
        const double part = total_ == 0 ? 1 : static_cast<double>(size) / double(total_);
        const auto filled = static_cast<std::size_t>(part * width);
        const double seconds = std::chrono::duration<double>(now - begin_).count();
        const double rate = seconds > 0 ? double(size - start_) / mebibyte / seconds : 0;
        fmt::print(stderr, "\r[{:-<{}}] {:3.0f} % of {:.1f} MiB, {:.1f} MiB/s ",
                   std::string(filled, '#'), width, part * 100, double(total_) / mebibyte, rate);
        std::fflush(stderr);
    }

private:
    const std::uint64_t total_;
    const std::uint64_t start_;  // what was there already
    const bool on_terminal_ = ::isatty(STDERR_FILENO) == 1;
    const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
    std::chrono::steady_clock::time_point next_ = begin_;
    bool shown_ = false;
};

struct remote_file {
    std::uint64_t size = 0;
    std::uint32_t checksum = 0;
};

remote_file parse(std::string_view answer) {
    if (answer.starts_with("ERROR ")) throw failure("the server: " + std::string(answer.substr(6)));
    std::istringstream words{std::string(answer)};
    std::string ok;
    remote_file found;
    words >> ok >> found.size >> std::hex >> found.checksum;
    if (!words || ok != "OK") throw failure("the server does not answer as file_server does");
    return found;
}

rondo::task<received> read_kept(rondo::file& kept) {
    received all;
    std::vector<std::byte> piece(256 * 1024);
    for (;;) {
        const std::size_t n = co_await kept.read(piece);
        if (n == 0) co_return all;
        all.add(std::span(piece).first(n));
    }
}

bool is_named(const std::string& path, int descriptor) {
    struct stat named {};
    struct stat open {};
    return ::stat(path.c_str(), &named) == 0 && ::fstat(descriptor, &open) == 0 &&
           named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

// Opens the file, or makes it, for nobody else who comes by this; flock(2).
int open_alone(const std::string& path) {
    for (;;) {
        const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (descriptor < 0) throw rondo::file_error("open", errno, path);
        if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
            const int error = errno;
            ::close(descriptor);
            if (error == EWOULDBLOCK) throw failure("another file_fetch is writing to " + path);
            throw rondo::file_error("flock", error, path);
        }
        // Who had it may have renamed or removed it before letting go.
        if (is_named(path, descriptor)) return descriptor;
        ::close(descriptor);
    }
}

// The file of what has come, one file_fetch's at a time. It stays behind unless it is empty.
class part_file {
public:
    explicit part_file(std::string path) : path_(std::move(path)), lock_(open_alone(path_)) {}
    part_file(const part_file&) = delete;
    part_file& operator=(const part_file&) = delete;
    ~part_file() {
        if (is_named(path_, lock_) && size() == 0) ::unlink(path_.c_str());
        ::close(lock_);
    }

    const std::string& path() const { return path_; }
    std::uint64_t size() const {
        struct stat now {};
        ::fstat(lock_, &now);
        return static_cast<std::uint64_t>(now.st_size);
    }

private:
    const std::string path_;
    const int lock_;
};

// Fetches into `part` what is missing there; throws what went wrong, with `part` kept.
rondo::task<bool> fetch(std::string where, std::string name, std::string part) {
    rondo::file kept =
        co_await rondo::file::open(part, rondo::open_flags::read | rondo::open_flags::append);
    received so_far = co_await read_kept(kept);
    rondo::tcp_socket server = co_await rondo::tcp_connect(where);
    rondo::buffered_reader reader(server);
    const std::string request = fmt::format("GET {} {}\n", name, so_far.size());
    co_await server.send(request);
    const auto line = co_await reader.read_line();
    if (!line) throw failure("the server closed the connection without an answer");
    if (std::string_view(*line).starts_with("ERROR the file ends before ")) {
        fs::remove(part);
        throw failure("what was kept is longer than the file: fetch it again from the start");
    }
    const remote_file wanted = parse(*line);

    progress_bar bar(wanted.size, so_far.size());
    while (so_far.size() < wanted.size) {
        const auto data = co_await reader.recv();
        if (!data) {
            throw failure(fmt::format("the connection ended after {} of {} bytes, kept in {}: the "
                                      "same command fetches the rest",
                                      so_far.size(), wanted.size, part));
        }
        co_await kept.write(data);
        so_far.add(data.bytes());
        bar.show(so_far.size());
    }
    co_await kept.sync_data();
    co_await kept.close();
    co_return so_far.size() == wanted.size && so_far.checksum() == wanted.checksum;
}

int main(int argc, char** argv) {
    std::string where;
    std::string name;
    std::string output;
    command_line line("Fetches the file NAME from file_server.");
    line.add("HOST:PORT", where, "the server").required();
    line.add("NAME", name, "the file, as the server knows it").required();
    line.add("--output", output, "where to put it (its name, in this folder)");
    line.parse(argc, argv);
    if (output.empty()) output = fs::path(name).filename().string();

    try {
        if (name.find('\n') != std::string::npos) throw failure("a name has one line");
        const part_file held(output + ".part");
        const std::string& part = held.path();
        if (fs::exists(output)) throw failure(output + " is there already");
        const auto verified = rondo::run(rondo::until_interrupted(fetch(where, name, part)));
        if (!verified && held.size() == 0) {
            throw failure("interrupted before anything came");
        }
        if (!verified) {
            throw failure(fmt::format("interrupted; {} keeps what has come: the same command "
                                      "fetches the rest", part));
        }
        if (!*verified) {
            fs::remove(part);
            throw failure("the checksum is wrong: the file has changed meanwhile, or what was kept "
                          "was of another one; fetch it again from the start");
        }
        fs::rename(part, output);
        fmt::print("{}: {} bytes, checksum verified\n", output, fs::file_size(output));
    } catch (const std::exception& error) {
        fmt::print(stderr, "file_fetch: {}\n", error.what());
        return 1;
    }
}
