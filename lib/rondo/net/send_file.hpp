// Sending a file over a connection without passing it through the program's memory.
#pragma once

#include <rondo/io/operation.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <source_location>
#include <string>
#include <system_error>

namespace rondo::inline v0 {

class file;
class receive_state;
class stream_socket;

namespace detail {

struct open_file;

/// The bytes go by sendfile(2), a plain call: what is in memory is handed to the socket at once,
/// and the engine waits for what is not there: room in the socket, or the disk. Files it refuses,
/// as many in /proc, are read and sent.
class [[nodiscard]] send_file_operation final : public operation {
public:
    send_file_operation(receive_state& state, open_file& source, std::uint64_t offset,
                        std::size_t count) noexcept
        : state_(&state), file_(&source), offset_(offset), size_(count) {}

    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        begin(awaiting, context_at(awaiting, place));
    }
    std::size_t await_resume();
    std::error_code error() noexcept;
    std::string awaits() const override;

private:
    /// What the request in the kernel is for.
    enum class step : std::uint8_t {
        room,    ///< in the socket, or only the next turn
        advice,  ///< that the disk is to be read from
        data,    ///< from the disk
        byte,    ///< to be sent by one that waits for room
        end,     ///< nothing is left to be done
    };

    void begin(std::coroutine_handle<> awaiting, context& where);
    void prepare(io_uring_sqe& entry) noexcept override;
    void fell_short() noexcept override;
    step send_some() noexcept;
    bool ended_without_room() const noexcept;
    bool read_byte() noexcept;
    std::ptrdiff_t copy_some(std::size_t count) noexcept;
    std::size_t in_memory(std::size_t wanted) noexcept;
    bool is_there(std::uint64_t end) noexcept;
    void leave() noexcept;

    receive_state* state_;
    open_file* file_;
    std::uint64_t offset_;
    std::size_t size_;  // asked for, or found when the file ends
    std::size_t sent_ = 0;
    std::uint64_t file_size_ = 0;    // when it began
    std::uint64_t there_until_ = 0;  // the file is in memory up to here
    std::uint64_t cold_until_ = 0;   // what is being read from the disk ends here
    int error_ = 0;
    step step_ = step::room;
    bool entered_ = false;
    bool copies_ = false;  // sendfile(2) has refused the file
    std::byte last_{};  // of what is read from the disk, or the one that is sent
};

}  // namespace detail

/// As much as there is.
inline constexpr std::size_t to_end_of_file = std::numeric_limits<std::size_t>::max();

/// Completes when the kernel has taken `count` bytes of the file from `offset` on, or all up to its
/// end; returns how many. Both must live until then; the file's position stays. It is a send of
/// the socket: one at a time. Cut short by failure or cancellation it throws, and the error tells
/// transferred(). A cold file is read ahead by the engine, and one task sends 4 MiB in a turn.
detail::send_file_operation send_file(stream_socket& socket, file& source,
                                      std::uint64_t offset = 0,
                                      std::size_t count = to_end_of_file) noexcept;

}  // namespace rondo::inline v0
