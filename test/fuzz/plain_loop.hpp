// A loop without engine and time, for what awaits neither.
#pragma once

#include <fuzz/fuzz.hpp>

#include <rondo/task/child.hpp>
#include <rondo/task/context.hpp>
#include <rondo/task/event_loop.hpp>
#include <rondo/task/task.hpp>

#include <exception>
#include <utility>

namespace rondo::fuzz {

class plain_loop final : public event_loop {
public:
    /// To its end; what it throws is a finding.
    void run(task<> work) {
        owner all(*this);
        drive(all, work).start();
        while (!ready_.empty()) resume_ready();
        check(all.ended, "a task waits for what never comes");
        if (all.failure) std::rethrow_exception(all.failure);
    }

    void arm(timer&, clock::time_point) override { fail("a timer where there is no time"); }
    void disarm(timer&) noexcept override { fail("a timer where there is no time"); }
    clock::time_point now() noexcept override { return {}; }
    void post(posted_work&) noexcept override { fail("work of another thread"); }

private:
    struct owner {
        explicit owner(event_loop& loop) noexcept : root(loop) {}
        context& scope() noexcept { return root; }
        void child_failed(std::exception_ptr why) noexcept { failure = std::move(why); }
        void child_ended() noexcept { ended = true; }

        context root;
        std::exception_ptr failure;
        bool ended = false;
    };

    static detail::child<owner> drive(owner& all, task<>& work) {
        context& here = co_await this_context();
        std::exception_ptr failure = co_await work.settle(here);
        if (failure) all.child_failed(std::move(failure));
    }
};

}  // namespace rondo::fuzz
