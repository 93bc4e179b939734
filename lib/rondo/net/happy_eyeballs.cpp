#include <rondo/net/happy_eyeballs.hpp>
#include <rondo/net/resolver.hpp>
#include <rondo/net/socket_error.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>

#include <fmt/format.h>

#include <cstddef>
#include <functional>
#include <tuple>
#include <utility>

namespace rondo::inline v0 {

namespace {

using attempt = connect_error::attempt;

ip_version version_of(const endpoint& each) noexcept {
    return each.address().is_v4() ? ip_version::v4 : ip_version::v6;
}

// What the attempts at one connection share.
struct race {
    std::vector<endpoint> candidates;
    clock::duration delay;
    std::optional<tcp_socket> winner = {};
    std::vector<std::optional<attempt>> failures = {};  // one for each candidate
    cancel_scope* pause = nullptr;                      // before the next attempt
};

task<> connect_to(race& all, task_group& others, std::size_t index) {
    attempt failed{all.candidates[index], "connect", {}};
    try {
        tcp_socket made(version_of(failed.remote));
        const auto tried = co_await as_result(made.connect(failed.remote));
        if (tried) {
            // Two may connect in one turn; the second one is closed.
            if (!all.winner) all.winner = std::move(made);
            others.cancel();
            co_return;
        }
        failed.error = tried.error();
    } catch (const socket_error& refused) {
        failed.verb = "socket";
        failed.error = refused.code();
    }
    if (failed.error == std::errc::operation_canceled) detail::throw_canceled();
    all.failures[index] = failed;
    if (all.pause != nullptr) all.pause->cancel();
}

// Ends early when an attempt fails.
task<> wait_for_next(race& all) {
    cancel_scope pause;
    all.pause = &pause;
    std::ignore = co_await as_result(pause.run(sleep_for(all.delay)));
    all.pause = nullptr;
    context& here = co_await this_context();
    if (here.cancelled()) detail::throw_canceled();
}

task<> start_attempts(race& all, task_group& group) {
    for (std::size_t i = 0; i != all.candidates.size(); ++i) {
        if (i != 0) co_await wait_for_next(all);
        group.spawn(connect_to, std::ref(all), std::ref(group), i);
    }
}

void check(const connect_options& options) {
    using std::chrono::milliseconds;
    if (options.attempt_delay >= milliseconds(10) && options.attempt_delay <= milliseconds(2000)) {
        return;
    }
    const auto given = std::chrono::duration_cast<milliseconds>(options.attempt_delay);
    throw argument_error(fmt::format("connect: the delay between two attempts is {} ms, but has to "
                                     "be from 10 ms to 2000 ms",
                                     given.count()));
}

}  // namespace

std::vector<endpoint> connect_order(const std::vector<endpoint>& candidates) {
    std::vector<endpoint> ordered;
    std::size_t next[2] = {0, 0};  // of the first one's version, and of the other
    const auto find = [&](std::size_t from, bool other) {
        const ip_version first = version_of(candidates.front());
        while (from != candidates.size() && (version_of(candidates[from]) != first) != other) {
            ++from;
        }
        return from;
    };
    for (bool other = false; ordered.size() != candidates.size(); other = !other) {
        const std::size_t found = find(next[other], other);
        if (found == candidates.size()) continue;
        ordered.push_back(candidates[found]);
        next[other] = found + 1;
    }
    return ordered;
}

task<tcp_socket> tcp_connect(std::vector<endpoint> candidates, connect_options options) {
    check(options);
    if (candidates.empty()) throw argument_error("connect: there is no endpoint to connect to");
    if (candidates.size() == 1) {
        tcp_socket made = co_await tcp_connect(candidates.front());
        co_return made;
    }
    race all{connect_order(candidates), options.attempt_delay};
    all.failures.resize(candidates.size());
    auto ended = co_await as_result(with_task_group(
        [&all](task_group& group) -> task<> { co_await start_attempts(all, group); }));
    // What happened wins: a connection stands, also when all this was cancelled meanwhile.
    if (all.winner) co_return std::move(*all.winner);
    ended.value();
    std::vector<attempt> attempts;
    for (const auto& each : all.failures) attempts.push_back(each.value());
    throw connect_error(attempts);
}

task<tcp_socket> tcp_connect(std::string host_port, connect_options options) {
    auto name = detail::parse_name(host_port, "connect");
    const resolve_options wanted{options.version};
    auto found = co_await detail::resolve_name(std::move(name), wanted);
    tcp_socket made = co_await tcp_connect(std::move(found), options);
    co_return made;
}

}  // namespace rondo::inline v0
