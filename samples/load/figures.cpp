#include "figures.hpp"

#include <time.h>

namespace load {

double figures::cpu_so_far() noexcept {
    timespec used{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

void figures::prepare() {
    if (server_) before_.threads = server_->thread_switches();
}

void figures::begin() {
    latencies = histogram();
    messages = behind = lost = 0;
    begun_ = true;
    if (server_) before_.cpu_seconds = server_->cpu_seconds();
    own_cpu_ = -cpu_so_far();
    begin_ = clock::now();
}

void figures::end() {
    end_ = clock::now();
    own_cpu_ += cpu_so_far();
    if (server_) {
        after_.cpu_seconds = server_->cpu_seconds();
        after_.threads = server_->thread_switches();
        server_bytes_ = server_->resident_bytes();
    }
    ended_ = true;
}

double figures::seconds() const noexcept {
    return std::chrono::duration<double>(end_ - begin_).count();
}

}  // namespace load
