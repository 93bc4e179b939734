// Faults in the calls that the library makes by itself, past its engine.
#pragma once

#include <rondo/testing/random.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace rondo::test {

/// A lone datagram's sendto(2) or sendmsg(2), and what send_file() calls. This program's own
/// functions of these names stand before those of the C library: rondo knows nothing of it.
enum class plain_call : std::uint8_t {
    sendto,    ///< on a datagram socket, also the epoll engine's
    sendmsg,   ///< the same
    sendfile,
    send,      ///< on a stream: of a file that sendfile(2) refuses
};
inline constexpr std::size_t plain_call_count = 4;

std::string_view to_string(plain_call call) noexcept;
/// What it may fail with, by its manual page.
std::span<const int> errors_of(plain_call call) noexcept;
/// Whether a correct program does not notice; 0 is a part of the bytes.
bool goes_unnoticed(plain_call call, int error) noexcept;

/// The `nth` call (from 1) fails with `error`, or moves a part where that is 0.
struct plain_rule {
    plain_call call;
    unsigned nth;
    int error;
};

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
