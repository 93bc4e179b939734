// What is measured: messages and their latencies, from the end of the warm-up on.
#pragma once

#include "histogram.hpp"
#include "options.hpp"
#include "server_process.hpp"

#include <rondo/task/timer.hpp>

#include <chrono>
#include <cstdint>
#include <optional>

namespace load {

using clock = rondo::clock;

class figures {
public:
    explicit figures(const options& chosen) : is_open_(chosen.rate > 0) {
        if (chosen.pid != 0) server_.emplace(chosen.pid);
    }

    // Reads what the server's threads have switched so far; takes a while where they are many.
    void prepare();
    // The warm-up is over: what was counted so far is forgotten.
    void begin();
    void end();
    bool has_begun() const noexcept { return begun_; }
    bool has_ended() const noexcept { return ended_; }

    // One message came back at `now` that was to be sent at `intended`. By a schedule, latency is
    // that of the messages due in the measured time, all of them and no others: what the warm-up
    // has left behind would stand at the slow end, one burst of it for many seconds.
    void count(clock::time_point now, clock::time_point intended) noexcept {
        if (!is_open_ || intended >= begin_)
            latencies.add(static_cast<std::uint64_t>((now - intended).count()));
        ++messages;
    }
    // Those of `schedule` that were not back at the end count as what they had waited so far.
    template <typename Schedule>
    void count_overdue(const Schedule& schedule) {
        schedule.each_overdue(begin_, end_, [this](clock::duration waited, std::uint64_t alike) {
            add_overdue(waited, alike);
        });
    }
    // The same for one of several who get its messages, and whose next is number `next`.
    template <typename Schedule>
    void count_overdue(const Schedule& schedule, std::uint64_t next) {
        schedule.each_overdue(next, begin_, end_,
                              [this](clock::duration waited, std::uint64_t alike) {
                                  add_overdue(waited, alike);
                              });
    }
    // It is sent now.
    void note_sending(clock::time_point now, clock::time_point intended) noexcept {
        if (intended >= begin_ && now - intended > std::chrono::milliseconds(1)) ++behind;
    }

    const std::optional<server_process>& server() const noexcept { return server_; }
    double seconds() const noexcept;
    double own_cpu() const noexcept { return own_cpu_; }
    // Nothing where there is no --pid.
    const server_usage& server_before() const noexcept { return before_; }
    const server_usage& server_after() const noexcept { return after_; }
    std::uint64_t server_bytes() const noexcept { return server_bytes_; }  // resident, at the end

    histogram latencies;           // nanoseconds
    std::uint64_t messages = 0;    // that came back
    std::uint64_t behind = 0;      // sent later than 1 ms after their time
    std::uint64_t lost = 0;        // datagrams, or lines that a chat has dropped
    std::uint64_t unanswered = 0;  // were to be sent, and were not back at the end
    std::optional<double> idle_bytes_per_connection;

private:
    static double cpu_so_far() noexcept;
    void add_overdue(clock::duration waited, std::uint64_t alike) noexcept {
        latencies.add(static_cast<std::uint64_t>(waited.count()), alike);
        unanswered += alike;
    }

    std::optional<server_process> server_;
    server_usage before_;
    server_usage after_;
    std::uint64_t server_bytes_ = 0;
    clock::time_point begin_;
    clock::time_point end_;
    double own_cpu_ = 0;
    bool is_open_;
    bool begun_ = false;
    bool ended_ = false;
};

static_assert(clock::period::den == std::nano::den);

}  // namespace load
