#include <soak/usage.hpp>

#include <malloc.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace soak {

namespace {

std::size_t resident_bytes() {
    std::ifstream status("/proc/self/status");
    const std::string field = "RssAnon:";
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(field)) return std::stoull(line.substr(field.size())) * 1024;
    }
    throw std::runtime_error("/proc/self/status tells no RssAnon");
}

}  // namespace

void usage::add(const rondo::scheduler_stats& of_one) noexcept {
    tasks += of_one.live_tasks;
    timers += of_one.timers;
    buffers += of_one.buffers_held;
}

bool usage::same_objects(const usage& other) const noexcept {
    return descriptors == other.descriptors && tasks == other.tasks && timers == other.timers &&
           buffers == other.buffers;
}

usage process_usage() {
    usage now;
    const struct mallinfo2 heap = ::mallinfo2();
    now.allocated = heap.uordblks + heap.hblkhd;
    now.resident = resident_bytes();
    // The listing has a descriptor itself.
    const std::filesystem::directory_iterator open("/proc/self/fd");
    now.descriptors = static_cast<std::size_t>(std::distance(begin(open), end(open))) - 1;
    return now;
}

}  // namespace soak
