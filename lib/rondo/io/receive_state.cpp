#include <rondo/detail/misuse.hpp>
#include <rondo/detail/socket_family.hpp>
#include <rondo/io/receive_state.hpp>
#include <rondo/io/scheduler.hpp>
#include <rondo/task/frame_pool.hpp>

#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace rondo::inline v0 {

receive_state* receive_state::make(int descriptor) {
    return new (detail::frame_pool::allocate(sizeof(receive_state))) receive_state(descriptor);
}

void receive_state::operator delete(void* memory) noexcept {
    detail::frame_pool::deallocate(memory, sizeof(receive_state));
}

receive_state::~receive_state() { delete[] owned_; }

void receive_state::bind(scheduler& on) {
    detail::require(scheduler_ == nullptr,
                    "a socket is used on another scheduler than the one of its first use; "
                    "release() it there to move it");
    scheduler_ = &on;
    pool_ = &on.buffers();
    forgets_end_ =
        !on.carrier().has(feature::unix_end) && detail::family_of(descriptor_) == AF_UNIX;
    on.adopt(*this);
}

// --- from idle into the kernel ---------------------------------------------------------------

void receive_state::keep_descriptors() noexcept {
    detail::require(intake_ != intake::reads_ahead,
                    "recv_descriptors() after recv(), which reads ahead, so descriptors may be "
                    "lost already; receive by recv_descriptors() alone");
    intake_ = intake::descriptors;
}

void receive_state::arm() {
    if (phase_ != phase::idle) return;
    detail::require(intake_ != intake::descriptors,
                    "recv() after recv_descriptors() would lose descriptors that come; receive by "
                    "recv_descriptors() alone");
    intake_ = intake::reads_ahead;
    if (starved_ || !scheduler_->buffers().usable()) {
        arm_copying();
    } else {
        arm_multishot();
    }
}

void receive_state::arm_multishot() {
    const engine& carrier = scheduler_->carrier();
    io_uring_sqe& entry = scheduler_->next_entry();
    entry = {};
    entry.opcode = IORING_OP_RECV;
    entry.fd = descriptor_;
    entry.flags = IOSQE_BUFFER_SELECT;
    entry.buf_group = buffer_pool::group;
    if (carrier.has(feature::multishot_recv) && !backlogged_ && !forgets_end_) {
        entry.ioprio = IORING_RECV_MULTISHOT;
        // Where the kernel can, it ends the request by itself after so many bytes (sqe->optlen,
        // which liburing 2.3 knows as the same field file_index). Elsewhere attend() stops it.
        if (carrier.has(feature::receive_limit)) {
            entry.file_index =
                static_cast<std::uint32_t>(limit_in_buffers * scheduler_->buffers().buffer_size());
        }
    }
    entry.user_data = scheduler_->tag(*this);
    set_phase(phase::armed);
}

void receive_state::arm_copying() {
    if (owned_ == nullptr) owned_ = new std::byte[copy_size];
    io_uring_sqe& entry = scheduler_->next_entry();
    entry = {};
    entry.opcode = IORING_OP_RECV;
    entry.fd = descriptor_;
    entry.addr = reinterpret_cast<std::uint64_t>(owned_);
    entry.len = copy_size;
    entry.user_data = scheduler_->tag(*this);
    set_phase(phase::copying);
}

void receive_state::stop() {
    if (phase_ == phase::idle || phase_ == phase::stopping) return;
    set_phase(phase::stopping);
    scheduler_->cancel_request(scheduler_->tag(*this));
}

void receive_state::set_phase(phase next) noexcept {
    phase_ = next;
    obstacles_ &= static_cast<std::uint8_t>(~nothing_armed);
    if (next == phase::idle) obstacles_ |= nothing_armed;
}

// --- completions -----------------------------------------------------------------------------

void receive_state::complete(std::int32_t result, std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_BUFFER) != 0) [[likely]] {
        append(static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT),
               static_cast<std::uint32_t>(result));
    }
    if ((flags & IORING_CQE_F_MORE) == 0) [[unlikely]] {
        set_phase(phase::idle);
        if (orphaned_) {
            scheduler_->orphan_ended();
            close_descriptor();
            delete this;
            return;
        }
        ended(result);
    }
    notify();
}

void receive_state::append(std::uint16_t id, std::uint32_t length) noexcept {
    buffer_pool& pool = *pool_;
    pool.taken();
    if (orphaned_ || length == 0) [[unlikely]] {
        pool.give_back(id);
        return;
    }
    pool[id] = {length, buffer_pool::no_buffer};
    if (count_ == 0) {
        first_ = id;
    } else {
        pool[last_].next = id;
        if (turn_ != scheduler_->turn()) {
            turn_ = scheduler_->turn();
            left_over_ = count_;
            if (left_over_ >= most_left_over) scheduler_->attend_to(*this);
        } else if (count_ == left_over_ + most_at_once) [[unlikely]] {
            // Chunks so small that the limit does not end the request: it might forget the end.
            if (scheduler_->carrier().has(feature::receive_limit)) scheduler_->attend_to(*this);
        }
    }
    last_ = id;
    ++count_;
    obstacles_ |= news_waiting;
}

void receive_state::set_news(std::int32_t news) noexcept {
    news_ = news;
    obstacles_ |= news_waiting;
}

// An error stays: nothing that comes after it could be taken for a clean end.
std::int32_t receive_state::take_news() noexcept {
    if (news_ < 0) return news_;
    const std::int32_t taken = std::exchange(news_, no_news);
    note_delivery();
    return taken;
}

// Something was delivered.
void receive_state::note_delivery() noexcept {
    if (count_ == 0 && news_ == no_news) {
        obstacles_ &= static_cast<std::uint8_t>(~news_waiting);
    }
}

void receive_state::ended(std::int32_t result) noexcept {
    if (owned_ != nullptr && owned_size_ == 0) {
        copied(result);
        return;
    }
    // A buffer that was not filled: the kernel holds nothing more.
    if (result >= 0 && std::cmp_less(result, pool_->buffer_size())) backlogged_ = false;
    switch (result) {
        case -ENOBUFS: {
            buffer_pool& pool = scheduler_->buffers();
            starved_ = !pool.grow() && pool.held() == pool.size();
            break;
        }
        case -ECANCELED:
        case -EINTR:
        case -EAGAIN:
            break;
        case -ECONNRESET:
            set_news(lost_result());
            break;
        default:
            if (result <= 0) set_news(result);
    }
}

void receive_state::copied(std::int32_t result) noexcept {
    starved_ = false;
    if (result > 0) {
        owned_size_ = static_cast<std::uint32_t>(result);
        count_ = 1;
        obstacles_ |= news_waiting;
        return;
    }
    delete[] std::exchange(owned_, nullptr);
    // It asked for no buffer of the pool, of which there may be none: the kernel itself lacks it.
    if (result == -ENOBUFS) return set_news(result);
    ended(result);
}

void receive_state::notify() noexcept {
    if (waited_for()) {
        if (has_news()) {
            scheduler_->make_ready(*take_reader());
        } else if (phase_ == phase::idle) {
            scheduler_->attend_to(*this);
        }
    }
    wake_closer();
}

void receive_state::attend() noexcept {
    if (sender != nullptr && sender->unfinished()) sender->proceed();
    if (direct_reader != nullptr && direct_reader->unfinished()) direct_reader->proceed();
    if (phase_ == phase::idle) {
        if (waited_for() && !has_news()) arm();
    } else if (phase_ == phase::armed && !waited_for() && count_ >= most_left_over) {
        // What has queued up in the kernel meanwhile would come at once, however much it is.
        backlogged_ = !scheduler_->carrier().has(feature::receive_limit);
        stop();
    }
}

void receive_state::wake_closer() noexcept {
    if (closer != nullptr) scheduler_->make_ready(*std::exchange(closer, nullptr));
}

// --- delivery --------------------------------------------------------------------------------

chunk receive_state::take_chunk(std::int32_t& reason) noexcept {
    if (count_ == 0) [[unlikely]] {
        reason = take_news();
        return {};
    }
    --count_;
    note_delivery();
    const std::uint32_t skipped = std::exchange(offset_, 0);
    if (owned_size_ != 0) [[unlikely]] {
        chunk whole(std::exchange(owned_, nullptr), std::exchange(owned_size_, 0));
        whole.drop_front(skipped);
        return whole;
    }
    buffer_pool& pool = *pool_;
    const buffer_pool::note note = pool[first_];
    chunk taken(pool, first_, note.length);
    taken.drop_front(skipped);
    first_ = note.next;
    return taken;
}

std::int64_t receive_state::take_bytes(std::span<std::byte> buffer) noexcept {
    if (count_ == 0) return take_news();
    std::size_t copied = 0;
    while (count_ != 0 && copied < buffer.size()) {
        const bool owned = owned_size_ != 0;
        const std::byte* from = owned ? owned_ : scheduler_->buffers().data(first_);
        const std::uint32_t length = owned ? owned_size_ : scheduler_->buffers()[first_].length;
        const std::size_t n = std::min<std::size_t>(length - offset_, buffer.size() - copied);
        std::memcpy(buffer.data() + copied, from + offset_, n);
        copied += n;
        offset_ += static_cast<std::uint32_t>(n);
        if (offset_ == length) {
            offset_ = 0;
            std::int32_t unused = 0;
            const chunk emptied = take_chunk(unused);
        }
    }
    return static_cast<std::int64_t>(copied);
}

std::size_t receive_state::undelivered_bytes() const noexcept {
    if (count_ == 0) return 0;
    if (owned_size_ != 0) return owned_size_ - offset_;
    std::size_t total = 0;
    std::uint16_t id = first_;
    for (unsigned i = 0; i < count_; ++i) {
        const buffer_pool::note note = (*pool_)[id];
        total += note.length;
        id = note.next;
    }
    return total - offset_;
}

std::vector<std::byte> receive_state::take_all() {
    std::vector<std::byte> all;
    while (count_ != 0) {
        std::int32_t unused = 0;
        const chunk next = take_chunk(unused);
        all.insert(all.end(), next.bytes().begin(), next.bytes().end());
    }
    return all;
}

// --- the end ---------------------------------------------------------------------------------

void receive_state::drop_undelivered() noexcept {
    while (count_ != 0) {
        std::int32_t unused = 0;
        const chunk dropped = take_chunk(unused);
    }
}

void receive_state::close_descriptor() noexcept {
    if (scheduler_ != nullptr) scheduler_->carrier().forget(descriptor_);
    ::close(descriptor_);
}

void receive_state::abandon() noexcept {
    detail::require(scheduler_ == nullptr || scheduler_->on_this_thread(),
                    "a socket is destroyed on another thread than that of its scheduler; "
                    "release() it there to move it");
    detail::require(!reading() && sender == nullptr && closer == nullptr,
                    "a socket is destroyed while a task awaits it");
    drop_undelivered();
    served_hook::unlink();
    if (phase_ == phase::idle) {
        close_descriptor();
        delete this;
        return;
    }
    orphaned_ = true;
    scheduler_->orphan_made();
    // The peer learns of the end now; close(2) would not tell it while a request is pending.
    ::shutdown(descriptor_, SHUT_RDWR);
    stop();
}

int receive_state::surrender() noexcept {
    if (scheduler_ != nullptr) scheduler_->carrier().forget(descriptor_);
    drop_undelivered();
    const int released = descriptor_;
    delete this;
    return released;
}

void receive_state::unbind() {
    const std::vector<std::byte> kept = take_all();
    if (!kept.empty()) {
        owned_ = new std::byte[kept.size()];
        std::copy(kept.begin(), kept.end(), owned_);
        owned_size_ = static_cast<std::uint32_t>(kept.size());
        count_ = 1;
        obstacles_ |= news_waiting;
    }
    scheduler_->carrier().forget(descriptor_);
    completion_target::unlink();
    scheduler_ = nullptr;
}

// --- the one who waits -----------------------------------------------------------------------

// The usual case, kept so short that it needs no stack frame.
bool lease_waiter::wait(std::coroutine_handle<> awaiting, context& where) {
    receive_state& state = *state_;
    const bool usual = state.waits_at_once(scheduler::of(where)) && !where.cancelled();
    if (!usual) [[unlikely]] return receive_waiter::wait(awaiting, where, this);
    where.wait_for(*this, awaiting);
    state.set_reading();
    state.lease_reader = this;
    return true;
}

bool receive_waiter::wait(std::coroutine_handle<> awaiting, context& where, lease_waiter* lease) {
    scheduler& on = scheduler::of(where);
    result_ = 0;
    state_->use_on(on);
    detail::require(!state_->reading(), "two receives at once on one socket");
    const bool cancelled = where.cancelled();
    if (!cancelled) {
        if (!state_->has_news()) {
            state_->arm();
        } else if (!on.must_yield()) {
            return false;
        }
    }
    where.wait_for(*this, awaiting);
    state_->set_reading();
    if (cancelled) result_ = -ECANCELED;
    if (cancelled || state_->has_news()) {
        on.make_ready(*this);
    } else if (lease != nullptr) {
        state_->lease_reader = lease;
    } else {
        state_->copy_reader = this;
    }
    return true;
}

void receive_waiter::cancel() noexcept {
    state_->take_reader();
    result_ = -ECANCELED;
    where().loop().make_ready(*this);
}

receive_waiter* receive_state::take_reader() noexcept {
    receive_waiter* const taken = lease_reader != nullptr ? lease_reader : copy_reader;
    lease_reader = nullptr;
    copy_reader = nullptr;
    taken->result_ = 0;
    return taken;
}

void receive_state::interrupt() noexcept {
    if (lease_reader != nullptr) lease_reader->cancel();
    if (copy_reader != nullptr) copy_reader->cancel();
    if (direct_reader != nullptr) direct_reader->interrupt();
    if (sender != nullptr) sender->interrupt();
}

bool receive_state::ending() const noexcept {
    const auto in_kernel = [](const operation* o) { return o != nullptr && !o->made_ready(); };
    return phase_ == phase::idle && !in_kernel(direct_reader) && !in_kernel(sender);
}

}  // namespace rondo::inline v0
