#include <rondo/testing/faulty_engine.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include <linux/io_uring.h>
#include <sys/socket.h>

#include <rondo/testing/entry_kind.hpp>
#include <rondo/testing/kernel_errors.hpp>

namespace rondo::inline v0::testing {

using namespace entry_kind;

namespace {

static_assert(sizeof(io_uring_sqe) == 64);

// Long enough for a loopback peer to act, short enough that eight holds go unnoticed.
constexpr std::chrono::microseconds longest_wait_while_held{200};
// An inner engine that takes nothing this often in a row has no memory left.
constexpr int most_flushes = 1000;

constexpr unsigned flag(int message_flag) noexcept { return static_cast<unsigned>(message_flag); }

}  // namespace

faulty_engine::faulty_engine(std::unique_ptr<engine> inner, fault_plan plan,
                             engine_options options)
    : plan_(std::move(plan)),
      name_("faulty(" + std::string(inner->name()) + ")"),
      entry_dice_(plan_.seed, plan_, injected_),
      enter_dice_(plan_.seed + 0x5851f42d4c957f2du, plan_, injected_),
      completions_(fault_dice(plan_.seed + 0x14057b7ef767814fu, plan_, injected_)),
      inner_(std::move(inner)) {
    const unsigned entries =
        std::min(std::bit_ceil(std::max(options.entries, 1u)),
                 std::bit_floor(std::max(inner_->entry_capacity(), 1u)));
    const unsigned completions = std::bit_ceil(std::max(options.completions, 1u));
    plan_.longest_hold = std::max(plan_.longest_hold, 1u);
    entry_memory_ = std::make_unique<std::byte[]>(entries * entry_size);
    completion_memory_ = std::make_unique<completion[]>(completions);
    sq_ = {entry_memory_.get(), 0, entries, 0, entries - 1, entries};
    cq_ = {completion_memory_.get(), &completion_head_, &completion_tail_, completions - 1};

    features_ = inner_->features() - plan_.masked_features;
}

faulty_engine::~faulty_engine() = default;

bool faulty_engine::enter(duration timeout) {
    ++enters_;
    called_ = false;
    const bool has_work = pending_entries() != 0 || timeout > no_wait;
    const bool full = pending_entries() == entry_capacity();
    if (has_work && !full && enter_dice_.roll(fault::interrupted_enter)) {
        count(fault::interrupted_enter);
        return true;
    }
    completions_.release(enters_);
    pass_entries();
    if (inner_->enter(wait_time(timeout))) called_ = true;
    reap();
    // An entry must not rest where the caller's pending_entries() does not show it.
    for (int i = 0; i < most_flushes && inner_->pending_entries() != 0; ++i) {
        if (inner_->enter(no_wait)) called_ = true;
        reap();
    }
    settle();
    deliver();
    return called_;
}

std::error_code faulty_engine::register_buffer_ring(std::uint16_t group, void* ring,
                                                    unsigned entries) {
    if (masked(feature::buffer_ring)) {
        count(fault::refused);
        return std::make_error_code(std::errc::invalid_argument);
    }
    return inner_->register_buffer_ring(group, ring, entries);
}

void faulty_engine::unregister_buffer_ring(std::uint16_t group) noexcept {
    inner_->unregister_buffer_ring(group);
}

// What is held is kept under its user_data: nothing here is remembered under a descriptor.
void faulty_engine::forget(int descriptor) noexcept { inner_->forget(descriptor); }

std::uint64_t faulty_engine::overflows() const noexcept {
    return injected(fault::overflow) + inner_->overflows();
}

std::string faulty_engine::describe() const {
    std::string line = name_ + " seed=" + std::to_string(plan_.seed) +
                       " entries=" + std::to_string(entry_capacity()) +
                       " completions=" + std::to_string(completion_capacity()) +
                       " enters=" + std::to_string(enters_);
    for (std::size_t i = 0; i < fault_count; ++i) {
        if (injected_[i] == 0) continue;
        line += ' ';
        line += to_string(static_cast<fault>(i));
        line += '=' + std::to_string(injected_[i]);
    }
    return line;
}

const fault_plan::rule* faulty_engine::rule_for(std::uint8_t opcode,
                                                unsigned nth) const noexcept {
    for (const fault_plan::rule& each : plan_.rules) {
        if (each.opcode == opcode && each.nth == nth) return &each;
    }
    return nullptr;
}

bool faulty_engine::masked(feature f) const noexcept {
    return plan_.masked_features.has(f);
}

const io_uring_sqe& faulty_engine::entry_at(unsigned index) const noexcept {
    return *reinterpret_cast<const io_uring_sqe*>(sq_.entries + entry_size * (index & sq_.mask));
}

void faulty_engine::pass_entries() {
    pass_deferred_cancels();
    const unsigned pending = pending_entries();
    const bool full = pending == entry_capacity();
    unsigned limit = pending;
    if (pending != 0 && enter_dice_.roll(fault::partial_submit)) {
        limit = std::max(enter_dice_.below(pending), full ? 1u : 0u);
        if (limit < pending) count(fault::partial_submit);
    }
    unsigned taken = 0;
    while (taken < limit) {
        const unsigned length = chain_length();
        if (length == 1 && stalls(entry_at(sq_.head), full && taken == 0)) break;
        if (!make_room(length)) break;
        for (unsigned i = 0; i < length; ++i) {
            if (length == 1) {
                pass(entry_at(sq_.head));
            } else {
                // A chain depends on the exact outcome of its members.
                ++seen_[entry_at(sq_.head).opcode];
                note(entry_at(sq_.head));
                hand_over(entry_at(sq_.head));
            }
            set_taken(sq_.head + 1);
        }
        taken += length;
    }
}

unsigned faulty_engine::chain_length() const noexcept {
    unsigned length = 1;
    while (length < pending_entries() && is_linked(entry_at(sq_.head + length - 1))) ++length;
    return length;
}

// Later entries must not overtake a cancel: to delay it is to delay all that is behind it.
bool faulty_engine::stalls(const io_uring_sqe& entry, bool must_take) noexcept {
    if (entry.opcode != IORING_OP_ASYNC_CANCEL) return false;
    if (!cancel_judged_) {
        cancel_judged_ = true;
        const auto* rule = rule_for(entry.opcode, seen_[entry.opcode] + 1);
        if (!must_take && strikes(fault::late_cancel, rule)) {
            stall_until_ = enters_ + 1 + entry_dice_.below(plan_.longest_hold);
            count(fault::late_cancel);
        }
    }
    if (!must_take && enters_ < stall_until_) return true;
    stall_until_ = 0;
    cancel_judged_ = false;
    return false;
}

bool faulty_engine::make_room(unsigned entries) {
    const auto room = [this] { return inner_->entry_capacity() - inner_->pending_entries(); };
    if (room() < entries) {
        if (inner_->enter(no_wait)) called_ = true;
        reap();
    }
    return room() >= entries;
}

// Each is asked again until its target has ended: a kernel may miss one that it is just trying.
void faulty_engine::pass_deferred_cancels() {
    if (deferred_.empty() || !make_room(1)) return;
    for (deferred_cancel& each : deferred_) {
        if (each.due > enters_) continue;
        io_uring_sqe* slot = inner_->next_entry();
        if (slot == nullptr) return;
        *slot = {};
        slot->opcode = IORING_OP_ASYNC_CANCEL;
        if (inner_->has(feature::skip_success)) slot->flags = IOSQE_CQE_SKIP_SUCCESS;
        slot->fd = -1;
        slot->addr = each.target;
        slot->user_data = reinterpret_cast<std::uintptr_t>(this);
        each.due = enters_ + plan_.longest_hold;
    }
}

void faulty_engine::pass(const io_uring_sqe& prepared) {
    io_uring_sqe entry = prepared;
    const auto* rule = rule_for(entry.opcode, ++seen_[entry.opcode]);
    note(entry);
    if (answers_itself(entry, rule)) return;
    if (const int error = error_for(entry, rule); error != 0) {
        if (!is_carried_out_with(entry, error)) {
            stage({entry.user_data, -error, 0}, false);
            return;
        }
        requests_[entry.user_data].answer = error;
    }
    const bool cancels = entry.opcode == IORING_OP_ASYNC_CANCEL && entry.cancel_flags == 0;
    if (cancels && !is_tracked(entry.addr)) count(fault::cancel_missed);
    shape(entry, rule);
    hand_over(entry);
    if (rule != nullptr && rule->kind == fault::held_completion && !skips_success(entry)) {
        requests_[entry.user_data].held = true;
    }
}

bool faulty_engine::needs_masked(const io_uring_sqe& entry) const noexcept {
    return (masked(feature::multishot_recv) && is_multishot_receive(entry)) ||
           (masked(feature::multishot_accept) && is_multishot_accept(entry)) ||
           (masked(feature::receive_limit) && is_multishot_receive(entry) &&
            entry.file_index != 0) ||
           (masked(feature::multishot_poll) && is_multishot_poll(entry)) ||
           (masked(feature::skip_success) && skips_success(entry)) ||
           (masked(feature::send_zero_copy) && entry.opcode == IORING_OP_SEND_ZC);
}

// Whether the entry needs no inner engine and has had its completions.
bool faulty_engine::answers_itself(const io_uring_sqe& entry, const fault_plan::rule* rule) {
    if (entry.opcode == IORING_OP_POLL_ADD && !skips_success(entry) &&
        strikes(fault::spurious_readiness, rule)) {
        count(fault::spurious_readiness);
        std::uint32_t events = entry.poll32_events;
        if constexpr (std::endian::native == std::endian::big) events = std::rotl(events, 16);
        stage({entry.user_data, static_cast<int>(events & 0x7fffu), 0}, false);
        return true;
    }
    if (entry.opcode == IORING_OP_SEND_ZC && !masked(feature::send_zero_copy) &&
        strikes(fault::notified_error, rule)) {
        count(fault::notified_error);
        const int error = rule != nullptr && rule->error != 0 ? rule->error : EINTR;
        stage({entry.user_data, -error, IORING_CQE_F_MORE}, false);
        stage({entry.user_data, 0, IORING_CQE_F_NOTIF}, true);
        return true;
    }
    return false;
}

int faulty_engine::kernel_error(const io_uring_sqe& entry, const fault_plan::rule* rule) {
    const auto all = kernel_errors(entry.opcode);
    if (rule == nullptr && all.empty()) return 0;
    if (!strikes(fault::error, rule)) return 0;
    return rule != nullptr ? rule->error
                           : all[entry_dice_.below(static_cast<unsigned>(all.size()))];
}

// The errno to refuse the entry with, or 0. It may convert the entry, to end it so later.
int faulty_engine::error_for(io_uring_sqe& entry, const fault_plan::rule* rule) {
    const auto counted = [this](fault kind, int error) {
        count(kind);
        return error;
    };
    if (needs_masked(entry)) return counted(fault::refused, EINVAL);
    if (const int error = kernel_error(entry, rule); error != 0) {
        return rule != nullptr ? counted(fault::error, error)
                               : ending_error(entry, fault::error, error);
    }
    const bool accepts = entry.opcode == IORING_OP_ACCEPT;
    const bool transfers = is_receive(entry) || is_send(entry);
    const bool files = is_file_transfer(entry) || entry.opcode == IORING_OP_OPENAT;
    if ((accepts || transfers || files) && strikes(fault::interrupted_request, rule)) {
        return counted(fault::interrupted_request, EINTR);
    }
    if (transfers && (entry.msg_flags & flag(MSG_DONTWAIT)) != 0 &&
        strikes(fault::would_block, rule)) {
        return counted(fault::would_block, EAGAIN);
    }
    if ((accepts || transfers || entry.opcode == IORING_OP_POLL_ADD) &&
        strikes(fault::out_of_memory, rule)) {
        return counted(fault::out_of_memory, ENOMEM);
    }
    if (is_receive(entry) && (entry.flags & IOSQE_BUFFER_SELECT) != 0 &&
        strikes(fault::no_buffers, rule)) {
        return ending_error(entry, fault::no_buffers, ENOBUFS);
    }
    if (accepts && strikes(fault::accept_error, rule)) {
        constexpr int errors[] = {EMFILE, ENFILE, ECONNABORTED, ENOBUFS};
        const bool chosen = rule != nullptr && rule->error != 0;
        const int error = chosen ? rule->error : errors[entry_dice_.below(4)];
        return ending_error(entry, fault::accept_error, error);
    }
    return defers_cancel(entry, rule) ? EALREADY : 0;
}

// Half of the multishots fail at once; the others deliver something first.
int faulty_engine::ending_error(io_uring_sqe& entry, fault kind, int error) {
    count(kind);
    const bool by_cancel = is_message_multishot(entry);
    if (!(by_cancel || is_convertible(entry)) || is_tracked(entry.user_data) ||
        entry_dice_.coin()) {
        return error;
    }
    if (!by_cancel) make_one_shot(entry);
    request& ended = requests_[entry.user_data];
    ended.after = error;
    ended.ends = by_cancel;
    return 0;
}

// Only for a target that is known to be on its way: for any other EALREADY would be a lie.
bool faulty_engine::defers_cancel(const io_uring_sqe& entry, const fault_plan::rule* rule) {
    if (entry.opcode != IORING_OP_ASYNC_CANCEL || entry.cancel_flags != 0) return false;
    const auto target = requests_.find(entry.addr);
    if (target == requests_.end() || target->second.count != 1) return false;
    if (!strikes(fault::cancel_already, rule)) return false;
    count(fault::cancel_already);
    const std::uint64_t due = enters_ + 1 + entry_dice_.below(plan_.longest_hold);
    deferred_.push_back({entry.addr, due});
    return true;
}

void faulty_engine::shape(io_uring_sqe& entry, const fault_plan::rule* rule) {
    if (is_convertible(entry) && strikes(fault::early_end, rule)) end_early(entry, rule);
    if (is_message_multishot(entry) && !is_tracked(entry.user_data) &&
        strikes(fault::early_end, rule)) {
        count(fault::early_end);
        requests_[entry.user_data].ends = true;
    }
    // Of requests that nobody tells apart a second copy would end the first one's life.
    if (entry.opcode != IORING_OP_SENDMSG || !is_tracked(entry.user_data)) {
        auto copy = shorten(entry, rule, entry_dice_);
        if (copy != nullptr) requests_[entry.user_data].shortened = std::move(copy);
    }
    if (entry.opcode == IORING_OP_SEND_ZC &&
        strikes(fault::late_notification, rule)) {
        requests_[entry.user_data].notifies_late = true;
    }
}

void faulty_engine::end_early(io_uring_sqe& entry, const fault_plan::rule* rule) {
    count(fault::early_end);
    if (rule != nullptr && rule->error != 0) {
        make_one_shot(entry);
        requests_[entry.user_data].after = rule->error;
        return;
    }
    const bool can_limit = entry.opcode == IORING_OP_RECV &&
                           inner_->has(feature::receive_limit) && is_stream(entry);
    if (can_limit && entry_dice_.coin()) {
        const unsigned limit = 1 + entry_dice_.below(2048);
        const unsigned asked = total_limit(entry);
        total_limit(entry) = asked == 0 ? limit : std::min(asked, limit);
    } else {
        make_one_shot(entry);
    }
}

void faulty_engine::hand_over(const io_uring_sqe& entry) {
    *inner_->next_entry() = entry;
    if (skips_success(entry)) return;
    request& started = requests_[entry.user_data];
    ++started.count;
    if (!plan_.ordered || !ends_by_itself(entry)) return;
    started.is_sure = true;
    ++sure_;
}

void faulty_engine::note(const io_uring_sqe& entry) {
    origins_[entry.user_data] = {++entries_, entry.opcode};
    mix(entry.opcode);
    mix(entry.len);
}

void faulty_engine::mix(std::uint64_t value) noexcept {
    record_ = (std::rotl(record_, 5) ^ value) * 0x9e3779b97f4a7c15u;
}

engine::duration faulty_engine::wait_time(duration timeout) noexcept {
    if (timeout <= no_wait) return no_wait;
    const bool readable = completion_head_ != completion_tail_ || completions_.has_due();
    if (readable || pending_entries() != 0) return no_wait;
    if (enter_dice_.roll(fault::interrupted_wait)) {
        count(fault::interrupted_wait);
        return no_wait;
    }
    if (!completions_.has_held() && deferred_.empty()) return timeout;
    if (plan_.ordered) return no_wait;
    return std::min<duration>(timeout, longest_wait_while_held);
}

void faulty_engine::reap() {
    const unsigned end = inner_->completions_end();
    for (unsigned i = inner_->completions_begin(); i != end; ++i) {
        const completion& arrived = inner_->completion_at(i);
        if (arrived.user_data == reinterpret_cast<std::uintptr_t>(this)) continue;
        if (!plan_.ordered) {
            arrive(arrived);
            continue;
        }
        arrived_.push_back(arrived);
        const auto found = requests_.find(arrived.user_data);
        if (found != requests_.end() && found->second.is_sure) --sure_;
    }
    inner_->completions_consumed(end);
}

// What one thread's own doings bring is there at once, but in an order that is the inner engine's.
void faulty_engine::settle() {
    if (!plan_.ordered) return;
    for (int looks = 0; looks < 2; ++looks) {
        const std::size_t before = arrived_.size();
        if (inner_->enter(sure_ != 0 ? longest_wait_while_held : no_wait)) called_ = true;
        reap();
        if (arrived_.size() != before || sure_ != 0) looks = -1;
    }
    // Not stable_sort(): libstdc++ 12 has it use what clang 19 warns of.
    std::vector<std::pair<std::uint64_t, std::size_t>> order;
    for (std::size_t i = 0; i != arrived_.size(); ++i) {
        const auto found = origins_.find(arrived_[i].user_data);
        order.emplace_back(found == origins_.end() ? 0 : found->second.number, i);
    }
    std::ranges::sort(order);
    for (const auto& [number, index] : order) arrive(arrived_[index]);
    arrived_.clear();
}

void faulty_engine::arrive(const completion& had) {
    completion arrived = had;
    const auto found = requests_.find(arrived.user_data);
    if (found == requests_.end()) return stage(arrived, false);
    const bool late =
        found->second.notifies_late && (arrived.flags & IORING_CQE_F_NOTIF) != 0;
    if (late) count(fault::late_notification);
    const bool held = found->second.held || late;
    if (found->second.answer != 0 && arrived.result >= 0) arrived.result = -found->second.answer;
    if (found->second.ends) return keep_last(found->second, arrived);
    if ((arrived.flags & IORING_CQE_F_MORE) != 0) return stage(arrived, held);

    const int after = found->second.after;
    if (--found->second.count == 0) requests_.erase(found);
    // A cancel that came later would hit whatever has this user_data next.
    std::erase_if(deferred_, [&](const deferred_cancel& each) {
        return each.target == arrived.user_data;
    });
    if (after == 0 || arrived.result <= 0) return stage(arrived, held);
    stage({arrived.user_data, arrived.result, arrived.flags | IORING_CQE_F_MORE}, held);
    stage({arrived.user_data, -after, 0}, held);
}

// Ends a multishot after its first completions by a cancel of its own. The latest one is kept back
// until the next shows whether it was the last.
void faulty_engine::keep_last(request& ended, const completion& arrived) {
    constexpr std::uint32_t more = IORING_CQE_F_MORE;
    const bool held = ended.held;
    const std::optional<completion> kept = ended.kept;
    if ((arrived.flags & more) != 0) {
        ended.kept = arrived;
        if (kept) return stage(*kept, held);
        return deferred_.push_back({arrived.user_data, enters_});
    }
    const int after = ended.after;
    std::erase_if(deferred_, [&](const deferred_cancel& each) {
        return each.target == arrived.user_data;
    });
    requests_.erase(arrived.user_data);
    const bool cut = kept && arrived.result == -ECANCELED;
    if (cut && after == 0) {
        return stage({kept->user_data, kept->result, kept->flags & ~more}, held);
    }
    if (kept) stage(*kept, held);
    stage(cut ? completion{arrived.user_data, -after, 0} : arrived, held);
}

void faulty_engine::deliver() {
    const std::size_t added = completions_.line_up();
    while (completions_.waiting() != 0 &&
           completion_tail_ - completion_head_ != completion_capacity()) {
        const completion next = completions_.take();
        const origin& from = origins_[next.user_data];
        const bool opened = next.result > 0 && (from.opcode == IORING_OP_ACCEPT ||
                                                from.opcode == IORING_OP_OPENAT);
        mix(from.number);
        mix(opened ? 0 : static_cast<std::uint32_t>(next.result));
        mix(next.flags);
        cq_.entries[completion_tail_ & cq_.mask] = next;
        ++completion_tail_;
    }
    const std::size_t too_many = std::min(added, completions_.waiting());
    for (std::size_t i = 0; i != too_many; ++i) count(fault::overflow);
}

}  // namespace rondo::inline v0::testing
