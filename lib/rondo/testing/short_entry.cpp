#include <rondo/testing/short_entry.hpp>

#include <algorithm>
#include <cstdint>

#include <linux/io_uring.h>
#include <sys/stat.h>

#include <rondo/testing/entry_kind.hpp>

namespace rondo::inline v0::testing {

using namespace entry_kind;

namespace {

using rule = fault_plan::rule;

constexpr unsigned flag(int message_flag) noexcept { return static_cast<unsigned>(message_flag); }

void shorten_receive(io_uring_sqe& entry, fault_dice& dice) {
    const bool selects = (entry.flags & IOSQE_BUFFER_SELECT) != 0;
    if (is_multishot_receive(entry)) {
        // Kernels without the limit refuse a length there, too (6.17 brought both).
        if (skips_success(entry)) return;
        make_one_shot(entry);
    }
    if (selects && entry.len == 0) {
        // The size of the buffers is unknown here; it only matters that some are larger.
        entry.len = 1 + dice.below(dice.coin() ? 16 : 1024);
    } else if (entry.len > 1) {
        entry.len = dice.smaller(entry.len);
    } else {
        return;
    }
    dice.count(fault::short_receive);
}

void shorten_send(io_uring_sqe& entry, const rule* by_rule, fault_dice& dice) {
    if (entry.len < 2 || !dice.strikes(fault::short_send, by_rule) || !can_be_sent_short(entry)) {
        return;
    }
    dice.count(fault::short_send);
    entry.len = dice.smaller(entry.len);
    // A short MSG_WAITALL send counts as failed, so its completion is never skipped.
    entry.msg_flags &= ~flag(MSG_WAITALL);
    entry.flags = static_cast<__u8>(entry.flags & ~IOSQE_CQE_SKIP_SUCCESS);
}

// A pipe's write of up to PIPE_BUF bytes is all or nothing, as programs may rely on.
void shorten_file_transfer(io_uring_sqe& entry, const rule* by_rule, fault_dice& dice) {
    const fault kind =
        entry.opcode == IORING_OP_READ ? fault::short_receive : fault::short_send;
    if (entry.len < 2 || skips_success(entry) || !dice.strikes(kind, by_rule)) return;
    struct ::stat about {};
    if (::fstat(entry.fd, &about) != 0) return;
    if (entry.opcode == IORING_OP_WRITE && !S_ISREG(about.st_mode)) return;
    dice.count(kind);
    entry.len = dice.smaller(entry.len);
}

std::unique_ptr<short_message> shorten_message(io_uring_sqe& entry, const rule* by_rule,
                                               fault_dice& dice) {
    if (!dice.strikes(fault::short_send, by_rule) || !can_be_sent_short(entry)) return nullptr;
    auto copy = std::make_unique<short_message>();
    copy->header = *reinterpret_cast<const msghdr*>(static_cast<std::uintptr_t>(entry.addr));
    copy->parts.assign(copy->header.msg_iov, copy->header.msg_iov + copy->header.msg_iovlen);
    std::size_t total = 0;
    for (const iovec& part : copy->parts) total += part.iov_len;
    if (total < 2) return nullptr;
    std::size_t left = dice.smaller(total);
    for (iovec& part : copy->parts) {
        part.iov_len = std::min(part.iov_len, left);
        left -= part.iov_len;
    }
    copy->header.msg_iov = copy->parts.data();
    dice.count(fault::short_send);
    entry.addr = reinterpret_cast<std::uintptr_t>(&copy->header);
    entry.msg_flags &= ~flag(MSG_WAITALL);
    entry.flags = static_cast<__u8>(entry.flags & ~IOSQE_CQE_SKIP_SUCCESS);
    return copy;
}

// As a kernel does that finds no free descriptor: what has no room is closed. It is told in the
// caller's header, so that is changed and not a copy.
void cut_control(const io_uring_sqe& entry, const rule* by_rule, fault_dice& dice) {
    auto* const header = reinterpret_cast<msghdr*>(static_cast<std::uintptr_t>(entry.addr));
    if (header == nullptr || header->msg_controllen == 0 || !is_unix_socket(entry) ||
        !dice.strikes(fault::control_cut, by_rule)) {
        return;
    }
    const auto room = static_cast<unsigned>(
        std::min<std::size_t>(header->msg_controllen, CMSG_LEN(sizeof(int))));
    dice.count(fault::control_cut);
    header->msg_controllen = dice.below(room);
}

// In the caller's own list, too: the kernel writes what came along into the header, so that is no
// copy.
void shorten_received_message(const io_uring_sqe& entry, const rule* by_rule, fault_dice& dice) {
    auto* const header = reinterpret_cast<msghdr*>(static_cast<std::uintptr_t>(entry.addr));
    if (header == nullptr || header->msg_iovlen != 1 || header->msg_iov->iov_len < 2 ||
        (entry.msg_flags & flag(MSG_WAITALL)) != 0 ||
        !dice.strikes(fault::short_receive, by_rule) || !is_stream(entry)) {
        return;
    }
    dice.count(fault::short_receive);
    header->msg_iov->iov_len = dice.smaller(header->msg_iov->iov_len);
}

}  // namespace

std::unique_ptr<short_message> shorten(io_uring_sqe& entry, const rule* by_rule,
                                       fault_dice& dice) {
    if (entry.opcode == IORING_OP_SEND || entry.opcode == IORING_OP_SEND_ZC) {
        shorten_send(entry, by_rule, dice);
    } else if (is_file_transfer(entry)) {
        shorten_file_transfer(entry, by_rule, dice);
    } else if (entry.opcode == IORING_OP_SENDMSG) {
        return shorten_message(entry, by_rule, dice);
    } else if (entry.opcode == IORING_OP_RECV && (entry.msg_flags & flag(MSG_WAITALL)) == 0 &&
               dice.strikes(fault::short_receive, by_rule) && is_stream(entry)) {
        shorten_receive(entry, dice);
    } else if (entry.opcode == IORING_OP_RECVMSG && !is_multishot_receive(entry)) {
        cut_control(entry, by_rule, dice);
        shorten_received_message(entry, by_rule, dice);
    }
    return nullptr;
}

}  // namespace rondo::inline v0::testing
