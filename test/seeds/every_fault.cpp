#include <seeds/every_fault.hpp>

#include <seeds/one_run.hpp>
#include <seeds/scenarios.hpp>
#include <seeds/settings.hpp>

#include <rondo/testing/kernel_errors.hpp>

#include <fmt/format.h>

#include <linux/io_uring.h>
#include <string.h>

#include <string>

namespace rondo::test {

using testing::fault;
using testing::fault_plan;

namespace {

std::vector<operation_kind> make_operation_kinds() {
    using enum fault;
    const auto by = [](const char* name) { return find_scenario(name); };
    return {
        {IORING_OP_ACCEPT, "ACCEPT", by("tcp"),
         {interrupted_request, out_of_memory, accept_error, early_end, held_completion}},
        {IORING_OP_CONNECT, "CONNECT", by("tcp"), {held_completion}},
        {IORING_OP_RECV, "RECV", by("echo"),
         {short_receive, interrupted_request, out_of_memory, no_buffers, early_end,
          held_completion}},
        {IORING_OP_RECVMSG, "RECVMSG", by("udp"),
         {interrupted_request, out_of_memory, no_buffers, early_end, held_completion}},
        {IORING_OP_SEND, "SEND", by("echo"),
         {short_send, interrupted_request, out_of_memory, held_completion}},
        {IORING_OP_SENDMSG, "SENDMSG", by("echo"),
         {short_send, interrupted_request, out_of_memory, held_completion}},
        // Of datagrams: several that leave together go through the engine, not by a plain call.
        {IORING_OP_SEND, "SEND", by("answers"),
         {would_block, interrupted_request, out_of_memory, held_completion}},
        {IORING_OP_SENDMSG, "SENDMSG", by("answers"),
         {would_block, interrupted_request, out_of_memory, held_completion}},
        {IORING_OP_SEND_ZC, "SEND_ZC", by("tcp"),
         {short_send, interrupted_request, out_of_memory, held_completion, late_notification,
          notified_error}},
        {IORING_OP_POLL_ADD, "POLL_ADD", by("file"),
         {out_of_memory, early_end, spurious_readiness}},
        {IORING_OP_POLL_ADD, "POLL_ADD", by("threads"),
         {out_of_memory, early_end, held_completion, spurious_readiness}},
        {IORING_OP_READ, "READ", by("file"), {short_receive, interrupted_request, held_completion}},
        {IORING_OP_WRITE, "WRITE", by("file"), {short_send, interrupted_request, held_completion}},
        {IORING_OP_OPENAT, "OPENAT", by("file"), {interrupted_request, held_completion}},
        {IORING_OP_FSYNC, "FSYNC", by("file"), {held_completion}},
        {IORING_OP_CLOSE, "CLOSE", by("file"), {held_completion}},
        {IORING_OP_FADVISE, "FADVISE", by("cold_file"), {held_completion}},
        {IORING_OP_NOP, "NOP", by("file"), {held_completion}},
        {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL", by("cancel"), {late_cancel, cancel_already}},
    };
}

/// Plays until the rule has struck; the run must pass with and without it.
bool strikes_and_passes(const operation_kind& on, const fault_plan::rule& wanted, bool uring,
                        unsigned& runs) {
    const std::string what = fmt::format("{} {} {}", on.name, to_string(wanted.kind),
                                         wanted.error != 0 ? ::strerrorname_np(wanted.error) : "");
    settings replay;
    replay.uring = uring;
    replay.only = on.used_by;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        fault_plan::rule rule = wanted;
        // Also those further on: the first poll is the loop's own, the first receive is idle.
        rule.nth = 1 + static_cast<unsigned>(seed) % 4;
        replay.first = replay.last = seed;
        replay.rule = rule;
        const std::string command = command_of(replay);
        const outcome got =
            play_once(*on.used_by, uring, seed, conditions_under(rule, seed), command);
        ++runs;
        if (!got.failure.empty()) {
            fmt::print("FAILED {} at entry {}, scenario {} seed {}: {}\n  faults: {}\n"
                       "  replay: {}\n",
                       what, rule.nth, on.used_by->name, seed, got.failure, got.faults, command);
            return false;
        }
        if (got.injected[static_cast<std::size_t>(rule.kind)] != 0) return true;
    }
    fmt::print("FAILED {}: never injected\n", what);
    return false;
}

}  // namespace

const std::vector<operation_kind>& operation_kinds() {
    static const std::vector<operation_kind> all = make_operation_kinds();
    return all;
}

const operation_kind* find_operation(std::uint8_t opcode) noexcept {
    for (const operation_kind& each : operation_kinds()) {
        if (each.opcode == opcode) return &each;
    }
    return nullptr;
}

const operation_kind* find_operation(std::string_view name) noexcept {
    for (const operation_kind& each : operation_kinds()) {
        if (each.name == name) return &each;
    }
    return nullptr;
}

int every_fault(bool uring) {
    bool all = true;
    unsigned pairs = 0;
    unsigned runs = 0;
    for (const operation_kind& on : operation_kinds()) {
        if (!uring && on.opcode == IORING_OP_SEND_ZC) continue;  // epoll has none such
        for (const fault kind : on.kinds) {
            ++pairs;
            all = strikes_and_passes(on, {on.opcode, 1, kind, 0}, uring, runs) && all;
        }
        for (const int error : testing::kernel_errors(on.opcode)) {
            ++pairs;
            all = strikes_and_passes(on, {on.opcode, 1, fault::error, error}, uring, runs) && all;
        }
    }
    fmt::print("{} pairs of an operation and what the kernel answers it, {} runs: {}\n", pairs,
               runs, all ? "all survived" : "see above");
    return all ? 0 : 1;
}

}  // namespace rondo::test
