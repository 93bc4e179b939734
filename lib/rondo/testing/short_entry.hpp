// Entries that ask for less than the program did, so that a short count comes of them.
#pragma once

#include <memory>
#include <vector>

#include <sys/socket.h>
#include <sys/uio.h>

#include <rondo/testing/fault_dice.hpp>

struct io_uring_sqe;  // <linux/io_uring.h>

namespace rondo::inline v0::testing {

/// A copy of a caller's msghdr that names fewer bytes; the inner engine may read it late.
struct short_message {
    msghdr header;
    std::vector<iovec> parts;
};

/// Injects short_receive, short_send or control_cut where they fit the entry and strike. Returns
/// what the entry refers to from then on, if that is not the caller's any more.
std::unique_ptr<short_message> shorten(io_uring_sqe& entry, const fault_plan::rule* rule,
                                       fault_dice& dice);

}  // namespace rondo::inline v0::testing
