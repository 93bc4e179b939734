// What epoll_engine remembers about one descriptor, and the table of them by number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <rondo/engine/epoll_operation.hpp>

namespace rondo::inline v0::detail {

/// The requests waiting on a descriptor and what is known of its readiness.
struct epoll_descriptor {
    enum class type : std::uint8_t {
        unknown,
        tcp,     // a short receive means that nothing is left
        stream,  // MSG_WAITALL goes on after a short count; a short receive means nothing: on a
                 // Unix socket passed descriptors cut it too
        other,
    };
    enum class mode : std::uint8_t { unknown, blocking, nonblocking };

    epoll_operation_list readers;  // receives and accepts
    epoll_operation_list writers;  // sends and connects
    epoll_operation_list pollers;
    std::uint32_t generation = 0;  // goes up whenever the number may come to mean something else
    std::uint32_t registered = 0;  // the events epoll watches for, 0: not in its set
    bool readable = true;          // false: a receive found nothing and no edge has come since
    bool writable = true;
    bool eager = false;        // an end, error or urgent byte was signalled: only EAGAIN is empty
    bool interrupted = false;  // a reader was stopped by its budget and goes on in the next turn
    type kind = type::unknown;
    mode accepting = mode::unknown;

    /// What `number`, which this is about, is: asked of the kernel once.
    type kind_of(int number) noexcept;
};

/// Entries never move: a reference stays good while others are made.
class epoll_descriptor_table {
public:
    /// Null if nothing was ever asked of that number.
    epoll_descriptor* find(int number) noexcept {
        const auto index = static_cast<std::size_t>(number);
        const std::size_t chunk = index / chunk_size;
        if (number < 0 || chunk >= chunks_.size() || !chunks_[chunk]) return nullptr;
        return &chunks_[chunk][index % chunk_size];
    }

    /// Makes the entry for an open descriptor. Throws std::bad_alloc.
    epoll_descriptor& make(int number) {
        const auto index = static_cast<std::size_t>(number);
        const std::size_t chunk = index / chunk_size;
        if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
        if (!chunks_[chunk]) chunks_[chunk] = std::make_unique<epoll_descriptor[]>(chunk_size);
        return chunks_[chunk][index % chunk_size];
    }

private:
    static constexpr std::size_t chunk_size = 256;

    std::vector<std::unique_ptr<epoll_descriptor[]>> chunks_;
};

}  // namespace rondo::inline v0::detail
