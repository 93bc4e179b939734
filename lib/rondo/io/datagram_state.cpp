#include <rondo/detail/misuse.hpp>
#include <rondo/io/datagram_state.hpp>
#include <rondo/io/scheduler.hpp>

#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace rondo::inline v0 {

static_assert(sizeof(abi::received_message) == sizeof(io_uring_recvmsg_out));

datagram_state::~datagram_state() { delete[] memory_; }

void datagram_state::bind(scheduler& on) {
    detail::require(scheduler_ == nullptr,
                    "a socket is used on another scheduler than the one of its first use; "
                    "release() it there to move it");
    scheduler_ = &on;
    on.adopt(*this);
}

// --- from idle into the kernel ---------------------------------------------------------------

void datagram_state::keep_descriptors() noexcept {
    detail::require(intake_ != intake::reads_ahead,
                    "recv_descriptors() after recv_from(), which reads ahead, so descriptors may "
                    "be lost already; receive by recv_descriptors() alone");
    intake_ = intake::descriptors;
}

void datagram_state::read_ahead() noexcept {
    detail::require(intake_ != intake::descriptors,
                    "recv_from() after recv_descriptors() would lose descriptors that come; "
                    "receive by recv_descriptors() alone");
    intake_ = intake::reads_ahead;
}

void datagram_state::arm() {
    if (phase_ != phase::idle) return;
    read_ahead();
    const buffer_pool& pool = scheduler_->buffers();
    const bool fits = pool.buffer_size() > raw_datagram::payload_offset(name_room_);
    if (starved_ || !pool.usable() || !fits ||
        !scheduler_->carrier().has(feature::multishot_recv)) {
        arm_copying();
    } else {
        arm_multishot();
    }
}

void datagram_state::arm_multishot() {
    io_uring_sqe& entry = scheduler_->next_entry();
    message_ = {};
    message_.msg_namelen = name_room_;
    entry = {};
    entry.opcode = IORING_OP_RECVMSG;
    entry.fd = descriptor_;
    entry.flags = IOSQE_BUFFER_SELECT;
    entry.buf_group = buffer_pool::group;
    entry.ioprio = IORING_RECV_MULTISHOT;
    entry.addr = reinterpret_cast<std::uint64_t>(&message_);
    entry.len = 1;
    entry.msg_flags = MSG_TRUNC;  // tells the true size
    entry.user_data = scheduler::tag(*this);
    phase_ = phase::armed;
}

void datagram_state::arm_copying() {
    prepare_memory();
    io_uring_sqe& entry = scheduler_->next_entry();
    entry = {};
    entry.opcode = IORING_OP_RECVMSG;
    entry.fd = descriptor_;
    entry.addr = reinterpret_cast<std::uint64_t>(&message_);
    entry.len = 1;
    entry.msg_flags = MSG_TRUNC;
    entry.user_data = scheduler::tag(*this);
    phase_ = phase::copying;
}

// As large as a buffer of the pool, so that how a datagram comes does not decide what is cut off.
void datagram_state::prepare_memory() {
    const std::size_t least = raw_datagram::payload_offset(name_room_) + least_copy_size;
    memory_size_ = std::max(scheduler_->buffers().buffer_size(), least);
    if (memory_ == nullptr) memory_ = new std::byte[memory_size_];
    const std::size_t offset = raw_datagram::payload_offset(name_room_);
    part_ = {memory_ + offset, memory_size_ - offset};
    message_ = {};
    message_.msg_name = memory_ + sizeof(abi::received_message);
    message_.msg_namelen = name_room_;
    message_.msg_iov = &part_;
    message_.msg_iovlen = 1;
}

// The memory as if a multishot request had filled it.
chunk datagram_state::filled_memory(std::size_t size) noexcept {
    const abi::received_message header = {message_.msg_namelen, 0,
                                          static_cast<std::uint32_t>(size),
                                          static_cast<std::uint32_t>(message_.msg_flags)};
    std::memcpy(memory_, &header, sizeof header);
    const std::size_t stored = std::min(size, part_.iov_len);
    const std::size_t whole = raw_datagram::payload_offset(name_room_) + stored;
    return chunk(std::exchange(memory_, nullptr), static_cast<std::uint32_t>(whole));
}

void datagram_state::stop() {
    if (phase_ == phase::idle || phase_ == phase::stopping) return;
    phase_ = phase::stopping;
    scheduler_->cancel_request(scheduler::tag(*this));
}

// --- completions -----------------------------------------------------------------------------

void datagram_state::complete(std::int32_t result, std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_BUFFER) != 0) [[likely]] {
        arrived(static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT),
                static_cast<std::uint32_t>(result));
    }
    if ((flags & IORING_CQE_F_MORE) != 0) [[likely]] return;
    phase_ = phase::idle;
    if (orphaned_) {
        scheduler_->orphan_ended();
        close_descriptor();
        delete this;
        return;
    }
    ended(result);
    if (waiting_ != 0) scheduler_->attend_to(*this);
    wake_closer();
}

void datagram_state::arrived(std::uint16_t id, std::uint32_t length) noexcept {
    buffer_pool& pool = scheduler_->buffers();
    pool.taken();
    if (waiting_ != 0) {
        hand_over(chunk(pool, id, length), 0);
    } else if (orphaned_) {
        pool.give_back(id);
    } else {
        append(id, length);
    }
}

// To who has waited longest.
void datagram_state::hand_over(chunk whole, std::int32_t result) noexcept {
    datagram_waiter& reader = *readers_.pop_front();
    --waiting_;
    reader.taken_ = raw_datagram(std::move(whole), name_room_);
    reader.result_ = result;
    scheduler_->make_ready(reader);
}

void datagram_state::append(std::uint16_t id, std::uint32_t length) noexcept {
    buffer_pool& pool = scheduler_->buffers();
    pool[id] = {length, buffer_pool::no_buffer};
    if (count_ == 0) {
        first_ = id;
    } else {
        pool[last_].next = id;
        if (turn_ != scheduler_->turn()) {
            turn_ = scheduler_->turn();
            left_over_ = count_;
            if (left_over_ >= most_left_over) scheduler_->attend_to(*this);
        }
    }
    last_ = id;
    ++count_;
}

void datagram_state::ended(std::int32_t result) noexcept {
    if (memory_ != nullptr) return copied(result);
    switch (result) {
        case -ENOBUFS: {
            buffer_pool& pool = scheduler_->buffers();
            starved_ = !pool.grow() && pool.held() == pool.size();
            break;
        }
        case -ECANCELED:
        case -EINTR:
        case -EAGAIN: break;
        default:
            if (result < 0) fail(result);
    }
}

void datagram_state::copied(std::int32_t result) noexcept {
    starved_ = false;
    if (result >= 0) {
        chunk whole = filled_memory(static_cast<std::size_t>(result));
        if (waiting_ != 0) {
            hand_over(std::move(whole), 0);
        } else {
            owned_.push_back(std::move(whole));
        }
        return;
    }
    delete[] std::exchange(memory_, nullptr);
    if (result != -ECANCELED && result != -EINTR && result != -EAGAIN) fail(result);
}

// Told to one receive, as recvfrom(2) tells it once.
void datagram_state::fail(std::int32_t error) noexcept {
    if (waiting_ != 0) {
        hand_over(chunk(), error);
    } else {
        news_ = error;
    }
}

void datagram_state::attend() noexcept {
    for (datagram_request& each : requests_) {
        if (each.unfinished()) each.proceed();
    }
    if (phase_ == phase::idle) {
        if (waiting_ == 0) return;
        if (finished_) {
            serve_after_finish();
        } else {
            arm();
        }
    } else if (phase_ == phase::armed && waiting_ == 0 && count_ >= most_left_over) {
        stop();
    }
}

void datagram_state::wake_closer() noexcept {
    if (closer != nullptr) scheduler_->make_ready(*std::exchange(closer, nullptr));
}

// --- delivery --------------------------------------------------------------------------------

raw_datagram datagram_state::take(std::int32_t& reason) noexcept {
    if (!owned_.empty()) [[unlikely]] {
        raw_datagram taken(std::move(owned_.front()), name_room_);
        owned_.erase(owned_.begin());
        return taken;
    }
    if (count_ == 0) [[unlikely]] {
        reason = std::exchange(news_, 0);
        return {};
    }
    --count_;
    buffer_pool& pool = scheduler_->buffers();
    const std::uint16_t id = first_;
    const buffer_pool::note note = pool[id];
    first_ = note.next;
    return raw_datagram(chunk(pool, id, note.length), name_room_);
}

std::vector<raw_datagram> datagram_state::take_all() {
    std::vector<raw_datagram> all;
    all.reserve(undelivered());
    std::int32_t unused = 0;
    while (undelivered() != 0) {
        const bool owned = !owned_.empty();
        raw_datagram next = take(unused);
        all.push_back(owned ? std::move(next) : next.to_owned());
    }
    return all;
}

void datagram_state::finish() {
    if (finished_) return;
    finished_ = true;
    stop();
    for (datagram_request& each : requests_) {
        if (!each.counted_) each.interrupt();
    }
    if (scheduler_ != nullptr) scheduler_->attend_to(*this);
}

void datagram_state::serve_after_finish() noexcept {
    while (waiting_ != 0) {
        if (take_from_socket()) {
            chunk whole = std::move(owned_.back());
            owned_.pop_back();
            hand_over(std::move(whole), 0);
        } else {
            hand_over(chunk(), -ECANCELED);
        }
    }
}

// What came while the request was being ended is still in the kernel. Appends one datagram of it;
// errors of datagrams sent before stand between them and are nobody's any more.
bool datagram_state::take_from_socket() noexcept {
    read_ahead();
    while (may_take_after_finish()) {
        prepare_memory();
        const ssize_t n = ::recvmsg(descriptor_, &message_, MSG_DONTWAIT | MSG_TRUNC);
        if (n >= 0) {
            owned_.push_back(filled_memory(static_cast<std::size_t>(n)));
            return true;
        }
        if (errno == EAGAIN) break;
    }
    delete[] std::exchange(memory_, nullptr);
    return false;
}

// --- the end ---------------------------------------------------------------------------------

void datagram_state::drop_undelivered() noexcept {
    std::int32_t unused = 0;
    while (undelivered() != 0) const raw_datagram dropped = take(unused);
}

void datagram_state::close_descriptor() noexcept {
    if (scheduler_ != nullptr) scheduler_->carrier().forget(descriptor_);
    ::close(descriptor_);
}

void datagram_state::abandon() noexcept {
    detail::require(scheduler_ == nullptr || scheduler_->on_this_thread(),
                    "a socket is destroyed on another thread than that of its scheduler; "
                    "release() it there to move it");
    detail::require(reading_ == 0 && requests_.empty() && closer == nullptr,
                    "a socket is destroyed while a task awaits it");
    drop_undelivered();
    if (phase_ == phase::idle) {
        close_descriptor();
        delete this;
        return;
    }
    orphaned_ = true;
    scheduler_->orphan_made();
    stop();
}

int datagram_state::surrender() noexcept {
    if (scheduler_ != nullptr) scheduler_->carrier().forget(descriptor_);
    drop_undelivered();
    const int released = descriptor_;
    delete this;
    return released;
}

void datagram_state::unbind() {
    std::vector<chunk> kept;
    kept.reserve(undelivered());
    for (chunk& each : owned_) kept.push_back(std::move(each));
    owned_.clear();
    buffer_pool& pool = scheduler_->buffers();
    for (; count_ != 0; --count_) {
        const buffer_pool::note note = pool[first_];
        kept.push_back(chunk(pool, first_, note.length).to_owned());
        first_ = note.next;
    }
    owned_ = std::move(kept);
    scheduler_->carrier().forget(descriptor_);
    completion_target::unlink();
    scheduler_ = nullptr;
}

void datagram_state::interrupt() noexcept {
    while (waiting_ != 0) readers_.front().cancel();
    for (datagram_request& each : requests_) each.interrupt();
}

bool datagram_state::ending() noexcept {
    for (datagram_request& each : requests_) {
        if (!each.made_ready()) return false;
    }
    return phase_ == phase::idle;
}

// --- those who wait --------------------------------------------------------------------------

bool datagram_waiter::wait(std::coroutine_handle<> awaiting, context& where) {
    scheduler& on = scheduler::of(where);
    datagram_state& state = *state_;
    state.use_on(on);
    const bool finished = state.finished_ && state.stopped();
    if (where.cancelled()) {
        result_ = -ECANCELED;
    } else if (state.has_news() || (finished && state.take_from_socket())) {
        // Now, as another task may ask before this one is resumed.
        taken_ = state.take(result_);
        if (!on.must_yield()) return false;
    } else if (finished) {
        result_ = -ECANCELED;
    } else {
        state.arm();
        queue(awaiting, where);
        state.readers_.push_back(*this);
        ++state.waiting_;
        return true;
    }
    queue(awaiting, where);
    on.make_ready(*this);
    return true;
}

void datagram_waiter::queue(std::coroutine_handle<> awaiting, context& where) {
    where.wait_for(*this, awaiting);
    suspended_ = true;
    ++state_->reading_;
}

void datagram_waiter::cancel() noexcept {
    unlink();
    --state_->waiting_;
    result_ = -ECANCELED;
    where().loop().make_ready(*this);
}

void datagram_request::begin_receive(std::coroutine_handle<> awaiting, context& where) {
    start(awaiting, where);
    state_->requests_.push_back(*this);
}

void datagram_request::begin_send(std::coroutine_handle<> awaiting, context& where) {
    counted_ = true;
    ++state_->sending_;
    start(awaiting, where);
    state_->requests_.push_back(*this);
}

void datagram_request::begin_ended(std::coroutine_handle<> awaiting, context& where) {
    where.wait_for(*this, awaiting);
    finish();
    state_->requests_.push_back(*this);
}

void datagram_request::fell_short() noexcept {
    if (asks_again() && !cancel_requested_) {
        unfinished_ = true;
        loop().attend_to(*state_);
        return;
    }
    if (asks_again()) result_ = -ECANCELED;
    finish();
    state_->wake_closer();
}

}  // namespace rondo::inline v0
