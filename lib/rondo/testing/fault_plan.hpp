// What a faulty_engine injects, and how often.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <rondo/engine/engine.hpp>

namespace rondo::inline v0::testing {

/// What a faulty_engine can inject. "Refuses" means: completes a request without carrying it out.
enum class fault : std::uint8_t {
    error,                ///< refuses with a rule's error, or one of kernel_errors(); half of the
                          ///< multishots end so behind a completion
    short_receive,        ///< RECV or RECVMSG on a stream, or READ, takes fewer bytes than it could
    short_send,           ///< a send on a stream, or WRITE, moves a part, MSG_WAITALL or not
    interrupted_request,  ///< refuses a receive, send, accept, READ, WRITE or OPENAT with EINTR
    would_block,          ///< refuses a receive or send with MSG_DONTWAIT, by EAGAIN
    no_buffers,           ///< a receive that selects a buffer ends with ENOBUFS
    out_of_memory,        ///< refuses a receive, send, accept or poll with ENOMEM
    accept_error,         ///< an accept ends with EMFILE, ENFILE, ECONNABORTED or ENOBUFS
    early_end,            ///< a multishot accept, receive or poll ends after a completion
    held_completion,      ///< a completion is held back for some enters
    swapped_completions,  ///< two neighbouring completions of different requests change places
    partial_submit,       ///< enter() takes a part of the prepared entries
    interrupted_enter,    ///< enter() returns without having done anything
    interrupted_wait,     ///< enter() takes entries and does not wait
    late_cancel,          ///< an ASYNC_CANCEL and what is behind it stay prepared for some enters
    cancel_already,       ///< a cancel is answered by EALREADY; the target ends a little later
    spurious_readiness,   ///< a poll ends with what it asked for, although nothing is there
    late_notification,    ///< the second completion of a SEND_ZC is held back for some enters
    notified_error,       ///< refuses a SEND_ZC, by EINTR or a rule's error, and notifies then
    control_cut,          ///< RECVMSG on a Unix socket has no room for descriptors: MSG_CTRUNC
    cancel_missed,        ///< a cancel comes after its target's end; by held_completion only
    refused,              ///< refuses with EINVAL what needs a masked feature; by mask only
    overflow,             ///< a completion did not fit into the queue; by queue size only
};
inline constexpr std::size_t fault_count = 23;

std::string_view to_string(fault kind) noexcept;

/// Which faults are injected, and how often. A default plan injects nothing.
struct fault_plan {
    /// The `nth` entry (from 1) of this opcode suffers `kind` and nothing else; a kind that does
    /// not fit the entry leaves it alone.
    struct rule {
        std::uint8_t opcode;           ///< IORING_OP_*
        unsigned nth;                  ///< counted over the engine's life
        fault kind = fault::error;     ///< none that concerns more than one request
        int error = 0;                 ///< errno, for fault::error; chooses one for accept_error;
                                       ///< of an early_end what comes behind the completion
    };

    std::uint64_t seed = 0;
    std::array<std::uint16_t, fault_count> per_mille{};
    unsigned longest_hold = 8;          ///< enters a completion or a cancel is held back, at most
    feature_set masked_features;        ///< which the engine denies to have
    /// What the inner engine has is awaited (also requests that end by themselves, as those on
    /// files do) and delivered in the order of its requests, before faults: then the kernel's
    /// timing does not matter where one thread talks to itself over Unix sockets and files.
    bool ordered = false;
    std::vector<rule> rules;

    /// Sets how many times in a thousand `kind` strikes where it can.
    fault_plan& with(fault kind, unsigned chance) {
        per_mille[static_cast<std::size_t>(kind)] = static_cast<std::uint16_t>(chance);
        return *this;
    }
    fault_plan& without(feature f) {
        masked_features = masked_features | f;
        return *this;
    }
    unsigned chance(fault kind) const noexcept {
        return per_mille[static_cast<std::size_t>(kind)];
    }

    /// A mixture of all faults which a correct program does not notice (no error,
    /// no out_of_memory, no control_cut).
    static fault_plan from_seed(std::uint64_t seed);
    /// The same and those, which it is told.
    static fault_plan with_errors_from_seed(std::uint64_t seed);
    /// Queue sizes to go with from_seed(), from 4 entries and 8 completions up.
    static engine_options queues_from_seed(std::uint64_t seed) noexcept;
};

}  // namespace rondo::inline v0::testing
