// One run of one scenario under one seed: what it draws, notes and checks.
#pragma once

#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/task.hpp>
#include <rondo/testing/random.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace rondo::test {

/// A byte, a count or an order is not what it must be.
class mismatch final : public std::logic_error {
public:
    using std::logic_error::logic_error;
    mismatch(const mismatch&) noexcept = default;
    mismatch& operator=(const mismatch&) noexcept = default;
    ~mismatch() override;
};

/// One thread's. A scenario draws all its choices from it, so that the seed fixes them.
class play {
public:
    play(std::uint64_t seed, bool errors) noexcept : source_(seed * 2 + 1), errors_(errors) {}

    std::uint64_t number() noexcept { return source_.next(); }
    unsigned below(unsigned bound) noexcept { return source_.below(bound); }
    std::size_t between(std::size_t least, std::size_t most) noexcept {
        return least + static_cast<std::size_t>(source_.next() % (most - least + 1));
    }
    bool one_in(unsigned n) noexcept { return source_.below(n) == 0; }

    /// Whether operations may fail: then less may arrive than was meant to, but nothing wrong.
    bool errors() const noexcept { return errors_; }

    void check(bool holds, const char* sentence) const {
        if (!holds) throw mismatch(sentence);
    }
    /// For what must hold unless an operation has failed.
    void check_complete(bool holds, const char* sentence) const {
        if (!errors_) check(holds, sentence);
    }

    /// What a task has seen; the order counts.
    void note(std::uint64_t value) noexcept {
        trace_ = (std::rotl(trace_, 7) ^ value) * 0x9e3779b97f4a7c15u;
    }
    std::uint64_t trace() const noexcept { return trace_; }

private:
    testing::random source_;
    bool errors_;
    std::uint64_t trace_ = 0;
};

/// The byte at `offset` of the stream `key`: no two places look alike for long.
inline std::byte byte_at(std::uint64_t key, std::size_t offset) noexcept {
    std::uint64_t value = (offset + 1) * 0x9e3779b97f4a7c15u ^ key * 0xbf58476d1ce4e5b9u;
    value ^= value >> 31;
    return static_cast<std::byte>(value & 0xff);
}

inline void fill(std::span<std::byte> bytes, std::uint64_t key, std::size_t offset) noexcept {
    for (std::byte& each : bytes) each = byte_at(key, offset++);
}

inline bool is_part(std::span<const std::byte> bytes, std::uint64_t key,
                    std::size_t offset) noexcept {
    for (const std::byte each : bytes) {
        if (each != byte_at(key, offset++)) return false;
    }
    return true;
}

/// Ends with the task that `work` returns, and with its failure where that is one of an
/// operation's and expected.
template <typename Work>
task<> endure(play& here, Work work) {
    try {
        co_await work();
    } catch (const std::system_error& failed) {
        if (!here.errors()) throw;
        here.note(static_cast<std::uint64_t>(failed.code().value()));
    }
}

/// Of a named scenario: run it, with all checks but those of what is left over.
struct scenario {
    const char* name;
    task<> (*run)(play&);
    bool replays;  ///< one thread, no network: the same seed takes the same way
    bool virtual_time = true;
};

task<> echo_scenario(play& here);
task<> chat_scenario(play& here);
task<> cancel_scenario(play& here);
task<> tcp_scenario(play& here);
task<> serve_scenario(play& here);
task<> names_scenario(play& here);
task<> udp_scenario(play& here);
task<> unix_datagram_scenario(play& here);
task<> answer_scenario(play& here);
task<> finish_scenario(play& here);
task<> descriptor_scenario(play& here);
task<> file_scenario(play& here);
task<> cold_file_scenario(play& here);
task<> thread_scenario(play& here);
task<> planted_byte_scenario(play& here);
task<> planted_order_scenario(play& here);

}  // namespace rondo::test
