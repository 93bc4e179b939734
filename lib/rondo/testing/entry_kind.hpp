// What an entry asks of the kernel, as faulty_engine must know it to misbehave as the kernel may.
#pragma once

#include <cstdint>

struct io_uring_sqe;  // <linux/io_uring.h>

namespace rondo::inline v0::testing::entry_kind {

bool is_receive(const io_uring_sqe& entry) noexcept;
bool is_send(const io_uring_sqe& entry) noexcept;
bool is_file_transfer(const io_uring_sqe& entry) noexcept;

bool is_multishot_receive(const io_uring_sqe& entry) noexcept;
bool is_multishot_accept(const io_uring_sqe& entry) noexcept;
bool is_multishot_poll(const io_uring_sqe& entry) noexcept;
/// RECVMSG has another buffer layout as a multishot: it cannot become a one-shot.
bool is_message_multishot(const io_uring_sqe& entry) noexcept;

bool is_linked(const io_uring_sqe& entry) noexcept;
bool skips_success(const io_uring_sqe& entry) noexcept;
/// Nothing but the kernel itself has to act, and at once or as soon as a disk answers.
bool ends_by_itself(const io_uring_sqe& entry) noexcept;
/// Whether the entry does its work and then fails: close(2) closes where it fails, too.
bool is_carried_out_with(const io_uring_sqe& entry, int error) noexcept;

/// False for datagrams, which cannot be cut: a part would be lost.
bool is_stream(const io_uring_sqe& entry) noexcept;
bool is_unix_socket(const io_uring_sqe& entry) noexcept;
/// Without MSG_WAITALL a short count is a success, and a skipped one would hide it.
bool can_be_sent_short(const io_uring_sqe& entry) noexcept;

/// The limit of a multishot receive (6.17), which lies where older headers have file_index.
std::uint32_t& total_limit(io_uring_sqe& entry) noexcept;

/// Whether make_one_shot() keeps its meaning.
bool is_convertible(const io_uring_sqe& entry) noexcept;
void make_one_shot(io_uring_sqe& entry) noexcept;

}  // namespace rondo::inline v0::testing::entry_kind
