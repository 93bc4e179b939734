// What must come out of a pair of datagram sockets: what was sent, in its order, and nothing else.
#pragma once

#include <fuzz/fuzz.hpp>
#include <fuzz/scheduler/stream_model.hpp>

#include <rondo/net/unix_datagram.hpp>

#include <cstddef>
#include <span>
#include <vector>

namespace rondo::fuzz {

/// One direction. Each byte is told by its datagram's number and its place there.
class datagram_flow {
public:
    /// What is to be sent next; until sent() or withdrawn() nobody knows whether it was.
    std::vector<std::byte> next(std::size_t size) {
        std::vector<std::byte> made(size);
        const auto id = static_cast<unsigned>(all_.size());
        for (std::size_t i = 0; i != size; ++i) made[i] = flow::byte_at(id, i);
        all_.push_back({.size = size, .fate = fate::offered});
        return made;
    }
    void sent() { all_.back().fate = fate::sent; }
    void withdrawn() {
        check(received_ < all_.size(), "a datagram is received whose send has failed");
        all_.back().fate = fate::withdrawn;
    }

    void arrived(std::span<const std::byte> bytes, std::size_t true_size) {
        pass_withdrawn();
        check(received_ < all_.size(), "a datagram is received that nobody has sent");
        check(true_size == all_[received_].size, "a datagram is not as long as it was sent");
        check(bytes.size() <= true_size, "a datagram is longer than what was sent");
        flow::check_at(static_cast<unsigned>(received_), 0, bytes);
        ++received_;
    }
    /// The receiver has found out that the sender is gone, by a send of its own: then the kernel
    /// throws away what waits for it (unix_dgram_disconnected() in net/unix/af_unix.c).
    void thrown_away() noexcept { is_thrown_away_ = true; }

    bool all_received() noexcept {
        pass_withdrawn();
        return is_thrown_away_ || received_ == all_.size();
    }

private:
    enum class fate : std::uint8_t { offered, sent, withdrawn };
    struct datagram {
        std::size_t size;
        datagram_flow::fate fate;
    };

    void pass_withdrawn() noexcept {
        while (received_ != all_.size() && all_[received_].fate == fate::withdrawn) ++received_;
    }

    std::vector<datagram> all_;
    std::size_t received_ = 0;  // and passed
    bool is_thrown_away_ = false;
};

/// One of a pair.
struct datagram_end {
    unix_datagram_socket socket;
    datagram_flow out;
    datagram_end* peer = nullptr;
    bool reading = false;
    bool sending = false;
    bool gone = false;     // closed or destroyed, or about to be
    bool leaving = false;  // by a close() or release() that is under way
    unsigned interruptions = 0;
    bool errors = false;  // the engine injects any

    bool is_open() const noexcept { return socket.is_open(); }
    bool is_awaited() const noexcept { return reading || sending; }
    /// Whether a send may fail by this: nobody is there any more, or the engine injects it.
    bool may_fail(int error) const noexcept {
        return errors || (peer->gone && (error == ECONNREFUSED || error == ENOTCONN ||
                                         is_connection_lost(error)));
    }
};

}  // namespace rondo::fuzz
