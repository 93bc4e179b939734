// The same random entries on both engines must end in the same completions, whatever their order.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/epoll_engine.hpp>
#include <rondo/engine/uring_engine.hpp>

#include <support/engine_driver.hpp>

using namespace rondo::test;
using namespace std::chrono_literals;
using rondo::completion;
using rondo::engine;
using rondo::feature;
using rondo::detail::unique_fd;

namespace {

/// One step of a program. What its numbers mean is up to the step.
struct step {
    enum class kind : std::uint8_t {
        receive,          // bytes, one-shot
        receive_selected, // into a buffer of the ring, one-shot or multishot, perhaps limited
        receive_message,
        receive_datagrams, // multishot
        send,
        send_message,
        poll,
        accept,
        pipe_read,
        pipe_write,
        file_transfer,
        cancel,
        close,
        peer_writes,
        peer_reads,
        peer_shuts_down,
        peer_closes,
        peer_connects,
    };
    kind what;
    unsigned place;   // which socket
    unsigned size;
    unsigned option;  // random bits
    std::uint64_t target;  // of a cancel
};

constexpr std::uint16_t byte_group = 1;
constexpr std::uint16_t message_group = 2;
constexpr std::size_t buffer_size = 256;
constexpr unsigned places = 3;  // a Unix stream, TCP, Unix datagrams

unique_fd tcp_listener(::sockaddr_in& at) {
    unique_fd made(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    at = {};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::socklen_t size = sizeof at;
    REQUIRE(::bind(made.get(), reinterpret_cast<::sockaddr*>(&at), size) == 0);
    REQUIRE(::listen(made.get(), 64) == 0);
    REQUIRE(::getsockname(made.get(), reinterpret_cast<::sockaddr*>(&at), &size) == 0);
    return made;
}

unique_fd tcp_client(const ::sockaddr_in& at) {
    unique_fd made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(made.get(), reinterpret_cast<const ::sockaddr*>(&at), sizeof at) == 0);
    return made;
}

/// An engine, what its requests are made on, and what became of them as text.
class world {
public:
    explicit world(std::unique_ptr<engine> on)
        : engine_(std::move(on)),
          bytes_(*engine_, byte_group, buffer_size),
          messages_(*engine_, message_group, buffer_size) {
        bytes_.give_all();
        messages_.give_all();
        listener_ = tcp_listener(address_);
        const unique_fd once = tcp_listener(address_of_pair_);
        ends_[0] = unix_pair();
        ends_[1].b = tcp_client(address_of_pair_);
        ends_[1].a = unique_fd(::accept4(once.get(), nullptr, nullptr,
                                         SOCK_NONBLOCK | SOCK_CLOEXEC));
        ends_[2] = unix_pair(SOCK_DGRAM | SOCK_NONBLOCK);
        REQUIRE(::fcntl(ends_[1].b.get(), F_SETFL, O_NONBLOCK) == 0);
        const int small = 1 << 14;
        for (const pair& each : ends_) {
            REQUIRE(::setsockopt(each.a.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
        }
        int pipe_ends[2];
        REQUIRE(::pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) == 0);
        pipe_ = {unique_fd(pipe_ends[0]), unique_fd(pipe_ends[1])};
        file_ = unique_fd(::memfd_create("differential", MFD_CLOEXEC));
        REQUIRE(::ftruncate(file_.get(), 1000) == 0);
    }

    /// Carries the step out; its request, if it makes one, has the step's number as user_data.
    void begin(const step& s, std::uint64_t number);

    void turn() {
        engine_->enter(engine::no_wait);
        engine_->reap([&](const completion& each) { note(each); });
    }

    /// One line for each request that has completed.
    std::map<std::uint64_t, std::string> outcome() const {
        std::map<std::uint64_t, std::string> all;
        for (const auto& [number, made] : requests_) all[number] = made.text;
        return all;
    }
    bool ended(std::uint64_t number) const {
        const auto found = requests_.find(number);
        return found == requests_.end() || found->second.ended;
    }
    bool reads(unsigned place) const { return in_flight(place, true); }
    bool writes(unsigned place) const { return in_flight(place, false); }
    bool busy(unsigned place) const {
        return std::any_of(requests_.begin(), requests_.end(), [&](const auto& each) {
            return !each.second.ended && each.second.place == place;
        });
    }
    bool closed(unsigned place) const { return !ends_[place].a; }
    int unread(unsigned place) const {
        int count = 0;
        if (ends_[place].a) ::ioctl(ends_[place].a.get(), FIONREAD, &count);
        return count;
    }

private:
    enum class brings : std::uint8_t { nothing, bytes, memory, message, datagram, socket, masks };
    struct request {
        brings what = brings::nothing;
        unsigned place = 0;
        bool reads = false;
        bool writes = false;
        bool multishot = false;
        bool ended = false;
        unsigned masks = 0;
        std::string text;
        std::vector<char> memory;
        ::iovec part{};
        ::msghdr message{};
    };

    bool in_flight(unsigned place, bool reading) const {
        return std::any_of(requests_.begin(), requests_.end(), [&](const auto& each) {
            const request& r = each.second;
            return !r.ended && r.place == place && (reading ? r.reads : r.writes);
        });
    }
    io_uring_sqe& prepare(int opcode, std::uint64_t number, int descriptor);
    void begin_receive(const step& s, std::uint64_t number);
    void begin_transfer(const step& s, std::uint64_t number);
    void begin_other(const step& s, std::uint64_t number);
    void act_as_peer(const step& s, std::uint64_t number);
    void note(completion each);
    std::string brought(request& by, const completion& each);

    std::unique_ptr<engine> engine_;
    buffers bytes_;
    buffers messages_;
    ::sockaddr_in address_{};
    ::sockaddr_in address_of_pair_{};
    unique_fd listener_;
    std::array<pair, places> ends_;
    pair pipe_;
    unique_fd file_;
    std::vector<unique_fd> clients_;
    std::map<std::uint64_t, request> requests_;
};

std::string contents(std::size_t size, std::uint64_t number) {
    std::string text(size, ' ');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (number + i) % 26);
    return text;
}

io_uring_sqe& world::prepare(int opcode, std::uint64_t number, int descriptor) {
    io_uring_sqe* const entry = engine_->next_entry();
    REQUIRE(entry != nullptr);
    *entry = io_uring_sqe{};
    entry->opcode = static_cast<std::uint8_t>(opcode);
    entry->fd = descriptor;
    entry->user_data = number;
    return *entry;
}

void world::begin_receive(const step& s, std::uint64_t number) {
    request& made = requests_[number];
    made.place = s.place;
    made.reads = true;
    const int descriptor = ends_[s.place].a.get();
    if (s.what == step::kind::receive_selected) {
        io_uring_sqe& entry = prepare(IORING_OP_RECV, number, descriptor);
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.buf_group = byte_group;
        made.what = brings::bytes;
        made.multishot = s.option % 4 != 0;
        if (made.multishot) entry.ioprio = IORING_RECV_MULTISHOT;
        if (made.multishot && s.option % 4 == 2 && engine_->has(feature::receive_limit)) {
            entry.file_index = s.size;
        }
        return;
    }
    made.memory.resize(s.size);
    made.part = {made.memory.data(), made.memory.size()};
    made.message.msg_iov = &made.part;
    made.message.msg_iovlen = 1;
    if (s.what == step::kind::receive_datagrams) {
        made.message = {};
        made.multishot = true;
        made.what = brings::datagram;
        io_uring_sqe& entry = prepare(IORING_OP_RECVMSG, number, descriptor);
        entry.addr = reinterpret_cast<std::uintptr_t>(&made.message);
        entry.len = 1;
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.buf_group = message_group;
        entry.ioprio = IORING_RECV_MULTISHOT;
        entry.msg_flags = MSG_TRUNC;
        return;
    }
    // Not MSG_PEEK with MSG_WAITALL: the kernel fills the buffer with the same bytes again.
    constexpr unsigned flags[] = {0, MSG_WAITALL, MSG_PEEK, MSG_DONTWAIT, 0, MSG_WAITALL,
                                  MSG_PEEK | MSG_DONTWAIT, MSG_TRUNC};
    const bool message = s.what == step::kind::receive_message;
    made.what = message ? brings::message : brings::memory;
    io_uring_sqe& entry =
        prepare(message ? IORING_OP_RECVMSG : IORING_OP_RECV, number, descriptor);
    entry.addr = message ? reinterpret_cast<std::uintptr_t>(&made.message)
                         : reinterpret_cast<std::uintptr_t>(made.memory.data());
    entry.len = message ? 1 : s.size;
    // MSG_TRUNC throws a stream's bytes away.
    entry.msg_flags = flags[s.option % (s.place == 2 ? 8 : 7)];
}

void world::begin_transfer(const step& s, std::uint64_t number) {
    request& made = requests_[number];
    made.place = s.place;
    made.writes = true;
    const int descriptor = ends_[s.place].a.get();
    const std::string text = contents(s.option % 3 == 0 ? s.size * 100 : s.size, number);
    // A datagram is sent in one piece or not at all.
    made.memory.assign(text.begin(),
                       text.begin() + static_cast<std::ptrdiff_t>(
                                          s.place == 2 ? s.size : text.size()));
    made.part = {made.memory.data(), made.memory.size()};
    made.message.msg_iov = &made.part;
    made.message.msg_iovlen = 1;
    const bool message = s.what == step::kind::send_message;
    io_uring_sqe& entry =
        prepare(message ? IORING_OP_SENDMSG : IORING_OP_SEND, number, descriptor);
    entry.addr = message ? reinterpret_cast<std::uintptr_t>(&made.message)
                         : reinterpret_cast<std::uintptr_t>(made.memory.data());
    entry.len = message ? 1 : static_cast<std::uint32_t>(made.memory.size());
    constexpr unsigned flags[] = {0, MSG_WAITALL, MSG_DONTWAIT, MSG_WAITALL};
    entry.msg_flags = MSG_NOSIGNAL | flags[s.option / 4 % 4];
}

void world::begin_other(const step& s, std::uint64_t number) {
    using kind = step::kind;
    request& made = requests_[number];
    made.place = places + (s.what == kind::accept ? 0 : 1);
    switch (s.what) {
        case kind::poll: {
            constexpr std::uint32_t events[] = {POLLIN, POLLOUT, POLLIN | POLLOUT,
                                                POLLIN | POLLRDHUP, POLLRDHUP, 0};
            made.place = s.place;
            made.what = brings::masks;
            made.multishot = s.option % 2 == 0;
            io_uring_sqe& entry = prepare(IORING_OP_POLL_ADD, number, ends_[s.place].a.get());
            entry.poll32_events = events[s.option / 2 % 6];
            if (made.multishot) entry.len = IORING_POLL_ADD_MULTI;
            break;
        }
        case kind::accept: {
            made.what = brings::socket;
            made.reads = true;
            made.multishot = s.option % 2 == 0;
            io_uring_sqe& entry = prepare(IORING_OP_ACCEPT, number, listener_.get());
            entry.accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
            if (made.multishot) entry.ioprio = IORING_ACCEPT_MULTISHOT;
            break;
        }
        case kind::cancel: {
            made.place = places + 2;
            io_uring_sqe& entry = prepare(IORING_OP_ASYNC_CANCEL, number, -1);
            entry.addr = s.target;
            if (s.option % 4 == 0) entry.cancel_flags = IORING_ASYNC_CANCEL_ALL;
            if (s.option % 4 == 1) entry.flags = IOSQE_CQE_SKIP_SUCCESS;
            if (s.option % 4 == 1) made.ended = true;  // or never, when it succeeds
            break;
        }
        case kind::close:
            made.place = places + 2;
            engine_->forget(ends_[s.place].a.get());
            prepare(IORING_OP_CLOSE, number, ends_[s.place].a.release());
            break;
        default: {
            const bool is_pipe = s.what != kind::file_transfer;
            const bool reading = is_pipe ? s.what == kind::pipe_read : s.option % 2 == 0;
            made.place = places + 1;
            const std::string text = contents(s.size, number);
            made.memory.assign(text.begin(), text.end());
            if (reading) made.what = brings::memory;
            made.reads = is_pipe && reading;
            made.writes = is_pipe && !reading;
            const int descriptor = !is_pipe ? file_.get() : (reading ? pipe_.a : pipe_.b).get();
            io_uring_sqe& entry =
                prepare(reading ? IORING_OP_READ : IORING_OP_WRITE, number, descriptor);
            entry.addr = reinterpret_cast<std::uintptr_t>(made.memory.data());
            entry.len = s.size;
            entry.off = is_pipe ? ~std::uint64_t{0} : s.option % 1100;
        }
    }
}

void world::act_as_peer(const step& s, std::uint64_t number) {
    const int peer = s.place < places ? ends_[s.place].b.get() : -1;
    switch (s.what) {
        case step::kind::peer_writes: {
            const std::string text = contents(s.size, number);
            static_cast<void>(::send(peer, text.data(), text.size(), MSG_NOSIGNAL));
            break;
        }
        case step::kind::peer_reads: {
            std::vector<char> sink(std::size_t{s.size} * 200);
            static_cast<void>(::recv(peer, sink.data(), sink.size(), 0));
            break;
        }
        case step::kind::peer_shuts_down: ::shutdown(peer, SHUT_WR); break;
        case step::kind::peer_closes: ends_[s.place].b.reset(); break;
        default: clients_.push_back(tcp_client(address_));
    }
}

void world::begin(const step& s, std::uint64_t number) {
    using kind = step::kind;
    switch (s.what) {
        case kind::receive:
        case kind::receive_selected:
        case kind::receive_message:
        case kind::receive_datagrams: return begin_receive(s, number);
        case kind::send:
        case kind::send_message: return begin_transfer(s, number);
        case kind::peer_writes:
        case kind::peer_reads:
        case kind::peer_shuts_down:
        case kind::peer_closes:
        case kind::peer_connects: return act_as_peer(s, number);
        default: return begin_other(s, number);
    }
}

/// What came with the completion; a buffer goes back at once.
std::string world::brought(request& by, const completion& each) {
    const auto size = static_cast<std::size_t>(std::max(each.result, 0));
    switch (by.what) {
        case brings::memory:
        case brings::message: {
            std::string text(by.memory.data(), std::min(size, by.memory.size()));
            if (by.what == brings::memory) return text;
            return text + " flags " + std::to_string(by.message.msg_flags);
        }
        case brings::bytes:
        case brings::datagram: {
            if ((each.flags & with_buffer) == 0) return {};
            buffers& from = by.what == brings::bytes ? bytes_ : messages_;
            std::string text = from.text(each);
            from.give(buffers::id_of(each));
            return text;
        }
        case brings::socket:
            if (each.result >= 0) {
                engine_->forget(each.result);
                ::close(each.result);
            }
            return {};
        default: return {};
    }
}

void world::note(completion each) {
    request& by = requests_[each.user_data];
    // An error is told once: to the poll or to a receive.
    if (by.what == brings::masks && each.result > 0) each.result &= ~POLLERR;
    const bool goes_on = (each.flags & more) != 0;
    if (!goes_on) by.ended = true;
    if (by.what == brings::masks && by.multishot && each.result >= 0) {
        // How often readiness is told is up to the engine.
        by.masks |= static_cast<unsigned>(each.result);
        by.text = "masks " + std::to_string(by.masks);
        return;
    }
    const std::string text = brought(by, each);
    const int result = by.what == brings::socket ? std::min(each.result, 0) : each.result;
    by.text += " [" + std::to_string(result) + (goes_on ? " more" : "") +
               ((each.flags & with_buffer) != 0 ? " buffer" : "") + ' ' + text + ']';
}

/// A step that makes sense now, drawn with the same result for both worlds.
step draw(std::mt19937& random, const world& now, std::uint64_t number) {
    using kind = step::kind;
    constexpr kind kinds[] = {
        kind::receive,     kind::receive,         kind::receive_selected, kind::receive_selected,
        kind::receive_selected, kind::receive_message, kind::receive_datagrams, kind::send,
        kind::send,        kind::send_message,    kind::poll,             kind::accept,
        kind::pipe_read,   kind::pipe_write,      kind::file_transfer,    kind::cancel,
        kind::cancel,      kind::cancel,          kind::peer_writes,      kind::peer_writes,
        kind::peer_writes, kind::peer_writes,     kind::peer_reads,       kind::peer_reads,
        kind::peer_connects, kind::close,         kind::peer_shuts_down,  kind::peer_closes,
    };
    for (;;) {
        const auto below = [&random](std::uint64_t bound) {
            return static_cast<unsigned>(random() % bound);
        };
        step s{kinds[below(std::size(kinds))], below(places), 1 + below(120), below(1u << 20),
               number == 0 ? 0 : below(number)};
        const bool streams = s.place != 2;
        switch (s.what) {
            case kind::receive:
            case kind::receive_message:
                if (!now.reads(s.place) && !now.closed(s.place)) return s;
                break;
            case kind::receive_selected:
                if (streams && !now.reads(s.place) && !now.closed(s.place)) return s;
                break;
            case kind::receive_datagrams:
                s.place = 2;
                if (!now.reads(s.place) && !now.closed(s.place)) return s;
                break;
            case kind::send:
            case kind::send_message:
                if (!now.writes(s.place) && !now.closed(s.place)) return s;
                break;
            case kind::poll:
                if (!now.closed(s.place)) return s;
                break;
            case kind::accept:
                if (!now.reads(places)) return s;
                break;
            case kind::pipe_read:
                if (!now.reads(places + 1)) return s;
                break;
            case kind::pipe_write:
                if (!now.writes(places + 1)) return s;
                break;
            case kind::close:
                // Rarely, and not while a request names it.
                if (s.option % 4 == 0 && !now.closed(s.place) && !now.busy(s.place)) return s;
                break;
            case kind::peer_writes:
                // The ring of buffers must hold all of it.
                if (now.unread(s.place) < 600) return s;
                break;
            case kind::peer_shuts_down:
            case kind::peer_closes:
                if (s.option % 8 == 0) return s;
                break;
            default: return s;
        }
    }
}

using outcomes = std::map<std::uint64_t, std::string>;

/// The first request that ended otherwise.
std::string difference(const outcomes& kernel, const outcomes& plain) {
    for (const auto& [number, text] : kernel) {
        const std::string& other = plain.at(number);
        if (text == other) continue;
        return "request " + std::to_string(number) + ": io_uring " + text + ", epoll " + other;
    }
    return {};
}

}  // namespace

TEST_CASE("both engines end the same entries in the same way", "[engine][contract][differential]") {
    const unsigned seed = GENERATE(range(0u, 24u));
    std::unique_ptr<engine> ring;
    try {
        ring = std::make_unique<rondo::uring_engine>();
    } catch (const std::system_error& error) {
        SKIP(error.what());
    }
    world kernel(std::move(ring));
    world plain(std::make_unique<rondo::epoll_engine>());
    std::mt19937 random(seed);
    std::string program;
    for (std::uint64_t number = 0; number < 80; ++number) {
        const step s = draw(random, kernel, number);
        program += std::to_string(number) + ": kind " + std::to_string(static_cast<int>(s.what)) +
                   " place " + std::to_string(s.place) + " size " + std::to_string(s.size) +
                   " option " + std::to_string(s.option % 24) + " target " +
                   std::to_string(s.target) + '\n';
        kernel.begin(s, number);
        plain.begin(s, number);
        const auto deadline = clock_type::now() + 2s;
        for (int quiet = 0; quiet < 4;) {
            kernel.turn();
            plain.turn();
            const bool same = kernel.outcome() == plain.outcome();
            // What only helper threads can end is waited for.
            const bool waits = s.what == step::kind::file_transfer && !plain.ended(number);
            quiet = same && !waits ? quiet + 1 : 0;
            if (clock_type::now() > deadline) break;
        }
        INFO("seed " << seed << ", program\n" << program);
        REQUIRE(difference(kernel.outcome(), plain.outcome()) == "");
    }
}
