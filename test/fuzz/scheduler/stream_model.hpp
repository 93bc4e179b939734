// What must come out of pairs of sockets, whatever is cancelled, closed or moved meanwhile.
#pragma once

#include <fuzz/fuzz.hpp>

#include <rondo/io/chunk.hpp>
#include <rondo/net/socket_error.hpp>
#include <rondo/net/unix.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace rondo::fuzz {

/// One direction of a connection. Each byte is told by its place, so that one that is lost, doubled
/// or in the wrong order is seen where it arrives.
class flow {
public:
    flow() noexcept = default;
    explicit flow(unsigned id) noexcept : id_(id) {}

    static std::byte byte_at(unsigned id, std::uint64_t place) noexcept {
        const std::uint64_t mixed = (place + 1) * 0x9e37'79b9'7f4a'7c15u;
        return static_cast<std::byte>((mixed >> 56) ^ (mixed >> 40) ^ id);
    }

    unsigned id() const noexcept { return id_; }
    std::uint64_t sent() const noexcept { return sent_; }
    std::uint64_t received() const noexcept { return received_; }

    /// What is to be sent next. Until sent_so_far() nobody knows how much of it was.
    std::vector<std::byte> next(std::size_t size) {
        std::vector<std::byte> made(size);
        for (std::size_t i = 0; i != size; ++i) made[i] = byte_at(id_, sent_ + i);
        offered_ = sent_ + size;
        return made;
    }
    void sent_so_far(std::size_t size) {
        check(sent_ + size <= offered_, "more was sent than was given to send");
        sent_ += size;
        offered_ = sent_;
        check(received_ <= sent_, "more was received than was sent, as the sender was told");
    }
    void arrived(std::span<const std::byte> bytes) {
        check(received_ + bytes.size() <= offered_, "more was received than was sent");
        check_at(id_, received_, bytes);
        received_ += bytes.size();
    }
    void ended() const { check(received_ == sent_, "the stream ended before all was received"); }

    static void check_at(unsigned id, std::uint64_t place, std::span<const std::byte> bytes) {
        for (const std::byte each : bytes) {
            check(each == byte_at(id, place++), "a byte was lost, doubled or changed");
        }
    }

private:
    unsigned id_ = 0;
    std::uint64_t sent_ = 0;
    std::uint64_t offered_ = 0;
    std::uint64_t received_ = 0;
};

/// One end of a connection.
struct stream_end {
    unix_socket socket;
    flow out;                    // what it sends
    stream_end* peer = nullptr;
    bool reading = false;
    bool sending = false;
    bool in_branch = false;      // read by a branch of a when_any()
    bool finished = false;       // it has shut its sending side down
    bool gone = false;           // closed or destroyed, or about to be
    bool leaving = false;        // by a close() or release() that is under way
    unsigned interruptions = 0;  // by close() and release()
    bool errors = false;         // the engine injects any

    bool is_open() const noexcept { return socket.is_open(); }
    bool is_awaited() const noexcept { return reading || sending; }
    /// Whether a failure by this can be the peer's doing, or the engine's.
    bool may_fail(int error) const noexcept {
        return errors || (peer->gone && is_connection_lost(error));
    }
};

/// A lease that is kept: nobody writes into it meanwhile.
class held_chunk {
public:
    held_chunk(chunk data, unsigned id, std::uint64_t place) noexcept
        : data_(std::move(data)), id_(id), place_(place) {}
    void check_bytes() const { flow::check_at(id_, place_, data_.bytes()); }

private:
    chunk data_;
    unsigned id_;
    std::uint64_t place_;
};

/// Sets a flag for as long as it lives.
class claim {
public:
    explicit claim(bool& flag) noexcept : flag_(&flag) { flag = true; }
    claim(const claim&) = delete;
    claim& operator=(const claim&) = delete;
    ~claim() { *flag_ = false; }

private:
    bool* flag_;
};

}  // namespace rondo::fuzz
