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

    /// The parts of such a buffer. What its header says is believed up to the buffer's end.
    struct parts {
        std::span<std::byte> name;
        std::span<std::byte> payload;
        std::size_t true_size = 0;
    };
    static parts parts_of(std::span<std::byte> whole, std::uint32_t name_room) noexcept {
        const std::size_t offset = payload_offset(name_room);
        if (whole.size() < offset) return {};
        abi::received_message header;
        std::memcpy(&header, whole.data(), sizeof header);
        const std::size_t name_size = std::min(header.name_size, name_room);
        return {whole.subspan(sizeof header, name_size), whole.subspan(offset),
                header.payload_size};
    }

    std::span<std::byte> bytes() const noexcept { return here().payload; }
    /// As the kernel wrote it, cut to the room for it.
    std::span<const std::byte> name() const noexcept { return here().name; }
    /// What was sent, of which bytes() may be the beginning only.
    std::size_t true_size() const noexcept { return here().true_size; }
    raw_datagram to_owned() const { return raw_datagram(whole_.to_owned(), name_room_); }

private:
    parts here() const noexcept { return parts_of(whole_.bytes(), name_room_); }

    chunk whole_;
    std::uint32_t name_room_ = 0;
};

}  // namespace rondo::inline v0
