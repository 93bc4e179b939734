// What the server under load has used so far, as the kernel counts it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>

namespace load {

struct switches {
    std::uint64_t voluntary = 0;
    std::uint64_t involuntary = 0;
};

struct server_usage {
    double cpu_seconds = 0;  // of all its threads, those that have ended included
    std::map<pid_t, switches> threads;
};

class server_process {
public:
    // Throws where there is no such process.
    explicit server_process(pid_t process);

    // Throw where it is gone.
    double cpu_seconds() const;
    std::uint64_t resident_bytes() const;

    // Of the threads that live; some 20 us for each of them.
    std::map<pid_t, switches> thread_switches() const;

private:
    [[noreturn]] void is_gone() const;

    pid_t process_;
    clockid_t clock_ = 0;
};

// From one moment to a later one; of threads that ended in between nothing is known.
switches switches_between(const server_usage& before, const server_usage& after);

}  // namespace load
