// The outcome of an operation as a value instead of an exception.
#pragma once

#include <rondo/task/awaitable.hpp>

#include <concepts>
#include <coroutine>
#include <exception>
#include <optional>
#include <source_location>
#include <system_error>
#include <type_traits>
#include <utility>

namespace rondo::inline v0 {

namespace detail {
/// Throws what the operation itself would have: a cancellation stays an operation_canceled, by
/// which scopes and time-outs know it.
[[noreturn]] void throw_error(const std::error_code& error);
}  // namespace detail

/// A value of type T, or the error that stands in its place.
template <typename T>
class [[nodiscard]] result {
public:
    using value_type = T;

    explicit result(std::error_code error, std::exception_ptr cause = nullptr) noexcept
        : error_(error), cause_(std::move(cause)) {}
    template <typename... Arguments>
    explicit result(std::in_place_t, Arguments&&... arguments)
        : value_(std::in_place, std::forward<Arguments>(arguments)...) {}

    explicit operator bool() const noexcept { return value_.has_value(); }
    bool has_value() const noexcept { return value_.has_value(); }

    /// What went wrong; a zero code when there is a value.
    std::error_code error() const noexcept { return error_; }

    /// The value; throws the error when there is none, a cancellation as operation_canceled.
    detail::stored_t<T>& value() & {
        throw_if_failed();
        return *value_;
    }
    detail::stored_t<T>&& value() && {
        throw_if_failed();
        return std::move(*value_);
    }

    /// Undefined when there is no value.
    detail::stored_t<T>& operator*() & noexcept { return *value_; }
    detail::stored_t<T>&& operator*() && noexcept { return std::move(*value_); }
    detail::stored_t<T>* operator->() noexcept { return &*value_; }

private:
    void throw_if_failed() const {
        if (value_) return;
        if (cause_) std::rethrow_exception(cause_);
        detail::throw_error(error_);
    }

    std::error_code error_;
    std::exception_ptr cause_;
    std::optional<detail::stored_t<T>> value_;
};

namespace detail {

/// A single operation that tells how it went without throwing.
template <typename A>
concept fallible_operation = requires(std::remove_reference_t<A>& a) {
    { a.error() } -> std::same_as<std::error_code>;
    a.await_resume();
};

template <fallible_operation A>
class [[nodiscard]] result_awaiter {
public:
    using value_type = await_result_t<A>;
    explicit result_awaiter(A& operation) noexcept : operation_(&operation) {}

    bool await_ready() { return operation_->await_ready(); }
    template <has_context Promise>
    auto await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        if constexpr (requires { operation_->await_suspend(awaiting, place); }) {
            return operation_->await_suspend(awaiting, place);
        } else {
            return operation_->await_suspend(awaiting);
        }
    }
    result<value_type> await_resume() {
        if (const std::error_code failed = operation_->error()) return result<value_type>(failed);
        if constexpr (std::is_void_v<value_type>) {
            operation_->await_resume();
            return result<value_type>(std::in_place);
        } else {
            return result<value_type>(std::in_place, operation_->await_resume());
        }
    }

private:
    A* operation_;
};

/// The system_error in `failure` as a code, or rethrows what is none.
std::error_code error_of(const std::exception_ptr& failure);

}  // namespace detail

/// A single operation's outcome as a value: `auto n = co_await as_result(peer.recv(buffer));`.
/// Completes when the operation does; no exception is thrown on the way, of a cancellation neither.
/// The operation lives until the end of the full expression.
template <detail::fallible_operation A>
detail::result_awaiter<A> as_result(A&& operation) noexcept
    requires std::is_rvalue_reference_v<A&&>
{
    return detail::result_awaiter<A>(operation);
}

/// Completes when compound work does: a std::system_error thrown inside is caught here and becomes
/// the error, a cancellation's, too; value() throws it as it was. Any other exception passes.
template <awaitable A>
    requires(!detail::fallible_operation<A>)
task<result<await_result_t<A>>> as_result(A&& operation) {
    using outcome = result<await_result_t<A>>;
    context& here = co_await this_context();
    auto&& inner = detail::as_task(std::forward<A>(operation));
    std::exception_ptr failure = co_await inner.settle(here);
    if (failure) {
        const std::error_code code = detail::error_of(failure);
        co_return outcome(code, std::move(failure));
    }
    if constexpr (std::is_void_v<await_result_t<A>>) {
        co_return outcome(std::in_place);
    } else {
        co_return outcome(std::in_place, inner.take());
    }
}

}  // namespace rondo::inline v0
