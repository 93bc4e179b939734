#include <rondo/detail/misuse.hpp>
#include <rondo/io/signal.hpp>

#include <errno.h>
#include <signal.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <thread>

namespace rondo::inline v0 {

namespace {

// What the handler and the loop share. It lives as long as the program, because a signal may be
// on its way while its interruption ends.
class signal_relay final : public posted_work {
public:
    void run() noexcept override {
        posted.store(false, std::memory_order_release);
        if (current != nullptr) current->begin();
    }

    detail::interruption* current = nullptr;       // the loop's thread
    std::atomic<event_loop*> loop = nullptr;       // any thread; null: no interruption is there
    std::atomic<bool> posted = false;              // in the loop's list
    std::atomic<int> signals = 0;                  // since the interruption began
    std::atomic<int> handlers = 0;                 // running now
};

signal_relay relay;
struct sigaction previous_interrupt;
struct sigaction previous_terminate;

void on_signal(int number) {
    const int saved = errno;
    relay.handlers.fetch_add(1);
    event_loop* loop = relay.loop.load();
    if (relay.signals.fetch_add(1) > 0 || loop == nullptr) {
        ::signal(number, SIG_DFL);
        ::raise(number);  // delivered when the handler returns
    } else if (!relay.posted.exchange(true)) {
        // Lock-free and a write(2): both may be used in a handler, signal-safety(7).
        loop->post(relay);
    }
    relay.handlers.fetch_sub(1);
    errno = saved;
}

}  // namespace

namespace detail {

interruption::interruption(context& inside, graceful_stop& stop, const interrupt_options& options)
    : inside_(&inside), stop_(&stop), options_(options) {
    require(relay.current == nullptr, "two until_interrupted() at a time in one process");
    relay.current = this;
    relay.signals = 0;
    relay.loop.store(&inside.loop());
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGINT, &action, &previous_interrupt);
    ::sigaction(SIGTERM, &action, &previous_terminate);
}

interruption::~interruption() {
    ::sigaction(SIGINT, &previous_interrupt, nullptr);
    ::sigaction(SIGTERM, &previous_terminate, nullptr);
    relay.loop.store(nullptr);
    while (relay.handlers.load() != 0) std::this_thread::yield();  // one on another thread
    relay.current = nullptr;
    if (armed()) inside_->loop().disarm(*this);
}

void interruption::begin() noexcept {
    if (happened_) return;
    happened_ = true;
    if (stop_->request()) {
        inside_->loop().arm(*this, inside_->loop().now() + options_.drain);
    } else {
        inside_->cancel();
    }
}

}  // namespace detail

namespace {

int run_reporting(const std::function<int()>& program) {
    try {
        return program();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, failure.what());
    } catch (...) {
        std::fprintf(stderr, "%s: failed with an exception that is no std::exception\n",
                     program_invocation_short_name);
    }
    return 1;
}

}  // namespace

int run_main(task<> work, const interrupt_options& options) {
    return run_reporting([&] {
        run(until_interrupted(std::move(work), options));
        return 0;
    });
}

int run_main(task<int> work, const interrupt_options& options) {
    return run_reporting([&] {
        const auto code = run(until_interrupted(std::move(work), options));
        return code.value_or(0);
    });
}

}  // namespace rondo::inline v0
