// Numbers drawn from a seed, the same everywhere.
#pragma once

#include <cstdint>

namespace rondo::inline v0::testing {

/// splitmix64: small, and the same on every machine and library.
class random {
public:
    explicit random(std::uint64_t seed) noexcept : state_(seed) {}
    std::uint64_t next() noexcept {
        state_ += 0x9e3779b97f4a7c15u;
        std::uint64_t value = state_;
        value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
        value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
        return value ^ (value >> 31);
    }
    /// In [0, bound), bound > 0.
    unsigned below(unsigned bound) noexcept { return static_cast<unsigned>(next() % bound); }
    bool coin() noexcept { return (next() & 1) != 0; }

private:
    std::uint64_t state_;
};

}  // namespace rondo::inline v0::testing
