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
        {IORING_OP_RECVMSG, "RECVMSG", by("descriptors"),
         {short_receive, interrupted_request, out_of_memory, control_cut, held_completion}},
        {IORING_OP_SEND, "SEND", by("echo"),
         {short_send, interrupted_request, out_of_memory, held_completion}},
        {IORING_OP_SENDMSG, "SENDMSG", by("echo"),
         {short_send, interrupted_request, out_of_memory, held_completion}},
        // Of datagrams: several that leave together go through the engine, not by a plain call.
        {IORING_OP_SEND, "SEND", by("answers"),
         {would_block, interrupted_request, out_of_memory, held_completion}},
        {IORING_OP_SENDMSG, "SENDMSG", by("descriptors"),
         {short_send, interrupted_request, out_of_memory, held_completion}},
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

/// Of one operation or call.
struct tried {
    bool all_passed = true;
    unsigned pairs = 0;
    unsigned runs = 0;
};

bool has_struck(const settings& one, const outcome& got) {
    if (one.plain) return got.injected_past_engine != 0;
    return got.injected[static_cast<std::size_t>(one.rule->kind)] != 0;
}

/// Plays until the rule of `one` has struck; the run must pass with and without it.
bool strikes_and_passes(settings one, const std::string& what, tried& so_far) {
    ++so_far.pairs;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        one.first = one.last = seed;
        // Also those further on: the first poll is the loop's own, the first receive is idle.
        const unsigned nth = 1 + static_cast<unsigned>(seed) % 4;
        (one.plain ? one.plain->nth : one.rule->nth) = nth;
        const outcome got = play_one(one);
        ++so_far.runs;
        if (!got.failure.empty()) {
            fmt::print("FAILED {} at entry {}, scenario {} seed {}: {}\n  faults: {}\n"
                       "  replay: {}\n",
                       what, nth, one.only->name, seed, got.failure, got.faults, command_of(one));
            return false;
        }
        if (has_struck(one, got)) return true;
    }
    fmt::print("FAILED {}: never injected\n", what);
    return false;
}

std::string name_of(int error) { return error != 0 ? ::strerrorname_np(error) : ""; }

void try_operation(const operation_kind& on, settings one, tried& so_far) {
    one.only = on.used_by;
    const auto passes = [&](fault kind, int error) {
        one.rule = fault_plan::rule{on.opcode, 1, kind, error};
        const std::string what =
            fmt::format("{} {} {}", on.name, to_string(kind), name_of(error));
        so_far.all_passed = strikes_and_passes(one, what, so_far) && so_far.all_passed;
    };
    for (const fault kind : on.kinds) passes(kind, 0);
    for (const int error : testing::kernel_errors(on.opcode)) {
        passes(fault::error, error);
        // Behind data, and not in place of it.
        const bool is_multishot = on.opcode == IORING_OP_ACCEPT || on.opcode == IORING_OP_RECV;
        if (is_multishot) passes(fault::early_end, error);
    }
}

const char* scenario_with(plain_call call) noexcept {
    switch (call) {
        case plain_call::sendto:
        case plain_call::sendmsg: return "unix_datagrams";
        case plain_call::recvmsg: return "finish";
        case plain_call::recv:
        case plain_call::epoll_ctl:
        case plain_call::epoll_wait: return "echo";
        case plain_call::accept4: return "tcp";
        default: return "file";
    }
}

void try_call(plain_call call, settings one, tried& so_far) {
    one.only = find_scenario(scenario_with(call));
    const auto passes = [&](int error) {
        one.plain = plain_rule{call, 1, error};
        const std::string what = fmt::format("{}() {}", to_string(call),
                                             error != 0 ? name_of(error) : "cut short");
        so_far.all_passed = strikes_and_passes(one, what, so_far) && so_far.all_passed;
    };
    if (can_be_cut(call)) passes(0);
    for (const int error : unnoticed_errors_of(call)) passes(error);
    for (const int error : noticed_errors_of(call)) passes(error);
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
    settings one;
    one.uring = uring;
    tried all;
    for (const operation_kind& on : operation_kinds()) {
        if (!uring && on.opcode == IORING_OP_SEND_ZC) continue;  // epoll has none such
        try_operation(on, one, all);
    }
    for (std::size_t call = 0; call != plain_call_count; ++call) {
        const auto which = static_cast<plain_call>(call);
        if (!uring || !is_made_by_epoll_alone(which)) try_call(which, one, all);
    }
    fmt::print("{} pairs of an operation or call and what the kernel answers it, {} runs: {}\n",
               all.pairs, all.runs, all.all_passed ? "all survived" : "see above");
    return all.all_passed ? 0 : 1;
}

}  // namespace rondo::test
