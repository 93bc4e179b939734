// Kernel constants newer than the liburing floor (2.3), by their kernel names in lower case.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

struct io_uring_sqe;  // 64 bytes, <linux/io_uring.h>

namespace rondo::inline v0::abi {

// io_uring_setup(2) flags
inline constexpr unsigned setup_no_sqarray = 1u << 16;
// io_uring_enter(2) flags
inline constexpr unsigned enter_no_iowait = 1u << 7;
// io_uring_params::features
inline constexpr unsigned feat_no_iowait = 1u << 17;

// io_uring_cqe::flags, for code in headers
inline constexpr std::uint32_t cqe_f_more = 1u << 1;
inline constexpr unsigned cqe_buffer_shift = 16;

/// Sets io_uring_sqe::user_data, for code that cannot see the structure.
inline constexpr std::size_t user_data_offset = 32;
inline void set_user_data(io_uring_sqe& entry, std::uint64_t value) noexcept {
    std::memcpy(reinterpret_cast<std::byte*>(&entry) + user_data_offset, &value, sizeof value);
}

/// One slot of a buffer ring, laid out as io_uring_buf. The ring's tail lies in the `reserved`
/// field of slot 0 (struct io_uring_buf_ring).
struct buffer_slot {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t id;
    std::uint16_t reserved;
};
static_assert(sizeof(buffer_slot) == 16);

/// What a multishot RECVMSG puts first into its buffer, laid out as io_uring_recvmsg_out. Behind it
/// come as many bytes for the name, then for control data, as were asked for, then the payload.
struct received_message {
    std::uint32_t name_size;
    std::uint32_t control_size;
    std::uint32_t payload_size;
    std::uint32_t flags;  ///< msghdr::msg_flags
};
static_assert(sizeof(received_message) == 16);

}  // namespace rondo::inline v0::abi
