#include "server_process.hpp"

#include <fmt/core.h>

#include <time.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <system_error>

namespace load {

namespace {

// The number behind `name` in a status file, proc_pid_status(5); 0 where there is none.
std::uint64_t status_value(const std::filesystem::path& status, const std::string& name) {
    std::ifstream file(status);
    for (std::string word; file >> word;) {
        std::uint64_t value = 0;
        if (word == name && file >> value) return value;
        file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    }
    return 0;
}

std::filesystem::path folder_of(pid_t process) {
    return "/proc/" + std::to_string(process);
}

}  // namespace

server_process::server_process(pid_t process) : process_(process) {
    if (::clock_getcpuclockid(process, &clock_) != 0) is_gone();
}

void server_process::is_gone() const {
    throw std::runtime_error(fmt::format("there is no process {} (--pid)", process_));
}

double server_process::cpu_seconds() const {
    timespec used{};
    if (::clock_gettime(clock_, &used) != 0) is_gone();
    return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

std::map<pid_t, switches> server_process::thread_switches() const {
    std::map<pid_t, switches> threads;
    std::error_code gone;
    for (const auto& thread :
         std::filesystem::directory_iterator(folder_of(process_) / "task", gone)) {
        switches& counted = threads[std::stoi(thread.path().filename())];
        counted.voluntary = status_value(thread.path() / "status", "voluntary_ctxt_switches:");
        counted.involuntary = status_value(thread.path() / "status", "nonvoluntary_ctxt_switches:");
    }
    return threads;
}

std::uint64_t server_process::resident_bytes() const {
    const std::uint64_t kibibytes = status_value(folder_of(process_) / "status", "VmRSS:");
    if (kibibytes == 0) is_gone();
    return kibibytes * 1024;
}

switches switches_between(const server_usage& before, const server_usage& after) {
    switches sum;
    for (const auto& [thread, now] : after.threads) {
        const auto earlier = before.threads.find(thread);
        const switches then = earlier == before.threads.end() ? switches{} : earlier->second;
        // A number that a new thread was given again has fewer.
        if (now.voluntary < then.voluntary || now.involuntary < then.involuntary) continue;
        sum.voluntary += now.voluntary - then.voluntary;
        sum.involuntary += now.involuntary - then.involuntary;
    }
    return sum;
}

}  // namespace load
