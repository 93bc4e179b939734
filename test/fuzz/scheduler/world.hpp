// What a program of tasks acts upon: pairs of sockets, a listener, the scopes that run.
#pragma once

#include <fuzz/scheduler/datagram_model.hpp>
#include <fuzz/scheduler/listener_model.hpp>
#include <fuzz/scheduler/stream_model.hpp>

#include <rondo/task/cancel_scope.hpp>

#include <array>
#include <chrono>
#include <utility>
#include <vector>

namespace rondo::fuzz {

using std::chrono::milliseconds;

inline constexpr std::size_t most_ends = 4;

struct world {
    std::array<stream_end, most_ends> ends;
    std::array<datagram_end, 2> mailboxes;
    front_door door;
    bool is_faulty = false;
    bool errors = false;  // the engine injects those that a program is told, too
    std::vector<cancel_scope*> scopes;  // those that run
    std::vector<held_chunk> held;
    unsigned steps = 0;
    unsigned flows = 0;
    milliseconds deadlines{0};  // the sum of those of shields and time-outs

    stream_end& end(unsigned number) noexcept { return ends[number % most_ends]; }
    datagram_end& mailbox(unsigned number) noexcept { return mailboxes[number % 2]; }
    void connect(stream_end& a, stream_end& b) {
        auto made = unix_socket::pair();
        // Little room, so that a send of some thousand bytes has to wait.
        made.first.set(send_buffer(1));
        made.second.set(send_buffer(1));
        a = {.socket = std::move(made.first), .out = flow(++flows), .peer = &b, .errors = errors};
        b = {.socket = std::move(made.second), .out = flow(++flows), .peer = &a, .errors = errors};
    }
    void pair_mailboxes() {
        auto made = unix_datagram_socket::pair();
        mailboxes[0] = {
            .socket = std::move(made.first), .out = {}, .peer = &mailboxes[1], .errors = errors};
        mailboxes[1] = {
            .socket = std::move(made.second), .out = {}, .peer = &mailboxes[0], .errors = errors};
    }
};

class listed_scope {
public:
    listed_scope(world& in, cancel_scope& scope) : in_(&in), scope_(&scope) {
        in.scopes.push_back(&scope);
    }
    listed_scope(const listed_scope&) = delete;
    listed_scope& operator=(const listed_scope&) = delete;
    ~listed_scope() { std::erase(in_->scopes, scope_); }

private:
    world* in_;
    cancel_scope* scope_;
};

}  // namespace rondo::fuzz
