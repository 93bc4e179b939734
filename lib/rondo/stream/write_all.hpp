// Sending several buffers over any stream.
#pragma once

#include <rondo/const_buffer.hpp>
#include <rondo/stream/stream.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/task.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <span>

namespace rondo::inline v0 {

/// Completes when `to` has taken all `buffers`, as if they were one: by one send where the stream
/// gathers, else one after the other. Stream, list and bytes must live until then. Cancelled, the
/// error tells transferred(); that of another failure counts from the buffer it met, where the
/// stream does not gather.
template <writable_stream To>
task<> write_all(To& to, std::span<const const_buffer> buffers) {
    if constexpr (gather_stream<To>) {
        co_await to.send(buffers);
    } else {
        std::size_t before = 0;
        try {
            for (const const_buffer& buffer : buffers) {
                co_await to.send(buffer);
                before += buffer.size();
            }
        } catch (const operation_canceled& cut) {
            detail::throw_canceled(before + cut.transferred());
        }
    }
}

namespace detail {

template <writable_stream To, std::size_t N>
task<> write_list(To& to, std::array<const_buffer, N> buffers) {
    const std::span<const const_buffer> list(buffers);
    co_await write_all(to, list);
}

}  // namespace detail

/// As write_all(to, list), for buffers by name: `co_await write_all(peer, head, "\r\n", body);`.
template <writable_stream To, std::convertible_to<const_buffer>... Buffers>
task<> write_all(To& to, const Buffers&... buffers) {
    return detail::write_list(to, std::array<const_buffer, sizeof...(Buffers)>{buffers...});
}

}  // namespace rondo::inline v0
