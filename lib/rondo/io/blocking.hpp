// Awaiting a call that blocks: it runs on a helper thread.
#pragma once

#include <rondo/detail/helper_pool.hpp>
#include <rondo/task/awaitable.hpp>
#include <rondo/task/event_loop.hpp>

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

class scheduler;

namespace detail {

class blocking_wait;

/// A call on its way to a helper thread and back, apart from who awaits it: an abandoned one lives
/// until it has returned.
class blocking_call : public posted_work {
public:
    /// Ends what the awaiting side has in it.
    void release() noexcept;

protected:
    blocking_call() noexcept : job_(*this) {}
    virtual ~blocking_call() = default;

    virtual void invoke() = 0;

    std::exception_ptr failure_;  // written by the helper, read when that has finished

private:
    friend blocking_wait;
    enum class phase { waiting, finished, abandoned };

    class job final : public helper_job {
    public:
        explicit job(blocking_call& call) noexcept : call_(&call) {}
        void run() noexcept override { call_->carry_out(); }

    private:
        blocking_call* call_;
    };

    void carry_out() noexcept;
    void run() noexcept override;

    // Set before it is submitted.
    job job_;
    blocking_wait* awaiting_ = nullptr;
    event_loop* loop_ = nullptr;
    // The loop's thread and the helper.
    std::atomic<phase> phase_ = phase::waiting;
    std::atomic<int> owners_ = 1;  // the awaiting side, and from its submission the helper's
};

/// The base of what is awaited.
class blocking_wait : public waiter {
public:
    explicit blocking_wait(blocking_call& call) noexcept : call_(&call) {}
    ~blocking_wait() { call_->release(); }

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        start(awaiting, context_at(awaiting, place));
    }
    std::string awaits() const override { return "a blocking call to return"; }

protected:
    /// Throws where there is no value.
    void throw_if_failed() const;

private:
    friend blocking_call;
    void start(std::coroutine_handle<> awaiting, context& where);
    void cancel() noexcept override;

    blocking_call* call_;
    bool cancelled_ = false;
};

template <typename T>
class blocking_call_for : public blocking_call {
public:
    std::optional<stored_t<T>> value;
};

template <typename Function, typename... Arguments>
using blocking_result_t = std::invoke_result_t<std::decay_t<Function>, std::decay_t<Arguments>...>;

template <typename Function, typename... Arguments>
class bound_call final : public blocking_call_for<blocking_result_t<Function, Arguments...>> {
public:
    template <typename F, typename... A>
    explicit bound_call(F&& function, A&&... arguments)
        : function_(std::forward<F>(function)), arguments_(std::forward<A>(arguments)...) {}

private:
    void invoke() override {
        using returned = blocking_result_t<Function, Arguments...>;
        const auto call = [this](Arguments&... each) -> returned {
            return std::invoke(std::move(function_), std::move(each)...);
        };
        if constexpr (std::is_void_v<returned>) {
            std::apply(call, arguments_);
            this->value.emplace();
        } else {
            this->value.emplace(std::apply(call, arguments_));
        }
    }

    Function function_;
    std::tuple<Arguments...> arguments_;
};

template <typename T>
class [[nodiscard]] blocking_operation final : public blocking_wait {
public:
    explicit blocking_operation(blocking_call_for<T>& call) noexcept
        : blocking_wait(call), call_(&call) {}

    T await_resume() {
        throw_if_failed();
        if constexpr (!std::is_void_v<T>) return std::move(*call_->value);
    }

private:
    blocking_call_for<T>* call_;
};

}  // namespace detail

/// Completes when `function(arguments...)`, called with copies on one of the scheduler's (up to 16)
/// helper threads, has returned; returns its value or throws its exception, or std::system_error
/// where no thread can be started. Cancelled, a call that has begun is abandoned: it goes on, maybe
/// beyond run(), and what it returns is destroyed on its thread; one that has not never does.
/// So it must refer to nothing the awaiting side owns, and to nothing of a scheduler (sockets).
template <typename Function, typename... Arguments>
    requires std::invocable<std::decay_t<Function>, std::decay_t<Arguments>...> &&
             (!std::is_reference_v<detail::blocking_result_t<Function, Arguments...>>)
auto blocking(Function&& function, Arguments&&... arguments) {
    using call = detail::bound_call<std::decay_t<Function>, std::decay_t<Arguments>...>;
    using returned = detail::blocking_result_t<Function, Arguments...>;
    return detail::blocking_operation<returned>(
        *new call(std::forward<Function>(function), std::forward<Arguments>(arguments)...));
}

}  // namespace rondo::inline v0
