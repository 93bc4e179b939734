// A received datagram on lease, and what a receive into the caller's buffer tells.
#pragma once

#include <rondo/const_buffer.hpp>
#include <rondo/io/raw_datagram.hpp>
#include <rondo/net/endpoint.hpp>

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

/// How an address travels to and from the kernel; specialised for each kind of address.
template <typename Address>
struct datagram_address;

template <>
struct datagram_address<endpoint> {
    using wire = socket_address;
    /// What the kernel wrote; a default-made one where it wrote none.
    static endpoint from_wire(std::span<const std::byte> name) noexcept;
    /// getpeername(2); false where the socket is not connected.
    static bool find_remote(int descriptor, endpoint& remote) noexcept;
    [[noreturn]] static void fail(const char* verb, int error, const endpoint* where);
};

}  // namespace detail

/// A move-only lease on a received datagram, whose buffer is given back when it is destroyed.
/// While many are held, fewer buffers are left to receive into; what is kept for long is better
/// copied out by to_owned(). It has no bool: an empty datagram is a datagram and no end. It can be
/// sent as it is.
template <typename Address>
class basic_datagram {
public:
    /// Empty, from nobody.
    basic_datagram() noexcept = default;
    explicit basic_datagram(raw_datagram&& raw) noexcept : raw_(std::move(raw)) {}

    std::span<std::byte> bytes() const noexcept { return raw_.bytes(); }
    std::string_view text() const noexcept {
        const auto all = raw_.bytes();
        return {reinterpret_cast<const char*>(all.data()), all.size()};
    }
    std::size_t size() const noexcept { return raw_.bytes().size(); }
    bool empty() const noexcept { return size() == 0; }
    operator const_buffer() const noexcept { return const_buffer(raw_.bytes()); }

    /// Who sent it.
    Address from() const noexcept {
        return detail::datagram_address<Address>::from_wire(raw_.name());
    }

    /// It did not fit: bytes() is its beginning, true_size() what was sent. The rest is gone.
    bool truncated() const noexcept { return true_size() > size(); }
    std::size_t true_size() const noexcept { return raw_.true_size(); }

    /// The same in memory of its own, to be kept as long as wanted.
    basic_datagram to_owned() const { return basic_datagram(raw_.to_owned()); }

private:
    raw_datagram raw_;
};

/// What has come into the caller's buffer.
template <typename Address>
struct received_from {
    std::size_t size = 0;       ///< bytes in the buffer; 0 for an empty datagram
    Address from;               ///< who sent it
    std::size_t true_size = 0;  ///< bytes that were sent

    /// It did not fit, and the rest is gone.
    bool truncated() const noexcept { return true_size > size; }
};

/// What a udp_socket receives on lease.
using datagram = basic_datagram<endpoint>;

}  // namespace rondo::inline v0
