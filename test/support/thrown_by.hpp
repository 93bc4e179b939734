// What an awaited operation throws, as a value.
#pragma once

#include <rondo/task/awaitable.hpp>

#include <system_error>
#include <utility>

namespace rondo::test {

/// The code of the std::system_error that `operation` throws; none when it completes.
template <awaitable A>
task<std::error_code> thrown_by(A&& operation) {
    try {
        auto&& inner = detail::as_task(std::forward<A>(operation));
        static_cast<void>(co_await std::move(inner));
    } catch (const std::system_error& error) {
        co_return error.code();
    }
    co_return std::error_code();
}

}  // namespace rondo::test
