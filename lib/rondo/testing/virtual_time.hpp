// Tests of time without waiting for it.
#pragma once

#include <rondo/io/run.hpp>
#include <rondo/task/event_loop.hpp>

#include <utility>

namespace rondo::inline v0::testing {

/// As run(), in virtual time: the clock of the loop stands still while any task can go on or the
/// engine has something to deliver, and then leaps to the next deadline. Sleeps and time-outs end
/// in the order of their deadlines, an hour takes no time, and nothing depends on how fast the
/// machine is. What happens outside of this thread (another process, a helper thread, a network) is
/// not waited for where a deadline can be leapt to. The time is event_loop::now(); std::chrono's
/// clocks know nothing of it.
template <typename Function, typename... Arguments>
decltype(auto) run_in_virtual_time(Function&& function, Arguments&&... arguments) {
    run_options options;
    options.virtual_time = true;
    return run(options, std::forward<Function>(function), std::forward<Arguments>(arguments)...);
}

}  // namespace rondo::inline v0::testing
