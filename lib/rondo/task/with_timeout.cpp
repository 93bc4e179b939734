#include <rondo/task/with_timeout.hpp>

namespace rondo::inline v0::detail {

void throw_timed_out() { throw std::system_error(std::make_error_code(std::errc::timed_out)); }

}  // namespace rondo::inline v0::detail
