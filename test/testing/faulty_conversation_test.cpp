// Whole conversations on the real engines, made faulty: nothing is lost, doubled or out of order.
#include <rondo/testing/faulty_engine.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/epoll_engine.hpp>
#include <rondo/engine/uring_engine.hpp>

#include <support/faulty_stage.hpp>
#include <support/needs_ring.hpp>

namespace {

using namespace rondo::test;
using rondo::completion;
using rondo::engine;
using rondo::engine_options;
using rondo::feature;
using rondo::detail::unique_fd;
using rondo::testing::fault;
using rondo::testing::fault_plan;
using rondo::testing::faulty_engine;

constexpr engine::duration no_wait = engine::no_wait;

std::unique_ptr<engine> make_inner(bool uring) {
    constexpr engine_options sizes{.entries = 32, .completions = 64};
    if (uring) return std::make_unique<rondo::uring_engine>(sizes);
    return std::make_unique<rondo::epoll_engine>(sizes);
}

/// A minimal event loop: a handler per request, called for each of its completions.
class loop {
public:
    loop(bool uring, std::uint64_t seed)
        : faulty_(make_inner(uring), fault_plan::from_seed(seed),
                  fault_plan::queues_from_seed(seed)) {}

    using handler = std::function<void(const completion&)>;

    io_uring_sqe& entry(unsigned opcode, int descriptor, handler on_completion) {
        io_uring_sqe* slot = faulty_.next_entry();
        while (slot == nullptr) {
            faulty_.enter(no_wait);
            slot = faulty_.next_entry();
        }
        *slot = {};
        slot->opcode = static_cast<__u8>(opcode);
        slot->fd = descriptor;
        slot->user_data = ++last_;
        handlers_.emplace(last_, std::move(on_completion));
        return *slot;
    }
    std::uint64_t last() const noexcept { return last_; }
    std::size_t in_flight() const noexcept { return handlers_.size(); }
    faulty_engine& faulty() noexcept { return faulty_; }

    template <typename Done>
    void run_until(Done done) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!done()) {
            INFO(faulty_.describe());
            REQUIRE(std::chrono::steady_clock::now() < deadline);
            faulty_.enter(std::chrono::seconds(1));
            while (faulty_.completions_begin() != faulty_.completions_end()) one();
        }
    }

private:
    void one() {
        const unsigned index = faulty_.completions_begin();
        const completion seen = faulty_.completion_at(index);
        faulty_.completions_consumed(index + 1);
        const auto found = handlers_.find(seen.user_data);
        INFO(faulty_.describe());
        REQUIRE(found != handlers_.end());  // nothing after a request's last completion
        const handler call = found->second;
        if ((seen.flags & IORING_CQE_F_MORE) == 0) handlers_.erase(found);
        call(seen);
    }

    faulty_engine faulty_;
    std::map<std::uint64_t, handler> handlers_;
    std::uint64_t last_ = 0;
};

/// Eight buffers of 512 bytes as group 1.
class buffers {
public:
    explicit buffers(engine& on) : engine_(on) {
        REQUIRE(slots_);
        std::fill_n(slots_.get(), count, rondo::abi::buffer_slot{});
        REQUIRE_FALSE(engine_.register_buffer_ring(1, slots_.get(), count));
        for (std::uint16_t id = 0; id < count; ++id) give_back(id);
    }
    ~buffers() { engine_.unregister_buffer_ring(1); }
    buffers(const buffers&) = delete;
    buffers& operator=(const buffers&) = delete;

    const char* data(unsigned id) const { return &memory_.at(id * size); }
    void give_back(unsigned id) {
        rondo::abi::buffer_slot& slot = slots_.get()[tail_ % count];
        slot.address = reinterpret_cast<std::uintptr_t>(&memory_.at(id * size));
        slot.length = size;
        slot.id = static_cast<std::uint16_t>(id);
        std::atomic_ref<std::uint16_t>(slots_.get()[0].reserved)
            .store(++tail_, std::memory_order_release);
    }

private:
    static constexpr std::uint16_t count = 8;
    static constexpr unsigned size = 512;
    struct free_memory {
        void operator()(void* memory) const { std::free(memory); }
    };
    engine& engine_;
    std::unique_ptr<rondo::abi::buffer_slot, free_memory> slots_{
        static_cast<rondo::abi::buffer_slot*>(std::aligned_alloc(4096, 4096))};
    std::vector<char> memory_ = std::vector<char>(count * size);
    std::uint16_t tail_ = 0;
};

/// Sends all of `text`, by SEND or SENDMSG, going on after each short count.
class sender {
public:
    sender(loop& on, int descriptor, const std::string& text, std::uint64_t seed)
        : loop_(on), descriptor_(descriptor), text_(text), state_(seed * 2 + 1) {
        next();
    }

private:
    void next() {
        if (at_ == text_.size()) {
            ::shutdown(descriptor_, SHUT_WR);
            return;
        }
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        const std::size_t length = std::min(text_.size() - at_, 1 + (state_ >> 40) % 3000);
        const bool gather = (state_ >> 33) % 3 == 0;
        const bool impatient = !must_wait_ && (state_ >> 35) % 3 == 0;
        must_wait_ = false;
        char* bytes = const_cast<char*>(text_.data()) + at_;
        io_uring_sqe& entry =
            loop_.entry(gather ? IORING_OP_SENDMSG : IORING_OP_SEND, descriptor_,
                        [this, length](const completion& seen) { sent(seen, length); });
        entry.msg_flags = unsigned_flag(MSG_NOSIGNAL | (impatient ? MSG_DONTWAIT : MSG_WAITALL));
        entry.addr = reinterpret_cast<std::uintptr_t>(bytes);
        entry.len = static_cast<unsigned>(length);
        if (!gather) return;
        parts_ = {{{bytes, length / 2}, {bytes + length / 2, length - length / 2}}};
        header_ = {};
        header_.msg_iov = parts_.data();
        header_.msg_iovlen = parts_.size();
        entry.addr = reinterpret_cast<std::uintptr_t>(&header_);
        entry.len = 1;
    }
    void sent(const completion& seen, std::size_t length) {
        INFO(loop_.faulty().describe());
        if (seen.result == -EAGAIN) {
            must_wait_ = true;
        } else if (seen.result != -EINTR) {
            REQUIRE(seen.result > 0);
            REQUIRE(static_cast<std::size_t>(seen.result) <= length);
            at_ += static_cast<std::size_t>(seen.result);
        }
        next();
    }

    loop& loop_;
    int descriptor_;
    const std::string& text_;
    std::uint64_t state_;
    std::size_t at_ = 0;
    bool must_wait_ = false;
    std::array<iovec, 2> parts_{};
    msghdr header_{};
};

/// Receives to the end, into buffers of a ring, arming again whenever that ended.
class receiver {
public:
    receiver(loop& on, int descriptor, buffers& pool, bool multishot)
        : loop_(on), descriptor_(descriptor), pool_(pool), multishot_(multishot) {
        arm();
    }
    std::string text;
    bool ended = false;
    bool rearm = true;
    std::uint64_t id = 0;

    void arm() {
        io_uring_sqe& entry = loop_.entry(IORING_OP_RECV, descriptor_,
                                          [this](const completion& seen) { received(seen); });
        id = loop_.last();
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.buf_group = 1;
        if (multishot_) entry.ioprio = IORING_RECV_MULTISHOT;
    }

private:
    void received(const completion& seen) {
        INFO(loop_.faulty().describe());
        if ((seen.flags & IORING_CQE_F_BUFFER) != 0) {
            const unsigned buffer = seen.flags >> IORING_CQE_BUFFER_SHIFT;
            REQUIRE(seen.result >= 0);
            text.append(pool_.data(buffer), static_cast<std::size_t>(seen.result));
            pool_.give_back(buffer);
        }
        if (seen.result == 0) ended = true;
        if (seen.result < 0 && seen.result != -ECANCELED) {
            REQUIRE((seen.result == -EINTR || seen.result == -ENOBUFS));
        }
        if ((seen.flags & IORING_CQE_F_MORE) == 0 && !ended && rearm) arm();
    }

    loop& loop_;
    int descriptor_;
    buffers& pool_;
    bool multishot_;
};

std::string some_text(std::uint64_t seed, std::size_t length) {
    std::string text(length, '\0');
    for (std::size_t i = 0; i < length; ++i) {
        text[i] = static_cast<char>((i * 2654435761u + seed * 97) >> 13);
    }
    return text;
}

using counts = std::array<std::uint64_t, rondo::testing::fault_count>;

void add(counts& total, const counts& more) {
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += more[i];
}

/// Two streams in opposite directions over one pair.
void converse(bool uring, std::uint64_t seed, counts& total) {
    auto [left, right] = socket_pair(SOCK_STREAM);
    loop l(uring, seed);
    buffers pool(l.faulty());
    const bool multishot = seed % 4 != 0 && l.faulty().has(feature::multishot_recv);
    const std::string there = some_text(seed, 12'000);
    const std::string back = some_text(seed + 1, 5'000);
    receiver at_right(l, right.get(), pool, multishot);
    receiver at_left(l, left.get(), pool, multishot);
    sender to_right(l, left.get(), there, seed);
    sender to_left(l, right.get(), back, seed + 77);
    l.run_until([&] { return at_right.ended && at_left.ended && l.in_flight() == 0; });
    INFO(l.faulty().describe());
    CHECK((at_right.text == there));
    CHECK((at_left.text == back));
    add(total, l.faulty().injected());
}

/// Cancels an idle receive and one that has data; a later receive finds what they left.
void cancel(bool uring, std::uint64_t seed, counts& total) {
    auto [left, right] = socket_pair(SOCK_STREAM);
    loop l(uring, seed);
    buffers pool(l.faulty());
    receiver reader(l, right.get(), pool, l.faulty().has(feature::multishot_recv));
    std::string sent;
    for (int round = 0; round < 6; ++round) {
        if (round % 2 != 0) {
            sent += "round";
            REQUIRE(::send(left.get(), "round", 5, MSG_NOSIGNAL) == 5);
        }
        reader.rearm = false;
        int answer = 1;
        const std::uint64_t target = reader.id;
        io_uring_sqe& entry = l.entry(IORING_OP_ASYNC_CANCEL, -1,
                                      [&](const completion& seen) { answer = seen.result; });
        entry.addr = target;
        l.run_until([&] { return l.in_flight() == 0; });
        INFO(l.faulty().describe());
        CHECK((answer == 0 || answer == -ENOENT || answer == -EALREADY));
        reader.rearm = true;
        reader.arm();
    }
    ::shutdown(left.get(), SHUT_WR);
    l.run_until([&] { return reader.ended && l.in_flight() == 0; });
    CHECK(reader.text == sent);
    add(total, l.faulty().injected());
}

unique_fd listening(sockaddr_in& address) {
    unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* name = reinterpret_cast<sockaddr*>(&address);
    socklen_t length = sizeof(address);
    REQUIRE(::bind(listener.get(), name, length) == 0);
    REQUIRE(::listen(listener.get(), 64) == 0);
    REQUIRE(::getsockname(listener.get(), name, &length) == 0);
    return listener;
}

/// Accepts every one of twenty connections once, and stops.
void accept_all(bool uring, std::uint64_t seed, counts& total) {
    sockaddr_in address{};
    const unique_fd listener = listening(address);
    std::vector<unique_fd> clients;
    for (int i = 0; i < 20; ++i) {
        clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::connect(clients.back().get(), reinterpret_cast<sockaddr*>(&address),
                          sizeof(address)) == 0);
    }
    loop l(uring, seed);
    std::vector<unique_fd> accepted;
    bool rearm = true;
    std::uint64_t target = 0;
    std::function<void()> arm = [&] {
        io_uring_sqe& entry = l.entry(IORING_OP_ACCEPT, listener.get(), [&](const completion& c) {
            if (c.result >= 0) accepted.emplace_back(c.result);
            if ((c.flags & IORING_CQE_F_MORE) == 0 && rearm) arm();
        });
        target = l.last();
        entry.accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
        if (l.faulty().has(feature::multishot_accept)) entry.ioprio = IORING_ACCEPT_MULTISHOT;
    };
    arm();
    l.run_until([&] { return accepted.size() == clients.size(); });
    rearm = false;
    if (l.in_flight() != 0) {
        l.entry(IORING_OP_ASYNC_CANCEL, -1, [](const completion&) {}).addr = target;
    }
    l.run_until([&] { return l.in_flight() == 0; });
    std::set<in_port_t> peers;
    for (const unique_fd& each : accepted) {
        sockaddr_in peer{};
        socklen_t length = sizeof(peer);
        CHECK(::getpeername(each.get(), reinterpret_cast<sockaddr*>(&peer), &length) == 0);
        peers.insert(peer.sin_port);
    }
    CHECK(peers.size() == clients.size());
    add(total, l.faulty().injected());
}

TEST_CASE("nothing is lost, doubled or out of order under any seed", "[testing][faulty]") {
    const bool uring = GENERATE(true, false);
    if (uring) rondo::test::need_ring();
    counts total{};
    for (std::uint64_t seed = 1; seed <= 250; ++seed) {
        CAPTURE(uring, seed);
        converse(uring, seed, total);
        cancel(uring, seed, total);
        accept_all(uring, seed, total);
    }
    // Neither polls nor zero-copy sends are among them.
    const std::set<fault> never{fault::error,          fault::out_of_memory,
                                fault::refused,        fault::spurious_readiness,
                                fault::control_cut,    fault::late_notification,
                                fault::notified_error};
    for (std::size_t i = 0; i < total.size(); ++i) {
        const auto kind = static_cast<fault>(i);
        CAPTURE(uring, to_string(kind), total[i]);
        CHECK((total[i] != 0) == !never.contains(kind));
    }
}

}  // namespace
