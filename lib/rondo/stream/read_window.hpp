// What a buffered_reader has received and not yet delivered.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rondo::inline v0::detail {

/// The unread bytes are one piece: either where the stream has put them, or in storage of the
/// window's own. Bytes that were delivered from storage stay there until the window next keeps.
class read_window {
public:
    read_window() noexcept = default;
    read_window(const read_window&) = delete;
    read_window& operator=(const read_window&) = delete;

    std::string_view unread() const noexcept {
        return {cursor_, static_cast<std::size_t>(end_ - cursor_)};
    }
    void consume(std::size_t size) noexcept { cursor_ += size; }

    /// `piece`, which stays where it is, becomes what is unread.
    void show(std::string_view piece) noexcept {
        cursor_ = piece.data();
        end_ = piece.data() + piece.size();
        stored_ = false;
    }

    /// Copies what is unread into storage, so that the piece it stood in can be given back.
    void keep();

    /// Puts `piece` behind what is unread. After keep().
    void append(std::string_view piece);

    /// Returns what is unread and the first `size` bytes of `piece` as one view of the storage; the
    /// rest of `piece` becomes what is unread. After keep().
    std::string_view splice(std::string_view piece, std::size_t size);

    /// `bytes`, which were taken from here or from the stream, are unread again. Nothing else is.
    void put_back(std::string_view bytes);

private:
    // An idle connection holds no more than this.
    static constexpr std::size_t most_idle = 4096;

    void show_storage() noexcept;

    const char* cursor_ = nullptr;
    const char* end_ = nullptr;
    bool stored_ = false;  // what is unread stands at the end of storage_
    std::string storage_;
};

}  // namespace rondo::inline v0::detail
