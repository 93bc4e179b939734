// What a send into a closed channel throws.
#pragma once

#include <system_error>

namespace rondo::inline v0 {

/// The channel was closed before the value went in; code() is std::errc::broken_pipe.
class channel_closed final : public std::system_error {
public:
    channel_closed();
    channel_closed(const channel_closed&) noexcept = default;
    channel_closed& operator=(const channel_closed&) noexcept = default;
    ~channel_closed() override;
};

namespace detail {
[[noreturn]] void throw_channel_closed();
}

}  // namespace rondo::inline v0
