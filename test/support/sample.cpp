#include <support/sample.hpp>

#include <time.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace rondo::test {

namespace {

std::vector<std::string> joined(const std::string& name, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), sample(name));
    return arguments;
}

}  // namespace

std::string sample(const std::string& name) { return RONDO_SAMPLES_DIR "/" + name; }

bool installed(const std::string& tool) {
    return run_program({"sh", "-c", "command -v " + tool}).exit_code == 0;
}

std::size_t open_descriptors(pid_t process) {
    const std::filesystem::directory_iterator entries("/proc/" + std::to_string(process) + "/fd");
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

bool comes_to_descriptors(pid_t process, std::size_t count) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (open_descriptors(process) != count) {
        if (std::chrono::steady_clock::now() > give_up) return false;
        std::this_thread::yield();
    }
    return true;
}

bool comes_to_take(pid_t process, int signal) {
    const auto pending = [&] {
        std::ifstream status("/proc/" + std::to_string(process) + "/status");
        const std::string field = "ShdPnd:";
        for (std::string line; std::getline(status, line);) {
            if (!line.starts_with(field)) continue;
            return (std::stoull(line.substr(field.size()), nullptr, 16) >> (signal - 1) & 1) != 0;
        }
        throw std::runtime_error("the pending signals of the program cannot be read");
    };
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (pending()) {
        if (std::chrono::steady_clock::now() > give_up) return false;
        std::this_thread::yield();
    }
    return true;
}

std::chrono::nanoseconds processor_time(pid_t process) {
    clockid_t clock{};
    timespec used{};
    if (::clock_getcpuclockid(process, &clock) != 0 || ::clock_gettime(clock, &used) != 0) {
        throw std::runtime_error("the processor time of the program cannot be read");
    }
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

sample_server::sample_server(const std::string& name, const std::vector<std::string>& arguments,
                             std::size_t count)
    : process(joined(name, arguments)) {
    read_addresses(count);
}

sample_server::sample_server(const std::vector<std::string>& command, std::size_t count)
    : process(command) {
    read_addresses(count);
}

void sample_server::read_addresses(std::size_t count) {
    const std::string start = "listening on ";
    while (addresses.size() < count) {
        const std::string line = process.read_line();
        if (!line.starts_with(start)) throw std::runtime_error("not an address: " + line);
        addresses.push_back(line.substr(start.size()));
    }
    where = addresses.front();
    port = where.substr(where.rfind(':') + 1);
}

outcome sample_server::stop(int signal) {
    process.signal(signal);
    return process.finish();
}

}  // namespace rondo::test
