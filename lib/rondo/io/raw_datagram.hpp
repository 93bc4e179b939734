// A received datagram in its buffer: header, the sender's name as the kernel wrote it, payload.
#pragma once

#include <rondo/engine/abi.hpp>
#include <rondo/io/chunk.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

namespace rondo::inline v0 {

/// The buffer is laid out as a multishot RECVMSG fills it, whichever request did: an
/// abi::received_message, `name_room` bytes for the name, the bytes that fitted. An empty one,
/// default-made or moved from, has no bytes and no name.
class raw_datagram {
public:
    raw_datagram() noexcept = default;
    raw_datagram(chunk whole, std::uint32_t name_room) noexcept
        : whole_(std::move(whole)), name_room_(name_room) {}

    static constexpr std::size_t payload_offset(std::uint32_t name_room) noexcept {
        return sizeof(abi::received_message) + name_room;
    }

    std::span<std::byte> bytes() const noexcept {
        if (whole_.empty()) return {};
        return whole_.bytes().subspan(payload_offset(name_room_));
    }
    /// As the kernel wrote it, cut to the room for it.
    std::span<const std::byte> name() const noexcept {
        if (whole_.empty()) return {};
        return whole_.bytes().subspan(sizeof(abi::received_message),
                                      std::min(header().name_size, name_room_));
    }
    /// What was sent, of which bytes() may be the beginning only.
    std::size_t true_size() const noexcept {
        return whole_.empty() ? 0 : header().payload_size;
    }
    raw_datagram to_owned() const { return raw_datagram(whole_.to_owned(), name_room_); }

private:
    abi::received_message header() const noexcept {
        abi::received_message copy;
        std::memcpy(&copy, whole_.data(), sizeof copy);
        return copy;
    }

    chunk whole_;
    std::uint32_t name_room_ = 0;
};

}  // namespace rondo::inline v0
