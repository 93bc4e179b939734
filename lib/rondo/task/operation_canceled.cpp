#include <rondo/detail/holds.hpp>
#include <rondo/task/operation_canceled.hpp>

namespace rondo::inline v0 {

operation_canceled::~operation_canceled() = default;

bool is_canceled(const std::exception_ptr& failure) noexcept {
    return detail::holds<operation_canceled>(failure);
}

namespace detail {
void throw_canceled(std::size_t transferred) { throw operation_canceled(transferred); }
}  // namespace detail

}  // namespace rondo::inline v0
