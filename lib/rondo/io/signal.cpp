#include <rondo/detail/misuse.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/io/signal.hpp>
#include <rondo/io/thread_group.hpp>
#include <rondo/task/dump_tasks.hpp>

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace rondo::inline v0 {

namespace detail {

// Carries a signal to the loop of one interruption.
struct interruption::message final : posted_work {
    message(interruption& to, void (interruption::*act)() noexcept) : to_(&to), act_(act) {}
    void run() noexcept override;

    interruption* to_;  // null once it has ended
    void (interruption::*act_)() noexcept;
};

// What the handler and the loops share. It lives as long as the program, because a signal may be
// on its way while the last interruption ends. The handler knows one loop; there, where locks may
// be taken, the signal goes on to the others.
class interruption_relay {
public:
    void add(interruption& one);
    void remove(interruption& one) noexcept;

    std::atomic<event_loop*> loop = nullptr;  // any thread; null: no interruption is there
    std::atomic<int> signals = 0;             // since the first interruption began
    std::atomic<int> handlers = 0;            // running now
    std::atomic<int> dump_signal = 0;

    // Posted by the handler to the loop it knows.
    class order final : public posted_work {
    public:
        order(interruption_relay& of, void (interruption::*act)() noexcept)
            : relay_(&of), act_(act) {}
        void run() noexcept override {
            posted.store(false, std::memory_order_release);
            relay_->tell_all(act_);
        }
        std::atomic<bool> posted = false;  // in the loop's list

    private:
        interruption_relay* relay_;
        void (interruption::*act_)() noexcept;
    };
    order stop{*this, &interruption::begin};
    order dump{*this, &interruption::dump};

private:
    friend interruption::message;

    void tell_all(void (interruption::*act)() noexcept) noexcept;
    void take_signals(int dump_on);
    void give_signals_back() noexcept;

    std::mutex lock_;  // guards what follows
    intrusive_list<interruption> all_;
    bool stopping_ = false;
    struct sigaction previous_interrupt_ = {};
    struct sigaction previous_terminate_ = {};
    struct sigaction previous_dump_ = {};
};

namespace {

interruption_relay relay;

void on_signal(int number) {
    const int saved = errno;
    relay.handlers.fetch_add(1);
    event_loop* loop = relay.loop.load();
    if (number == relay.dump_signal.load()) {
        if (loop != nullptr && !relay.dump.posted.exchange(true)) loop->post(relay.dump);
    } else if (relay.signals.fetch_add(1) > 0 || loop == nullptr) {
        ::signal(number, SIG_DFL);
        ::raise(number);  // delivered when the handler returns
    } else if (!relay.stop.posted.exchange(true)) {
        // Lock-free and a write(2): both may be used in a handler, signal-safety(7).
        loop->post(relay.stop);
    }
    relay.handlers.fetch_sub(1);
    errno = saved;
}

}  // namespace

void interruption_relay::add(interruption& one) {
    const std::lock_guard lock(lock_);
    const bool first = all_.empty();
    for (const interruption& other : all_) {
        require(&other.loop() != &one.loop(), "two until_interrupted() at a time on one thread");
    }
    all_.push_back(one);
    if (first) {
        stopping_ = false;
        signals = 0;
        loop.store(&one.loop());
        take_signals(one.options_.dump_on);
    }
    // It may have come too late for the signal that others have got already; those of its own run
    // may have ended by that, or be through with what follows it.
    if (one.told_all_ ? *one.told_all_ : stopping_) one.begin();
}

void interruption_relay::remove(interruption& one) noexcept {
    const std::lock_guard lock(lock_);
    one.unlink();
    for (interruption::message* sent : one.under_way_) sent->to_ = nullptr;
    if (all_.empty()) give_signals_back();
    if (loop.load() != &one.loop()) return;
    // What the handler has posted to this loop runs there before the loop ends, at the latest in
    // its destructor; nothing more is posted.
    loop.store(all_.empty() ? nullptr : &all_.front().loop());
    while (handlers.load() != 0) std::this_thread::yield();  // one on another thread
}

void interruption_relay::tell_all(void (interruption::*act)() noexcept) noexcept {
    const std::lock_guard lock(lock_);
    if (act == &interruption::begin) stopping_ = true;
    for (interruption& one : all_) {
        if (stopping_ && one.told_all_) *one.told_all_ = true;
        auto* message = new interruption::message(one, act);
        one.under_way_.push_back(message);
        one.loop().post(*message);
    }
}

void interruption::message::run() noexcept {
    {
        const std::lock_guard lock(relay.lock_);
        if (to_ != nullptr) std::erase(to_->under_way_, this);
    }
    // This runs on its thread, so it does not end meanwhile.
    if (to_ != nullptr) (to_->*act_)();
    delete this;
}

void interruption_relay::take_signals(int dump_on) {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGINT, &action, &previous_interrupt_);
    ::sigaction(SIGTERM, &action, &previous_terminate_);
    dump_signal = dump_on;
    if (dump_on != 0) ::sigaction(dump_on, &action, &previous_dump_);
}

void interruption_relay::give_signals_back() noexcept {
    ::sigaction(SIGINT, &previous_interrupt_, nullptr);
    ::sigaction(SIGTERM, &previous_terminate_, nullptr);
    if (const int number = dump_signal.exchange(0)) ::sigaction(number, &previous_dump_, nullptr);
}

interruption::interruption(context& inside, graceful_stop& stop, const interrupt_options& options)
    : inside_(&inside), stop_(&stop), options_(options) {
    const scheduler& here = scheduler::of(inside);
    if (thread_group* const group = here.group()) {
        bool first = false;
        told_all_ = group->share<bool>(here, "until_interrupted", first,
                                       [] { return std::make_shared<bool>(false); });
    }
    relay.add(*this);
}

interruption::~interruption() {
    relay.remove(*this);
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

void interruption::dump() noexcept {
    // One write, so that those of several threads do not mix.
    const std::string text = dump_tasks(inside_->loop());
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

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

}  // namespace detail

int run_main(task<> work, const interrupt_options& options) {
    return detail::run_reporting([&] {
        run(until_interrupted(std::move(work), options));
        return 0;
    });
}

int run_main(task<int> work, const interrupt_options& options) {
    return detail::run_reporting([&] {
        const auto code = run(until_interrupted(std::move(work), options));
        return code.value_or(0);
    });
}

}  // namespace rondo::inline v0
