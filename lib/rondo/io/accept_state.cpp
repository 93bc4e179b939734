#include <rondo/detail/misuse.hpp>
#include <rondo/detail/socket_family.hpp>
#include <rondo/io/accept_state.hpp>
#include <rondo/io/scheduler.hpp>

#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace rondo::inline v0 {

namespace {

/// Not the listener's: no outcome, or the error of one connection that waited in the backlog, which
/// accept(2) tells in place of it.
bool is_nobodys(std::int32_t result) noexcept {
    switch (-result) {
        case ECANCELED:
        case EINTR:
        case EAGAIN:
        case ECONNABORTED:
        case ENETDOWN:
        case EPROTO:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case ENETUNREACH:
            return true;
        default:
            return false;
    }
}

// A single accept(2) of a Unix listener that is shut down answers EAGAIN although poll(2) says that
// it is readable, so the kernel tries 128 times and then starts a worker thread for it.
bool is_tried_in_vain(int listener, bool multishot) noexcept {
    return !multishot && detail::family_of(listener) == AF_UNIX;
}

}  // namespace

accept_state::~accept_state() { close_accepted(); }

void accept_state::bind(scheduler& on) {
    detail::require(scheduler_ == nullptr,
                    "a listener is used on another scheduler than the one of its first use");
    scheduler_ = &on;
    on.adopt(*this);
}

void accept_state::arm() {
    if (phase_ != phase::idle) return;
    multishot_ =
        scheduler_->carrier().has(feature::multishot_accept) && room_ >= room_for_many;
    io_uring_sqe& entry = scheduler_->next_entry();
    entry = {};
    entry.opcode = IORING_OP_ACCEPT;
    entry.fd = descriptor_;
    if (multishot_) entry.ioprio = IORING_ACCEPT_MULTISHOT;
    entry.accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    entry.user_data = scheduler_->tag(*this);
    phase_ = phase::armed;
}

void accept_state::set_room(std::size_t connections) {
    room_ = connections;
    if (room_ == 0 || (multishot_ && room_ < room_for_many)) {
        stop();
    } else if (reader != nullptr && has_news()) {
        std::exchange(reader, nullptr)->finish();
    } else if (reader != nullptr) {
        arm();
    }
}

void accept_state::stop() {
    if (phase_ != phase::armed) return;
    phase_ = phase::stopping;
    scheduler_->cancel_request(scheduler_->tag(*this));
}

void accept_state::complete(std::int32_t result, std::uint32_t flags) noexcept {
    if (result >= 0) {
        if (orphaned_) {
            ::close(result);
        } else {
            accepted_.push_back(result);
        }
    }
    if ((flags & IORING_CQE_F_MORE) == 0) {
        phase_ = phase::idle;
        if (orphaned_) {
            scheduler_->orphan_ended();
            close_descriptor();
            delete this;
            return;
        }
        if (result < 0 && !is_nobodys(result)) failure_ = result;
    }
    if (reader != nullptr && deliverable()) std::exchange(reader, nullptr)->finish();
    if (reader != nullptr || accepted_.size() > most_ahead) scheduler_->attend_to(*this);
    wake_closer();
}

void accept_state::attend() noexcept {
    if (phase_ == phase::idle && reader != nullptr && !has_news() && room_ != 0) arm();
    const bool enough = accepted_.size() > most_ahead && reader == nullptr;
    if (phase_ == phase::armed && (enough || (multishot_ && room_ < room_for_many))) stop();
}

std::int32_t accept_state::take() noexcept {
    if (accepted_.empty()) return std::exchange(failure_, 0);
    const int taken = accepted_.front();
    accepted_.pop_front();
    return taken;
}

std::int32_t accept_state::take_waiting() noexcept {
    if (!accepted_.empty()) return take();
    for (;;) {
        const int taken = ::accept4(descriptor_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (taken >= 0) return taken;
        const int error = errno;
        if (error == EAGAIN || !is_nobodys(-error)) return -error;
    }
}

void accept_state::wake_closer() noexcept {
    if (closer != nullptr) scheduler_->make_ready(*std::exchange(closer, nullptr));
}

void accept_state::close_accepted() noexcept {
    for (const int descriptor : accepted_) ::close(descriptor);
    accepted_.clear();
}

void accept_state::close_descriptor() noexcept {
    if (scheduler_ != nullptr) scheduler_->carrier().forget(descriptor_);
    ::close(descriptor_);
}

void accept_state::abandon() noexcept {
    detail::require(scheduler_ == nullptr || scheduler_->on_this_thread(),
                    "a listener is destroyed on another thread than that of its scheduler");
    detail::require(!accepting && closer == nullptr,
                    "a listener is destroyed while a task awaits it");
    close_accepted();
    if (phase_ == phase::idle) {
        close_descriptor();
        delete this;
        return;
    }
    orphaned_ = true;
    scheduler_->orphan_made();
    // Refuses newcomers from now on; close(2) does nothing while the request is armed. Where it
    // is tried in vain they are refused once the request is cancelled, in the next turn.
    if (!is_tried_in_vain(descriptor_, multishot_)) ::shutdown(descriptor_, SHUT_RDWR);
    stop();
}

void accept_state::unbind() {
    scheduler_->carrier().forget(descriptor_);
    unlink();
    scheduler_ = nullptr;
}

bool accept_waiter::wait(std::coroutine_handle<> awaiting, context& where) {
    scheduler& on = scheduler::of(where);
    state_->use_on(on);
    detail::require(!state_->accepting, "two accepts at once on one listener");
    const bool cancelled = where.cancelled();
    result_ = cancelled ? -ECANCELED : 0;
    const bool ready = state_->deliverable();
    if (!cancelled) {
        if (ready && !on.must_yield()) return false;
        if (!state_->has_news() && state_->room_ != 0) state_->arm();
    }
    where.wait_for(*this, awaiting);
    state_->accepting = true;
    if (cancelled || ready) {
        finish();
    } else {
        state_->reader = this;
    }
    return true;
}

void accept_waiter::cancel() noexcept {
    state_->reader = nullptr;
    result_ = -ECANCELED;
    finish();
}

}  // namespace rondo::inline v0
