#include <seeds/scenarios.hpp>

namespace rondo::test {

namespace {

constexpr scenario drawn[] = {
    {"echo", echo_scenario, true},
    {"chat", chat_scenario, true},
    {"cancel", cancel_scenario, true},
    {"unix_datagrams", unix_datagram_scenario, true},
    {"answers", answer_scenario, true},
    {"finish", finish_scenario, true},
    {"descriptors", descriptor_scenario, true},
    {"file", file_scenario, true},
    {"serve", serve_scenario, true},
    {"udp", udp_scenario, false},
    {"tcp", tcp_scenario, false},
    {"names", names_scenario, false},
    {"threads", thread_scenario, false, false},
};
constexpr scenario planted[] = {
    {"planted_byte", planted_byte_scenario, true},
    {"planted_order", planted_order_scenario, true},
};
// For --every-fault: its file is on a disk, and takes as long.
constexpr scenario cold_file{"cold_file", cold_file_scenario, false};

}  // namespace

std::span<const scenario> scenarios() noexcept { return drawn; }
std::span<const scenario> planted_scenarios() noexcept { return planted; }

const scenario* find_scenario(std::string_view name) noexcept {
    for (const scenario& each : drawn) {
        if (each.name == name) return &each;
    }
    for (const scenario& each : planted) {
        if (each.name == name) return &each;
    }
    return name == cold_file.name ? &cold_file : nullptr;
}

}  // namespace rondo::test
