#include <rondo/io/scheduler.hpp>
#include <rondo/log.hpp>
#include <rondo/net/accept_operation.hpp>
#include <rondo/net/quiesce.hpp>
#include <rondo/net/socket_name.hpp>
#include <rondo/net/stream_server.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/sleep.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <tuple>

namespace rondo::inline v0::detail {

using namespace std::chrono_literals;

/// Waits until a connection of the server has ended.
class slot_operation final : public waiter, public intrusive_hook {
public:
    explicit slot_operation(stream_server& server) noexcept : server_(&server) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        context& where = awaiting.promise().task_context();
        cancelled_ = where.cancelled();
        where.wait_for(*this, awaiting);
        if (cancelled_) {
            where.loop().make_ready(*this);
        } else {
            server_->waiting_.push_back(*this);
        }
    }
    void await_resume() const {
        if (cancelled_) throw_canceled();
    }
    std::string awaits() const override { return "a connection to end"; }

private:
    void cancel() noexcept override {
        cancelled_ = true;
        unlink();
        where().loop().make_ready(*this);
    }

    stream_server* server_;
    bool cancelled_ = false;
};

namespace {

constexpr auto first_pause = 5ms;
constexpr auto longest_pause = 1000ms;

bool out_of_resources(const std::error_code& error) {
    switch (error.value()) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            return true;
        default:
            return false;
    }
}

void log_failure(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& error) {
        log(std::string("a connection failed: ") + error.what());
    } catch (...) {
        log("a connection failed with an exception that is no std::exception");
    }
}

}  // namespace

stream_server::stream_server(context& here, server_settings settings)
    : settings_(std::move(settings)),
      context_(here),
      stats_(settings_.stats != nullptr ? settings_.stats : &own_stats_) {
    context_.set_name("server");
}

stream_server::~stream_server() = default;

// --- accepting -------------------------------------------------------------------------------

// The next connection to serve; a closed socket when the server stops.
task<stream_socket> stream_server::next(stream_listener& listener) {
    std::chrono::milliseconds pause = first_pause;
    for (;;) {
        listener.state().set_room(room());
        auto accepted = co_await as_result(accept_operation<stream_socket>(listener.state()));
        if (accepted) {
            // Another listener may have taken the last place in the same turn.
            while (room() == 0) co_await slot_operation(*this);
            co_return std::move(*accepted);
        }
        if (!out_of_resources(accepted.error())) {
            if (stopping_) co_return stream_socket();
            if (accepted.error() == std::errc::operation_canceled) throw_canceled();
            throw_local_error("accept", listener.descriptor(), accepted.error().value());
        }
        // The connection stays in the backlog; it is the descriptors that have to come back.
        ++stats().backed_off;
        if (pause == first_pause) {
            log("accepting pauses: " + accepted.error().message() + " (see ulimit -n)");
        }
        // Stopped meanwhile, the next accept says so.
        std::ignore = co_await as_result(sleep_for(pause));
        pause = std::min<std::chrono::milliseconds>(pause * 2, longest_pause);
    }
}

// Who has connected before the stop is no newcomer: the client knows of no difference between being
// accepted by the kernel and by us, and what it has sent has arrived. As many as there is room for,
// and not for ever where they come faster than this.
task<std::vector<stream_socket>> stream_server::all_waiting(stream_listener& listener) {
    std::vector<stream_socket> all;
    accept_state& state = listener.state();
    co_await quiesce(state);
    const std::size_t most = std::min<std::size_t>(room(), stream_listener::default_backlog);
    while (all.size() < most) {
        const std::int32_t taken = state.take_waiting();
        if (taken == -EAGAIN) break;
        if (taken < 0) {
            log("stopped, a server leaves connections behind: " +
                std::system_category().message(-taken));
            break;
        }
        all.emplace_back(unique_fd(taken));
    }
    co_return all;
}

void stream_server::begin(stream_socket& accepted) {
    served_.push_back(accepted.state());
    accepted.end_on_reset(settings_.end_on_reset);
    if (settings_.remember_peers) remember_peer(accepted.state());
    // Accepted just before the stop began: served like the others.
    if (stopping_) ::shutdown(accepted.descriptor(), SHUT_RD);
    ++serving_;
    serve_stats& s = stats();
    ++s.accepted;
    s.most_serving = std::max(s.most_serving, ++s.serving);
    if (room() == 0) ++s.reached_limit;
    announce_room();
}

// Listeners near the limit change from accepting many to one by one, and at the limit to none.
void stream_server::announce_room() {
    if (settings_.max_connections == std::numeric_limits<std::size_t>::max()) return;
    for (stream_listener* l : listeners_) l->state().set_room(room());
}

// --- the end ---------------------------------------------------------------------------------

void stream_server::begin_stop() noexcept {
    stopping_ = true;
    accepting_.cancel();
    for (receive_state& state : served_) ::shutdown(state.descriptor(), SHUT_RD);
}

task<> stream_server::join() {
    // Children are joined whatever is cancelled around: they are, too.
    while (serving_ != 0) co_await shield(slot_operation(*this));
}

void stream_server::child_failed(std::exception_ptr failure) noexcept {
    if (is_canceled(failure)) return;
    ++stats().failed;
    try {
        if (settings_.on_failure) {
            settings_.on_failure(std::move(failure));
        } else if (!is_connection_lost(failure)) {
            log_failure(failure);
        }
    } catch (...) {
        log("the hook for failed connections has thrown");
    }
}

void stream_server::child_ended() noexcept {
    --serving_;
    --stats().serving;
    announce_room();
    while (slot_operation* w = waiting_.pop_front()) context_.loop().make_ready(*w);
}

}  // namespace rondo::inline v0::detail
