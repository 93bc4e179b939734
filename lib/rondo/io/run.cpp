#include <rondo/io/run.hpp>
#include <rondo/log.hpp>

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <system_error>

namespace rondo::inline v0::detail {

namespace {

scheduler_options scheduler_part(const run_options& options) {
    scheduler_options made;
    made.engine = options.engine;
    made.queues = options.queues;
    made.buffers = options.buffers;
    made.make_engine = options.make_engine;
    made.virtual_time = options.virtual_time;
    made.reorder_ready = options.reorder_ready;
    return made;
}

}  // namespace

unsigned thread_count(const run_options& options) noexcept {
    if (options.threads != 0) return options.threads;
    cpu_set_t usable;
    if (::sched_getaffinity(0, sizeof usable, &usable) != 0) return 1;
    return static_cast<unsigned>(std::max(CPU_COUNT(&usable), 1));
}

void refuse_threads() {
    throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                            "run on several threads: function and arguments must be copyable, one "
                            "copy for each thread, and the result no reference");
}

root::root(const run_options& options)
    : scheduler_(scheduler_part(options)), context_(scheduler_) {
    context_.set_name("run");
}

root::root(const run_options& options, thread_group& group, unsigned index) : root(options) {
    group_ = &group;
    index_ = index;
    scheduler_.join(group);
}

void root::child_failed(std::exception_ptr failure) noexcept {
    if (group_ != nullptr) {
        group_->failed(std::move(failure));
    } else {
        failure_ = std::move(failure);
    }
}

void root::child_ended() noexcept {
    if (group_ != nullptr) {
        group_->ended();
    } else {
        done_ = true;
    }
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
