// A faulty engine around a scripted one: which entries come through, what is made of completions.
#pragma once

#include <rondo/testing/faulty_engine.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include <linux/io_uring.h>
#include <sys/socket.h>

#include <catch2/catch_test_macros.hpp>
#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/abi.hpp>

namespace rondo::test {

inline constexpr unsigned always = 1000;

template <typename... Kinds>
testing::fault_plan all_of(std::uint64_t seed, Kinds... kinds) {
    testing::fault_plan plan;
    plan.seed = seed;
    (plan.with(kinds, always), ...);
    return plan;
}

/// Takes entries and remembers them; completes what it is told to, at its next enter().
class scripted_engine final : public engine {
public:
    explicit scripted_engine(unsigned entries = 64) : memory_(entries * entry_size) {
        sq_ = {memory_.data(), 0, entries, 0, entries - 1, entries};
        cq_ = {completions_.data(), &head_, &tail_, 4095};
        features_ = rondo::feature_set::all();
    }

    bool enter(duration timeout) override {
        waits.push_back(timeout);
        if (on_enter) on_enter();
        const bool any = pending_entries() != 0;
        for (; sq_.head != sq_.tail; set_taken(sq_.head + 1)) {
            io_uring_sqe entry{};
            const std::byte* at = sq_.entries + entry_size * (sq_.head & sq_.mask);
            std::copy_n(at, entry_size, reinterpret_cast<std::byte*>(&entry));
            taken.push_back(entry);
            if (on_entry) on_entry(entry);
        }
        for (const completion& each : posted) completions_[tail_++ & cq_.mask] = each;
        posted.clear();
        return any;
    }
    std::error_code register_buffer_ring(std::uint16_t group, void*, unsigned) override {
        groups.insert(group);
        return {};
    }
    void unregister_buffer_ring(std::uint16_t group) noexcept override { groups.erase(group); }
    void forget(int descriptor) noexcept override { forgotten = descriptor; }
    std::string_view name() const noexcept override { return "scripted"; }
    std::uint64_t overflows() const noexcept override { return 0; }

    void deny(feature f) noexcept { features_ = features_ - f; }
    void post(std::uint64_t user_data, int result, unsigned flags = 0) {
        posted.push_back({user_data, result, flags});
    }

    std::vector<io_uring_sqe> taken;
    std::vector<duration> waits;
    std::vector<completion> posted;
    std::function<void(const io_uring_sqe&)> on_entry;
    std::function<void()> on_enter;
    std::set<std::uint16_t> groups;
    int forgotten = -1;

private:
    std::vector<std::byte> memory_;
    std::array<completion, 4096> completions_{};
    unsigned head_ = 0;
    unsigned tail_ = 0;
};

/// A faulty engine around a scripted one.
struct stage {
    scripted_engine* script;
    testing::faulty_engine faulty;

    explicit stage(testing::fault_plan plan,
                   engine_options options = {.entries = 64, .completions = 256},
                   std::unique_ptr<scripted_engine> inner = std::make_unique<scripted_engine>())
        : script(inner.get()), faulty(std::move(inner), std::move(plan), options) {}

    io_uring_sqe& add(unsigned opcode, std::uint64_t user_data, int descriptor = -1) {
        io_uring_sqe* entry = faulty.next_entry();
        REQUIRE(entry != nullptr);
        *entry = {};
        entry->opcode = static_cast<__u8>(opcode);
        entry->fd = descriptor;
        entry->user_data = user_data;
        return *entry;
    }
    io_uring_sqe& add_multishot(std::uint64_t user_data, int descriptor = -1) {
        io_uring_sqe& entry = add(IORING_OP_RECV, user_data, descriptor);
        entry.ioprio = IORING_RECV_MULTISHOT;
        entry.flags = IOSQE_BUFFER_SELECT;
        return entry;
    }
    std::vector<completion> turn(engine::duration timeout = engine::no_wait) {
        faulty.enter(timeout);
        std::vector<completion> seen;
        const unsigned end = faulty.completions_end();
        for (unsigned i = faulty.completions_begin(); i != end; ++i) {
            seen.push_back(faulty.completion_at(i));
        }
        faulty.completions_consumed(end);
        return seen;
    }
    /// The one entry that came through last.
    const io_uring_sqe& passed() const {
        REQUIRE(!script->taken.empty());
        return script->taken.back();
    }
};

inline std::pair<detail::unique_fd, detail::unique_fd> socket_pair(int type) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    return {detail::unique_fd(ends[0]), detail::unique_fd(ends[1])};
}

constexpr unsigned unsigned_flag(int message_flag) { return static_cast<unsigned>(message_flag); }

}  // namespace rondo::test
