// One await of a program: the ways to make it, and its judgement.
#pragma once

#include <fuzz/scheduler/verdict.hpp>

#include <rondo/task/result.hpp>
#include <rondo/task/task.hpp>
#include <rondo/task/with_timeout.hpp>

#include <cstdint>
#include <exception>
#include <utility>

namespace rondo::fuzz {

/// The ways to receive.
enum class receiving : std::uint8_t { whole, timed, as_value };

/// Awaits what `make` returns.
template <typename Make, typename Got>
task<> receive_by(receiving how, milliseconds limit, Make make, Got& got) {
    if (how == receiving::timed) {
        got = co_await with_timeout(limit, make());
    } else if (how == receiving::as_value) {
        auto outcome = co_await as_result(make());
        got = std::move(outcome.value());
    } else {
        got = co_await make();
    }
}

/// `work` awaits one thing. Throws what it throws.
inline task<> judged(task<>& work, verdict& ended) {
    context& here = co_await this_context();
    std::exception_ptr failure = co_await work.settle(here);
    if (!failure) {
        ended.succeeded();
        co_return;
    }
    ended.failed(failure);
    std::rethrow_exception(std::move(failure));
}

}  // namespace rondo::fuzz
