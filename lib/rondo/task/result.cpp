#include <rondo/task/result.hpp>

namespace rondo::inline v0::detail {

std::error_code error_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::system_error& error) {
        return error.code();
    }
}

}  // namespace rondo::inline v0::detail
