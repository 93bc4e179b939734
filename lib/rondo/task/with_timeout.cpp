#include <rondo/task/with_timeout.hpp>

namespace rondo::inline v0 {

operation_timed_out::~operation_timed_out() = default;

namespace detail {

void throw_timed_out(const std::exception_ptr& cancellation) {
    std::size_t transferred = 0;
    try {
        std::rethrow_exception(cancellation);
    } catch (const operation_canceled& cut_short) {
        transferred = cut_short.transferred();
    }
    throw operation_timed_out(transferred);
}

}  // namespace detail

}  // namespace rondo::inline v0
