#include <rondo/engine/epoll_completions.hpp>

#include <liburing.h>

namespace rondo::inline v0::detail {

void epoll_completions::complete(const epoll_operation& operation, std::int64_t result,
                                 std::uint32_t flags) {
    if (result >= 0 && (operation.entry_flags & IOSQE_CQE_SKIP_SUCCESS) != 0) return;
    post(operation.user_data, static_cast<std::int32_t>(result), flags);
}

epoll_outcome epoll_completions::fail(const epoll_operation& operation, int error) {
    const std::int32_t result =
        operation.done != 0 ? static_cast<std::int32_t>(operation.done) : -error;
    post(operation.user_data, result, 0);
    return epoll_outcome::finished;
}

bool epoll_completions::deliver(const epoll_operation& operation, int result,
                                std::uint32_t flags) {
    const bool more = room();
    post(operation.user_data, result, flags | (more ? IORING_CQE_F_MORE : 0));
    return more;
}

}  // namespace rondo::inline v0::detail
