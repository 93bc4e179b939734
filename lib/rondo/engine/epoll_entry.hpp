// What an entry asks of epoll_engine, checked as the kernel checks it.
#pragma once

#include <rondo/engine/engine.hpp>
#include <rondo/engine/epoll_operation.hpp>

struct io_uring_sqe;

namespace rondo::inline v0::detail {

/// By what is true of every opcode, or for want of a feature: with EINVAL.
bool is_refused(const io_uring_sqe& entry, feature_set features) noexcept;

/// Copies what is needed of the entry; an errno for one that makes no sense.
int fill(epoll_operation& operation, const io_uring_sqe& entry) noexcept;

}  // namespace rondo::inline v0::detail
