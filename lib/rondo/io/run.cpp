#include <rondo/io/run.hpp>
#include <rondo/log.hpp>

#include <cstdlib>
#include <string>
#include <system_error>

namespace rondo::inline v0::detail {

namespace {

scheduler_options checked(const run_options& options) {
    if (options.threads != 1) {
        throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                                "run on " + std::to_string(options.threads) +
                                    " threads: one thread is what this version runs on");
    }
    scheduler_options made;
    made.engine = options.engine;
    made.queues = options.queues;
    made.buffers = options.buffers;
    made.make_engine = options.make_engine;
    return made;
}

}  // namespace

root::root(const run_options& options) : scheduler_(checked(options)), context_(scheduler_) {
    context_.set_name("run");
}

void root::run_to_end() {
    try {
        scheduler_.run_until(done_);
        scheduler_.settle();
    } catch (const std::exception& broken) {
        // An engine throws only when nothing more can be had from it. The kernel may still write
        // into frames of suspended tasks, so unwinding past them is not an option.
        log(std::string("the engine failed, nothing can be run any more: ") + broken.what());
        std::abort();
    }
    if (failure_) std::rethrow_exception(std::move(failure_));
}

}  // namespace rondo::inline v0::detail
