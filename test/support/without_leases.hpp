// A stream seen without its leases: for code that takes another way where there are some.
#pragma once

#include <rondo/stream/stream.hpp>

#include <cstddef>
#include <span>

namespace rondo::test {

template <readable_stream Stream>
class without_leases {
public:
    explicit without_leases(Stream& stream) noexcept : stream_(&stream) {}
    auto recv(std::span<std::byte> buffer) { return stream_->recv(buffer); }
    auto send(const_buffer data) { return stream_->send(data); }

private:
    Stream* stream_;
};

}  // namespace rondo::test
