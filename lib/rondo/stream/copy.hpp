// From one stream into another.
#pragma once

#include <rondo/stream/stream.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/task.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace rondo::inline v0 {

/// Sends what comes from `from` into `to`, until the end of the stream; returns how many bytes.
/// Both must live until then. Leases are sent from where they are. The end is not passed on:
/// `to.shutdown(...)` does that. Throws what either throws. Cut short, what was received and not
/// yet sent, up to one piece, is lost; when it was cancelled, the error's transferred() tells how
/// much `to` has taken.
template <readable_stream From, writable_stream To>
task<std::uint64_t> copy(From& from, To& to) {
    std::uint64_t total = 0;
    try {
        if constexpr (lease_stream<From>) {
            while (auto piece = co_await from.recv()) {
                co_await to.send(piece);
                total += piece.bytes().size();
            }
        } else {
            constexpr std::size_t size = 16 * 1024;
            const auto block = std::make_unique_for_overwrite<std::byte[]>(size);
            const std::span<std::byte> room(block.get(), size);
            for (;;) {
                const std::size_t n = co_await from.recv(room);
                if (n == 0) break;
                co_await to.send(room.first(n));
                total += n;
            }
        }
    } catch (const operation_canceled& cut) {
        detail::throw_canceled(static_cast<std::size_t>(total) + cut.transferred());
    }
    co_return total;
}

}  // namespace rondo::inline v0
