// The scenario over descriptors: each arrives, or the receiver is told that it does not.
#include <seeds/play.hpp>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/net/unix_datagram.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/when_all.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

namespace rondo::test {

namespace {

constexpr std::size_t most = 3;  // descriptors in a message

/// The reading end of a pipe, which is recognised again.
class known_file {
public:
    known_file() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) {
            throw std::system_error(errno, std::generic_category(), "pipe2");
        }
        reader_.reset(ends[0]);
        writer_.reset(ends[1]);
    }

    std::vector<int> several(std::size_t count) const {
        return std::vector<int>(count, reader_.get());
    }
    bool is(int descriptor) const noexcept {
        struct ::stat mine {};
        struct ::stat other {};
        return ::fstat(reader_.get(), &mine) == 0 && ::fstat(descriptor, &other) == 0 &&
               mine.st_ino == other.st_ino && mine.st_dev == other.st_dev;
    }

private:
    detail::unique_fd reader_;
    detail::unique_fd writer_;
};

void check_all(play& here, const known_file& file, std::span<const detail::unique_fd> got) {
    for (const detail::unique_fd& each : got) {
        here.check(file.is(each.get()), "another descriptor came");
    }
    here.note(got.size());
}

// --- over a stream ---------------------------------------------------------------------------

struct passed {
    std::size_t sent = 0;
    std::size_t received = 0;
    bool cut = false;     // told of by a receive
    bool failed = false;  // a send or a receive
};

task<> send_over_stream(play& here, const known_file& file, unix_socket to, passed& all) {
    std::array<std::byte, 40> bytes{};
    for (unsigned left = 1 + here.below(6); left != 0; --left) {
        const std::vector<int> sent = file.several(here.between(1, most));
        const std::span<const std::byte> part(bytes.data(), here.between(1, bytes.size()));
        try {
            co_await to.send_descriptors(sent, const_buffer(part));
        } catch (const std::system_error&) {
            all.failed = true;
            throw;
        }
        all.sent += sent.size();
    }
}

task<> receive_over_stream(play& here, const known_file& file, unix_socket from, passed& all) {
    std::array<std::byte, 64> room;
    for (;;) {
        const std::span part(room.data(), here.between(1, room.size()));
        try {
            received_descriptors got = co_await from.recv_descriptors(part, most);
            check_all(here, file, got.descriptors);
            all.received += got.descriptors.size();
            all.cut = all.cut || got.truncated;
            if (got.size == 0) break;
        } catch (const std::system_error&) {
            all.failed = true;
            throw;
        }
    }
}

task<> pass_over_stream(play& here, const known_file& file) {
    auto ends = unix_socket::pair();
    passed all;
    const auto send = [&] { return send_over_stream(here, file, std::move(ends.first), all); };
    const auto receive = [&] {
        return receive_over_stream(here, file, std::move(ends.second), all);
    };
    co_await when_all(endure(here, send), endure(here, receive));
    here.check_complete(!all.cut, "descriptors were cut off");
    if (!all.failed) {
        here.check((all.received < all.sent) == all.cut, "a descriptor is missing, unsaid");
        here.check(all.received <= all.sent, "more descriptors came than were sent");
    }
}

// --- with datagrams --------------------------------------------------------------------------

/// The one that is in the queue, whatever receives fail before.
task<> receive_datagram(play& here, const known_file& file, unix_datagram_socket& from,
                        std::size_t count) {
    std::array<std::byte, 8> room;
    for (;;) {
        try {
            received_descriptors_from got = co_await from.recv_descriptors(std::span(room), most);
            check_all(here, file, got.descriptors);
            here.check((got.descriptors.size() < count) == got.descriptors_truncated,
                       "a descriptor is missing, unsaid");
            here.check(got.descriptors.size() <= count, "more descriptors came than were sent");
            here.check_complete(!got.descriptors_truncated, "descriptors were cut off");
            co_return;
        } catch (const std::system_error&) {
            if (!here.errors()) throw;
        }
    }
}

task<> pass_with_datagrams(play& here, const known_file& file) {
    auto ends = unix_datagram_socket::pair();
    if (here.one_in(2)) ends.second.set(pass_credentials{true});
    constexpr std::array<std::byte, 4> bytes{};
    for (unsigned left = 1 + here.below(5); left != 0; --left) {
        const std::vector<int> sent = file.several(here.between(1, most));
        const auto send = [&]() -> task<> {
            co_await ends.first.send_descriptors(sent, const_buffer(std::span(bytes)));
        };
        // A receive that waits for one whose send fails would wait for ever.
        if (!here.errors() && here.one_in(2)) {
            co_await when_all(receive_datagram(here, file, ends.second, sent.size()), send());
            continue;
        }
        bool has_left = true;
        try {
            co_await send();
        } catch (const std::system_error&) {
            if (!here.errors()) throw;
            has_left = false;
        }
        if (has_left) co_await receive_datagram(here, file, ends.second, sent.size());
    }
}

}  // namespace

task<> descriptor_scenario(play& here) {
    const known_file file;
    co_await when_all(pass_over_stream(here, file), pass_with_datagrams(here, file));
}

}  // namespace rondo::test
