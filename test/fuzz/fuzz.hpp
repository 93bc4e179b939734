// What the fuzzers share: an input taken apart, the word for a finding, and the list of them all.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace rondo::fuzz {

/// An input as a sequence of decisions. What is left is never negative: an input at its end goes
/// on with zeros, so that every one is a whole program.
class input {
public:
    explicit input(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

    bool empty() const noexcept { return bytes_.empty(); }
    std::size_t size() const noexcept { return bytes_.size(); }

    std::uint8_t byte() noexcept {
        if (bytes_.empty()) return 0;
        const std::byte first = bytes_.front();
        bytes_ = bytes_.subspan(1);
        return std::to_integer<std::uint8_t>(first);
    }
    /// In [0, bound), bound at most 256.
    unsigned below(unsigned bound) noexcept { return byte() % bound; }

    std::span<const std::byte> bytes(std::size_t most) noexcept {
        const auto taken = bytes_.first(std::min(most, bytes_.size()));
        bytes_ = bytes_.subspan(taken.size());
        return taken;
    }
    std::span<const std::byte> rest() noexcept { return bytes(bytes_.size()); }
    input part(std::size_t most) noexcept { return input(bytes(most)); }
    std::string_view text(std::size_t most) noexcept {
        const auto taken = bytes(most);
        return {reinterpret_cast<const char*>(taken.data()), taken.size()};
    }
    std::string_view rest_as_text() noexcept { return text(bytes_.size()); }

    /// A plain struct, the end of which is zero where the input is too short.
    template <typename Value>
    Value value() noexcept {
        Value made{};
        const auto taken = bytes(sizeof made);
        if (!taken.empty()) std::memcpy(&made, taken.data(), taken.size());
        return made;
    }

private:
    std::span<const std::byte> bytes_;
};

/// The same bytes in an allocation of exactly their size, in which AddressSanitizer sees every
/// step beyond the end.
class exact_copy {
public:
    explicit exact_copy(std::span<const std::byte> bytes) : bytes_(bytes.begin(), bytes.end()) {
        bytes_.shrink_to_fit();
    }
    std::span<const std::byte> bytes() const noexcept { return bytes_; }
    std::string_view text() const noexcept {
        return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
    }

private:
    std::vector<std::byte> bytes_;
};

/// Ends the program: a property does not hold for this input.
[[noreturn]] void fail(std::string_view sentence);

inline void check(bool holds, std::string_view sentence) {
    if (!holds) [[unlikely]] fail(sentence);
}

// One for each file NAME_fuzz.cpp; each aborts where its property does not hold.
void feed_connection_info(input in);
void feed_descriptors(input in);
void feed_endpoint(input in);
void feed_feature_names(input in);
void feed_ip_address(input in);
void feed_raw_datagram(input in);
void feed_reader(input in);
void feed_scheduler(input in);
void feed_scripted_stream(input in);
void feed_status_word(input in);
void feed_tcp_info(input in);
void feed_unix_address(input in);

struct fuzzer {
    std::string_view name;
    void (*run)(input);
};

inline constexpr std::array fuzzers = {
    fuzzer{"connection_info", feed_connection_info},
    fuzzer{"descriptors", feed_descriptors},
    fuzzer{"endpoint", feed_endpoint},
    fuzzer{"feature_names", feed_feature_names},
    fuzzer{"ip_address", feed_ip_address},
    fuzzer{"raw_datagram", feed_raw_datagram},
    fuzzer{"reader", feed_reader},
    fuzzer{"scheduler", feed_scheduler},
    fuzzer{"scripted_stream", feed_scripted_stream},
    fuzzer{"status_word", feed_status_word},
    fuzzer{"tcp_info", feed_tcp_info},
    fuzzer{"unix_address", feed_unix_address},
};

}  // namespace rondo::fuzz
