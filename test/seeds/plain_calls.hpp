// Faults in calls that the library makes past its engine, and in those of epoll's engine.
#pragma once

#include <rondo/testing/random.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace rondo::test {

/// This program's own functions of these names stand before those of the C library: rondo knows
/// nothing of it.
enum class plain_call : std::uint8_t {
    sendto,      ///< on a datagram socket, also the epoll engine's
    sendmsg,     ///< the same
    sendfile,
    send,        ///< on a stream: of a file that sendfile(2) refuses
    pread,       ///< of such a file
    preadv2,     ///< whether a part of a file is in memory
    recvmsg,     ///< after finish_receiving(), also the epoll engine's
    recv,        ///< from here on the epoll engine's alone
    accept4,
    epoll_ctl,   ///< adds or modifies
    epoll_wait,  ///< or epoll_pwait2(2)
};
inline constexpr std::size_t plain_call_count = 11;

std::string_view to_string(plain_call call) noexcept;
/// What it may fail with, by its manual page, and a correct program does not notice.
std::span<const int> unnoticed_errors_of(plain_call call) noexcept;
/// The same, of which a program is told.
std::span<const int> noticed_errors_of(plain_call call) noexcept;
/// Whether it may move a part of the bytes.
bool can_be_cut(plain_call call) noexcept;
bool is_made_by_epoll_alone(plain_call call) noexcept;

/// The `nth` call (from 1) fails with `error`, or moves a part where that is 0.
struct plain_rule {
    plain_call call;
    unsigned nth;
    int error;
};

/// Whether a correct program does not notice. On a ring recvmsg(2) is called after
/// finish_receiving() only, when an error is nobody's any more.
bool goes_unnoticed(const plain_rule& rule, bool uring) noexcept;

/// Which calls of one thread suffer what; a default one injects nothing.
class plain_faults {
public:
    plain_faults() noexcept = default;
    /// Times in a thousand that a call suffers what goes unnoticed, and an error that does not.
    plain_faults(std::uint64_t seed, unsigned unnoticed, unsigned noticed) noexcept
        : source_(seed), unnoticed_(unnoticed), noticed_(noticed) {}
    explicit plain_faults(const plain_rule& rule) noexcept : rule_(rule) {}

    struct verdict {
        int error;
        std::size_t size;
    };
    verdict judge(plain_call call, std::size_t size) noexcept;
    std::uint64_t injected() const noexcept { return injected_; }

private:
    verdict judge_by_rule(plain_call call, std::size_t size) noexcept;
    verdict part_of(std::size_t size) noexcept;
    int one_of(std::span<const int> errors) noexcept;

    testing::random source_{0};
    unsigned unnoticed_ = 0;
    unsigned noticed_ = 0;
    std::optional<plain_rule> rule_;
    std::array<unsigned, plain_call_count> seen_{};
    std::uint64_t injected_ = 0;
};

/// While it lives, the calls of the thread that made it are judged by `faults`.
class plain_faults_here {
public:
    explicit plain_faults_here(plain_faults& faults) noexcept;
    plain_faults_here(const plain_faults_here&) = delete;
    plain_faults_here& operator=(const plain_faults_here&) = delete;
    ~plain_faults_here();
};

}  // namespace rondo::test
