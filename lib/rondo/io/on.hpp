// Running a task on another thread's scheduler and having its outcome here.
#pragma once

#include <rondo/io/scheduler.hpp>
#include <rondo/task/awaitable.hpp>
#include <rondo/task/child.hpp>
#include <rondo/task/task.hpp>

#include <atomic>
#include <concepts>
#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

/// A task on its way to another loop and back. It lives in a frame here; over there it owns a
/// context and a child. Whatever has been posted there counts as a reason to stay, and the last
/// one to be done over there posts the way back: so this is not gone before all of it has run.
class [[nodiscard]] journey : public waiter {
public:
    explicit journey(scheduler& there) noexcept : there_(&there) {}

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        depart(awaiting, context_at(awaiting, place));
    }
    /// The failure, or null. A task that was cancelled before it set out fails by that.
    std::exception_ptr await_resume() noexcept { return std::move(failure_); }
    std::string awaits() const override { return "a task on another thread"; }

    // For child<journey>, over there.
    context& scope() noexcept { return *context_; }
    void child_failed(std::exception_ptr failure) noexcept { failure_ = std::move(failure); }
    void child_ended() noexcept { leave(); }

protected:
    ~journey() = default;

    /// Over there: starts the child.
    virtual void begin() = 0;

private:
    struct way_there final : posted_work {
        explicit way_there(journey& of) noexcept : of_(&of) {}
        void run() noexcept override { of_->arrived(); }
        journey* of_;
    };
    struct cancel_order final : posted_work {
        explicit cancel_order(journey& of) noexcept : of_(&of) {}
        void run() noexcept override { of_->cancelled_there(); }
        journey* of_;
    };
    struct way_back final : posted_work {
        explicit way_back(journey& of) noexcept : of_(&of) {}
        void run() noexcept override { of_->where().loop().make_ready(*of_); }
        journey* of_;
    };

    void depart(std::coroutine_handle<> awaiting, context& where);
    void arrived() noexcept;
    void cancelled_there() noexcept;
    void leave() noexcept;
    void cancel() noexcept override;

    scheduler* there_;
    std::optional<context> context_;  // over there
    std::exception_ptr failure_;
    std::atomic<unsigned> reasons_to_stay_ = 0;
    way_there way_there_{*this};
    cancel_order cancel_order_{*this};
    way_back way_back_{*this};
};

template <typename T>
class remote_call final : public journey {
public:
    remote_call(scheduler& there, std::function<task<T>()> begun_by)
        : journey(there), start(std::move(begun_by)) {}

    std::function<task<T>()> start;  // called over there
    std::optional<stored_t<T>> value;

private:
    void begin() override;
};

/// Over there.
template <typename T>
child<journey> run_abroad(journey& owner, remote_call<T>& call) {
    auto work = call.start();
    context& here = co_await this_context();
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) {
        owner.child_failed(std::move(failure));
    } else if constexpr (std::is_void_v<T>) {
        call.value.emplace();
    } else {
        call.value.emplace(work.take());
    }
}

template <typename T>
void remote_call<T>::begin() {
    run_abroad(static_cast<journey&>(*this), *this).start();
}

template <typename Function, typename... Arguments>
task<typename std::invoke_result_t<Function&, Arguments...>::value_type> call_on(
    scheduler& there, Function function, std::tuple<Arguments...> arguments) {
    using result = typename std::invoke_result_t<Function&, Arguments...>::value_type;
    const auto start = [&] {
        return std::apply(
            [&](Arguments&... each) { return std::invoke(function, std::move(each)...); },
            arguments);
    };
    remote_call<result> call(there, start);
    journey& there_and_back = call;
    std::exception_ptr failure = co_await there_and_back;
    if (failure) std::rethrow_exception(std::move(failure));
    if constexpr (!std::is_void_v<result>) co_return std::move(*call.value);
}

}  // namespace detail

/// Runs the task that `function(arguments...)` returns on another scheduler, as a child of the
/// awaiting task: completes when it has ended there; returns its value or throws what it threw.
/// Called over there, with copies that are destroyed here. Cancelled, it cancels the task there and
/// waits for it; what happened wins. `there` must live until it completes: the schedulers of one
/// run() (scheduler::siblings()) do.
template <typename Function, typename... Arguments>
    requires std::invocable<std::decay_t<Function>&, std::decay_t<Arguments>...>
auto on(scheduler& there, Function&& function, Arguments&&... arguments) {
    return detail::call_on<std::decay_t<Function>, std::decay_t<Arguments>...>(
        there, std::forward<Function>(function),
        std::tuple<std::decay_t<Arguments>...>(std::forward<Arguments>(arguments)...));
}

}  // namespace rondo::inline v0
