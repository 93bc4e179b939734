// The scenarios over files: what is written is read, and sent over a socket.
#include <seeds/streams.hpp>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/io/file.hpp>
#include <rondo/net/send_file.hpp>
#include <rondo/net/socket_option.hpp>
#include <rondo/net/unix.hpp>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace rondo::test {

namespace {

/// The name of a file, which is removed in the end.
class scratch_file {
public:
    explicit scratch_file(const char* folder) : path_(std::string(folder) + "/rondo-seed-XXXXXX") {
        const detail::unique_fd made(::mkostemp(path_.data(), O_CLOEXEC));
        if (!made) throw std::system_error(errno, std::generic_category(), "mkostemp " + path_);
    }
    scratch_file(const scratch_file&) = delete;
    scratch_file& operator=(const scratch_file&) = delete;
    ~scratch_file() { ::unlink(path_.c_str()); }
    const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
};

task<> write_all_of(play& here, file& to, std::uint64_t key, std::size_t total) {
    const bool at_offsets = here.one_in(2);
    std::vector<std::byte> piece(4000);
    for (std::size_t written = 0; written != total;) {
        const std::size_t size = std::min(here.between(1, piece.size()), total - written);
        const std::span bytes(piece.data(), size);
        fill(bytes, key, written);
        if (at_offsets) {
            co_await to.write_at(written, const_buffer(bytes));
        } else {
            co_await to.write(const_buffer(bytes));
        }
        written += size;
        if (here.one_in(6)) co_await to.sync_data();
    }
    if (here.one_in(2)) co_await to.sync();
    here.check(to.size() == total, "the file has another size");
}

task<> read_all_of(play& here, file& from, std::uint64_t key, std::size_t total) {
    const bool at_offsets = here.one_in(2);
    std::vector<std::byte> room(5000);
    std::size_t read = 0;
    for (;;) {
        const std::span part(room.data(), here.between(1, room.size()));
        std::size_t count = 0;
        if (at_offsets) {
            count = co_await from.read_at(read, part);
        } else {
            count = co_await from.read(part);
        }
        if (count == 0) break;
        here.check(is_part(part.first(count), key, read), "the file has a wrong byte");
        read += count;
        here.note(count);
    }
    here.check(read == total, "the file ends too early");
}

task<> send_whole(play& here, file& source, unix_socket to, std::size_t total) {
    const std::size_t sent = co_await send_file(to, source);
    here.check(sent == total, "send_file() sent another count");
    to.shutdown(shutdown_mode::send);
}

task<> receive_whole(play& here, unix_socket from, std::uint64_t key, std::size_t total) {
    const std::size_t received = co_await check_stream(here, from, key);
    here.check(received <= total, "more of the file came than there is");
    here.check_complete(received == total, "the file came in part");
}

task<> send_over_socket(play& here, file& source, std::uint64_t key, std::size_t total) {
    auto ends = unix_socket::pair();
    if (here.one_in(2)) ends.first.set(send_buffer{4096});
    const auto send = [&] { return send_whole(here, source, std::move(ends.first), total); };
    const auto receive = [&] { return receive_whole(here, std::move(ends.second), key, total); };
    co_await when_all(endure(here, send), endure(here, receive));
}

task<> use_file(play& here, const std::string& path, bool cold) {
    const std::uint64_t key = here.number();
    const std::size_t total = here.between(0, 15'000) + (cold ? 5000 : 0);
    {
        file made = co_await file::open(path, open_flags::write | open_flags::truncate);
        co_await write_all_of(here, made, key, total);
        if (cold) co_await made.sync();
        co_await made.close();
    }
    file source = co_await file::open(path);
    if (!cold) co_await read_all_of(here, source, key, total);
    // Out of memory, so that it has to be read ahead from the disk.
    if (cold) std::ignore = ::posix_fadvise(source.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
    co_await send_over_socket(here, source, key, total);
    if (here.one_in(2)) co_await source.close();
}

const char* quick_folder() noexcept {
    return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

}  // namespace

task<> file_scenario(play& here) {
    const scratch_file scratch(quick_folder());
    co_await endure(here, [&] { return use_file(here, scratch.path(), false); });
}

task<> cold_file_scenario(play& here) {
    const scratch_file scratch("/var/tmp");
    co_await endure(here, [&] { return use_file(here, scratch.path(), true); });
}

}  // namespace rondo::test
