#include <rondo/io/continued_operation.hpp>
#include <rondo/io/scheduler.hpp>

namespace rondo::inline v0 {

void continued_operation::go_on() noexcept {
    unfinished_ = true;
    loop().attend_to(next_step_);
}

}  // namespace rondo::inline v0
