#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/result.hpp>

namespace rondo::inline v0::detail {

void throw_error(const std::error_code& error) {
    if (error == std::errc::operation_canceled) throw_canceled();
    throw std::system_error(error);
}

std::error_code error_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::system_error& error) {
        return error.code();
    }
}

}  // namespace rondo::inline v0::detail
