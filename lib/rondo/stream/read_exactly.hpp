// Filling a buffer from a stream.
#pragma once

#include <rondo/stream/record.hpp>
#include <rondo/stream/stream.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/task.hpp>

#include <cstddef>
#include <span>

namespace rondo::inline v0 {

/// Completes when `buffer` is full; both must live until then. Throws unexpected_end where the
/// stream ends before. Cut short by that or by a cancellation, what had come is in `buffer`, and
/// the error tells transferred(). A buffered_reader's member of this name takes nothing then.
template <readable_stream From>
task<> read_exactly(From& from, std::span<std::byte> buffer) {
    std::size_t got = 0;
    try {
        while (got < buffer.size()) {
            const std::size_t n = co_await from.recv(buffer.subspan(got));
            if (n == 0) detail::throw_ended_early(got, buffer.size(), got);
            got += n;
        }
    } catch (const operation_canceled&) {
        detail::throw_canceled(got);
    }
}

}  // namespace rondo::inline v0
