// Programs of tasks on pairs of sockets, against an engine that misbehaves. Checked throughout is
// the cancellation contract: in a cancelled scope every await fails and moves nothing; elsewhere
// none is cancelled; no byte is lost or doubled; and in the end every task, descriptor and buffer
// is back.
#include <fuzz/fuzz.hpp>
#include <fuzz/stream_model.hpp>

#include <rondo/engine/choose.hpp>
#include <rondo/io/run.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/when_any.hpp>
#include <rondo/task/with_timeout.hpp>
#include <rondo/testing/faulty_engine.hpp>

#include <fcntl.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace rondo::fuzz {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t most_ends = 4;
constexpr unsigned most_steps = 300;
constexpr unsigned most_depth = 8;
constexpr std::size_t most_held = 16;
constexpr milliseconds shield_time{3};
constexpr unsigned whole_time = 300;  // milliseconds until what still waits is cancelled

struct world {
    std::array<stream_end, most_ends> ends;
    std::vector<cancel_scope*> scopes;  // those that run
    std::vector<held_chunk> held;
    unsigned steps = 0;
    unsigned flows = 0;
    milliseconds deadlines{0};  // the sum of those of shields and time-outs

    stream_end& end(unsigned number) noexcept { return ends[number % most_ends]; }
    void connect(stream_end& a, stream_end& b) {
        auto made = unix_socket::pair();
        // Little room, so that a send of some thousand bytes has to wait.
        made.first.set(send_buffer(1));
        made.second.set(send_buffer(1));
        a = {.socket = std::move(made.first), .out = flow(++flows), .peer = &b};
        b = {.socket = std::move(made.second), .out = flow(++flows), .peer = &a};
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

// --- the contract ------------------------------------------------------------------------------

/// How an await ended, to be compared with what was so before it and is so now.
class verdict {
public:
    verdict(const context& where, const stream_end* end,
            std::optional<milliseconds> limit = std::nullopt)
        : where_(&where), end_(end), limit_(limit), began_(where.loop().now()),
          was_cancelled_(where.cancelled()),
          interruptions_(end == nullptr ? 0 : end->interruptions) {}

    void succeeded() const { check(!was_cancelled_, "an await succeeds in a cancelled scope"); }
    void failed(const std::exception_ptr& failure) {
        std::size_t moved = 0;
        bool cancelled = false;
        try {
            std::rethrow_exception(failure);
        } catch (const operation_canceled& error) {
            cancelled = true;
            moved = error.transferred();
        } catch (const operation_timed_out& error) {
            check(limit_ && where_->loop().now() >= began_ + *limit_, "a time-out comes too early");
            moved = error.transferred();
        } catch (const socket_error& error) {
            moved = error.transferred();
            check_lost(error);
        } catch (const std::system_error& error) {
            check_lost(error);
        }
        transferred_ = moved;
        if (was_cancelled_) {
            check(cancelled, "an await in a cancelled scope fails by something else");
            check(moved == 0, "an await in a cancelled scope moves bytes");
        } else if (cancelled) {
            const bool interrupted = end_ != nullptr && end_->interruptions != interruptions_;
            check(where_->cancelled() || interrupted, "an await is cancelled, and nobody asked");
        }
    }
    std::size_t transferred() const noexcept { return transferred_; }

private:
    void check_lost(const std::system_error& error) const {
        check(end_ != nullptr && end_->may_fail() && is_connection_lost(error.code().value()),
              error.what());
    }

    const context* where_;
    const stream_end* end_;
    std::optional<milliseconds> limit_;
    clock::time_point began_;
    bool was_cancelled_;
    unsigned interruptions_;
    std::size_t transferred_ = 0;
};

/// Small counts mostly; some that do not fit into a socket at once.
std::size_t size_of(unsigned number) noexcept {
    return number < 200 ? number + 1 : (number - 199) * 512;
}

/// Of the operations that have one.
milliseconds limit_of(std::size_t size) noexcept { return milliseconds(size % 4); }

// --- steps -------------------------------------------------------------------------------------

enum class sending : std::uint8_t { whole, timed, some, gathered };

task<> start_send(stream_end& from, std::span<const std::byte> data, sending how,
                  std::size_t& count) {
    if (how == sending::some) {
        count = co_await from.socket.send_some(data);
        check(count <= data.size() && count != 0, "send_some sends nothing, or too much");
        co_return;
    }
    if (how == sending::gathered) {
        const const_buffer first(data.first(data.size() / 2));
        const const_buffer second(data.subspan(data.size() / 2));
        co_await from.socket.send(first, second);
    } else if (how == sending::timed) {
        co_await with_timeout(limit_of(data.size()), from.socket.send(data));
    } else {
        co_await from.socket.send(data);
    }
    count = data.size();
}

task<> send_bytes(stream_end& from, std::size_t size, sending how) {
    if (!from.is_open() || from.sending || from.finished) co_return;
    const claim busy(from.sending);
    const std::vector<std::byte> data = from.out.next(size);
    context& here = co_await this_context();
    verdict ended(here, &from, limit_of(size));
    std::size_t count = 0;
    auto work = start_send(from, data, how, count);
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) {
        ended.failed(failure);
        from.out.sent_so_far(ended.transferred());
        std::rethrow_exception(std::move(failure));
    }
    from.out.sent_so_far(count);
    ended.succeeded();
}

/// The end of the stream: only where the peer has ended it.
void check_end(const stream_end& at) {
    check(at.peer->finished || at.peer->gone, "the stream ends, and the peer has not ended it");
    at.peer->out.ended();
}

enum class receiving : std::uint8_t { whole, timed, as_value };

task<> start_receive(stream_end& at, std::span<std::byte> room, receiving how,
                     std::size_t& count) {
    if (how == receiving::timed) {
        count = co_await with_timeout(limit_of(room.size()), at.socket.recv(room));
    } else if (how == receiving::as_value) {
        auto got = co_await as_result(at.socket.recv(room));
        count = got.value();
    } else {
        count = co_await at.socket.recv(room);
    }
}

task<> receive_bytes(stream_end& at, std::size_t size, receiving how) {
    if (!at.is_open() || at.reading) co_return;
    const claim busy(at.reading);
    std::vector<std::byte> room(size);
    context& here = co_await this_context();
    verdict ended(here, &at, limit_of(size));
    std::size_t count = 0;
    auto work = start_receive(at, room, how, count);
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) {
        ended.failed(failure);
        std::rethrow_exception(std::move(failure));
    }
    ended.succeeded();
    at.peer->out.arrived(std::span(room).first(count));
    if (count == 0) check_end(at);
}

task<> start_lease(stream_end& at, receiving how, chunk& got) {
    if (how == receiving::timed) {
        got = co_await with_timeout(limit_of(1), at.socket.recv());
    } else if (how == receiving::as_value) {
        auto outcome = co_await as_result(at.socket.recv());
        got = std::move(outcome.value());
    } else {
        got = co_await at.socket.recv();
    }
}

task<> receive_lease(world& in, stream_end& at, receiving how, bool keep) {
    if (!at.is_open() || at.reading) co_return;
    const claim busy(at.reading);
    context& here = co_await this_context();
    verdict ended(here, &at, limit_of(1));
    chunk got;
    auto work = start_lease(at, how, got);
    std::exception_ptr failure = co_await work.settle(here);
    if (failure) {
        ended.failed(failure);
        std::rethrow_exception(std::move(failure));
    }
    ended.succeeded();
    flow& from = at.peer->out;
    const std::uint64_t place = from.received();
    from.arrived(got.bytes());
    if (!got) check_end(at);
    if (keep && in.held.size() < most_held) {
        in.held.emplace_back(std::move(got), from.id(), place);
    }
}

void check_either(const stream_end& at, std::optional<result<chunk>>& got) {
    if (!got) return;
    if (!*got) {
        const std::error_code why = got->error();
        const bool lost = at.may_fail() && is_connection_lost(why.value());
        check(why == std::errc::operation_canceled || lost, "a branch fails for no reason");
        return;
    }
    at.peer->out.arrived((**got).bytes());
    if (!**got) check_end(at);
}

/// Both, of which the first ends the other; what came to either is there.
task<> receive_either(stream_end& a, stream_end& b) {
    if (&a == &b || !a.is_open() || !b.is_open() || a.reading || b.reading) co_return;
    const claim first(a.reading);
    const claim second(b.reading);
    const claim first_branch(a.in_branch);
    const claim second_branch(b.in_branch);
    auto got = co_await when_any(as_result(a.socket.recv()), as_result(b.socket.recv()));
    check_either(a, std::get<0>(got));
    check_either(b, std::get<1>(got));
}

task<> close_end(stream_end& which) {
    // A branch begins in its turn, and before it does nobody knows of its operation.
    if (!which.is_open() || which.in_branch) co_return;
    const claim leaving(which.leaving);
    ++which.interruptions;
    which.gone = true;
    co_await which.socket.close();
    check(!which.is_awaited(), "close() returns before what it has cancelled");
}

task<> release_end(stream_end& which) {
    // What a branch has received is told later, when all branches have ended.
    if (!which.is_open() || which.in_branch) co_return;
    const claim leaving(which.leaving);
    ++which.interruptions;
    released_socket released = co_await which.socket.release();
    check(!which.is_awaited(), "release() returns before what it has cancelled");
    which.peer->out.arrived(released.received);
    check(!released.error || which.may_fail(), "release() tells an error, and there was none");
    which.socket = unix_socket(std::move(released.descriptor));
}

void drop_end(stream_end& which) {
    if (!which.is_open() || which.is_awaited()) return;
    which.gone = true;
    which.socket = unix_socket();
}

void move_end(stream_end& which) {
    unix_socket elsewhere = std::move(which.socket);
    which.socket = std::move(elsewhere);
}

void finish_end(stream_end& which) {
    if (!which.is_open() || which.sending || which.finished) return;
    which.finished = true;
    which.socket.shutdown(shutdown_mode::send);
}

void connect_again(world& in, stream_end& which) {
    stream_end& peer = *which.peer;
    if (which.is_open() || peer.is_open() || which.is_awaited() || peer.is_awaited()) return;
    if (which.leaving || peer.leaving) return;
    in.connect(which, peer);
}

void give_back(world& in, unsigned number) {
    if (in.held.empty()) return;
    const auto which = in.held.begin() + static_cast<std::ptrdiff_t>(number % in.held.size());
    which->check_bytes();
    in.held.erase(which);
}

void cancel_one(world& in, unsigned number) {
    if (!in.scopes.empty()) in.scopes[number % in.scopes.size()]->cancel();
}

task<> pause(milliseconds duration) {
    context& here = co_await this_context();
    verdict ended(here, nullptr);
    const auto due = here.loop().now() + duration;
    auto outcome = co_await as_result(sleep_for(duration));
    if (!outcome) {
        ended.failed(std::make_exception_ptr(operation_canceled()));
        outcome.value();
    }
    ended.succeeded();
    check(here.loop().now() >= due, "a sleep ends too early");
}

task<> give_way() {
    context& here = co_await this_context();
    verdict ended(here, nullptr);
    auto outcome = co_await as_result(yield());
    if (!outcome) {
        ended.failed(std::make_exception_ptr(operation_canceled()));
        outcome.value();
    }
    ended.succeeded();
}

// --- programs ----------------------------------------------------------------------------------

struct place {
    place(world* around, task_group* nearest, unsigned inside) noexcept
        : in(around), group(nearest), depth(inside) {}

    world* in;
    task_group* group;
    unsigned depth;
};

task<> play(place at, input program);

task<> play_in_group(place at, input program) {
    const auto body = [at, program](task_group& group) -> task<> {
        const place inside(at.in, &group, at.depth);
        co_await play(inside, program);
    };
    co_await with_task_group(body);
}

task<> play_in_scope(place at, input program) {
    cancel_scope scope;
    const listed_scope listed(*at.in, scope);
    co_await scope.run(play(at, program));
}

task<> play_in_time(place at, input program, milliseconds limit) {
    at.in->deadlines += limit;
    co_await with_timeout(limit, play(at, program));
}

task<> play_shielded(place at, input program) {
    at.in->deadlines += shield_time;
    co_await shield(with_timeout(shield_time, play(at, program)));
}

task<> play_any(place at, input one, input other) {
    auto ended = co_await when_any(play(at, one), play(at, other));
    check(std::get<0>(ended) || std::get<1>(ended), "when_any returns without a value");
}

task<> play_all(place at, input one, input other) {
    co_await when_all(play(at, one), play(at, other));
}

void spawn(place at, input program) {
    at.group->spawn(play, at, program);
}

task<> nothing() { co_return; }

/// What only changes the world and awaits nothing.
void act(place at, unsigned what, unsigned number) {
    world& in = *at.in;
    switch (what) {
        case 0: return move_end(in.end(number));
        case 1: return finish_end(in.end(number));
        case 2: return drop_end(in.end(number));
        case 3: return connect_again(in, in.end(number));
        case 4: return give_back(in, number);
        case 5: return cancel_one(in, number);
        case 6: return at.group->cancel();
        default: return;
    }
}

/// For who looks at a finding: each step as it begins.
void trace(place at, unsigned what, unsigned number) {
    static const bool wanted = std::getenv("RONDO_FUZZ_TRACE") != nullptr;
    if (!wanted) return;
    constexpr const char* names[] = {
        "send", "send", "recv into", "recv", "recv", "recv either", "close", "release", "sleep",
        "yield", "spawn", "group", "scope", "with_timeout", "shield", "when_any", "when_all",
        "move", "shutdown", "destroy", "connect", "give back", "cancel", "cancel group", "nothing"};
    std::fprintf(stderr, "%3u %*s%s %u\n", at.in->steps, static_cast<int>(2 * at.depth), "",
                 names[what], number);
}

/// One step of a program, as a task.
task<> step(place at, unsigned what, input& program) {
    world& in = *at.in;
    const unsigned number = program.byte();
    trace(at, what, number);
    stream_end& end = in.end(number);
    const unsigned form = number / most_ends;
    const auto body = [&program] { return program.part(program.below(24)); };
    switch (what) {
        case 0:
        case 1: return send_bytes(end, size_of(program.byte()), static_cast<sending>(form % 4));
        case 2: return receive_bytes(end, size_of(program.byte()),
                                     static_cast<receiving>(form % 3));
        case 3:
        case 4: return receive_lease(in, end, static_cast<receiving>(form % 3), form % 5 == 0);
        case 5: return receive_either(end, in.end(form));
        case 6: return close_end(end);
        case 7: return release_end(end);
        case 8: return pause(milliseconds(number % 8));
        case 9: return give_way();
        case 10: spawn(at, body()); return nothing();
        case 11: return play_in_group(at, body());
        case 12: return play_in_scope(at, body());
        case 13: return play_in_time(at, body(), milliseconds(number % 8));
        case 14: return play_shielded(at, body());
        case 15: {
            const input one = body();
            return play_any(at, one, body());
        }
        case 16: {
            const input one = body();
            return play_all(at, one, body());
        }
        default: act(at, what - 17, number); return nothing();
    }
}

task<> play(place at, input program) {
    if (++at.depth > most_depth) co_return;
    context& here = co_await this_context();
    while (!program.empty() && ++at.in->steps < most_steps) {
        const unsigned what = program.byte();
        const bool goes_on = what >= 128;
        auto work = step(at, what % 25, program);
        std::exception_ptr failure = co_await work.settle(here);
        if (failure && !goes_on) std::rethrow_exception(std::move(failure));
    }
}

// --- the whole ---------------------------------------------------------------------------------

/// Cancels what still waits after its time. Time leaps only where nothing happens, and by single
/// milliseconds, so that what the engine holds back comes before it.
task<> limit_time(cancel_scope& all) {
    for (unsigned i = 0; i != whole_time; ++i) co_await sleep_for(milliseconds(1));
    all.cancel();
}

task<> play_to_end(world& in, input program) {
    cancel_scope all;
    const auto body = [&in, &all, program](task_group& group) -> task<> {
        const place root(&in, &group, 0);
        auto inner = play_in_group(root, program);
        auto work = all.run(std::move(inner));
        context& here = co_await this_context();
        group.spawn(limit_time, std::ref(all));
        std::exception_ptr failure = co_await work.settle(here);
        group.cancel();
    };
    co_await with_task_group(body);
}

/// What is still on its way to `at`, whose peer sends nothing more.
task<> drain(stream_end& at) {
    std::vector<std::byte> room(4096);
    for (;;) {
        auto got = co_await as_result(at.socket.recv(room));
        if (!got) {
            check(at.may_fail() && is_connection_lost(got.error().value()),
                  "a receive fails, and the peer was not closed");
            break;
        }
        at.peer->out.arrived(std::span(room).first(*got));
        if (*got == 0) break;
    }
    check_end(at);
}

task<> settle_ends(world& in) {
    for (stream_end& each : in.ends) {
        check(!each.is_awaited(), "a task has ended and is still in an await");
        finish_end(each);
    }
    for (stream_end& each : in.ends) {
        if (each.is_open()) co_await drain(each);
    }
    for (stream_end& each : in.ends) co_await close_end(each);
}

task<> live(world& in, input program) {
    scheduler& here = co_await this_scheduler();
    const std::size_t tasks = here.stats().live_tasks;
    const auto began = here.now();
    in.connect(in.ends[0], in.ends[1]);
    in.connect(in.ends[2], in.ends[3]);
    co_await play_to_end(in, program);
    const auto lasted = here.now() - began;
    // While a close() waits for the engine, time may leap to the deadline around it.
    check(lasted <= milliseconds(whole_time + 1) + in.deadlines, "a cancelled program goes on");
    check(in.scopes.empty(), "a scope is left");
    while (!in.held.empty()) give_back(in, 0);
    co_await settle_ends(in);
    // Sockets that were destroyed end in the background.
    for (int i = 0; i != 100 && here.stats().buffers_held != 0; ++i) {
        co_await sleep_for(milliseconds(1));
    }
    check(here.stats().buffers_held == 0, "a buffer is not given back");
    check(here.stats().live_tasks == tasks, "a task is left");
}

unsigned descriptors_open() noexcept {
    unsigned count = 0;
    for (int i = 0; i != 128; ++i) {
        if (::fcntl(i, F_GETFD) >= 0) ++count;
    }
    return count;
}

bool has_ring() {
    static const bool found = [] {
        try {
            return make_engine(engine_kind::uring, {}) != nullptr;
        } catch (const std::system_error&) {
            return false;
        }
    }();
    return found;
}

}  // namespace

void feed_scheduler(input in) {
    const unsigned form = in.byte();
    const std::uint64_t seed = in.value<std::uint16_t>();
    const engine_kind kind = form % 2 == 0 && has_ring() ? engine_kind::uring : engine_kind::epoll;
    run_options options;
    options.virtual_time = true;
    options.queues = {64, 256};
    if (form / 2 % 4 != 0) options.buffers = {form / 2 % 2 == 0 ? 512u : 16u, 1, 4};
    options.make_engine = [kind, seed](const engine_options& queues) -> std::unique_ptr<engine> {
        auto inner = make_engine(kind, queues);
        if (seed == 0) return inner;
        return std::make_unique<testing::faulty_engine>(
            std::move(inner), testing::fault_plan::from_seed(seed),
            testing::fault_plan::queues_from_seed(seed));
    };
    const unsigned before = descriptors_open();
    world made;
    run(options, [&made, in] { return live(made, in); });
    check(descriptors_open() == before, "a descriptor is left open");
}

}  // namespace rondo::fuzz
