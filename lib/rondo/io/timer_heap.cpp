#include <rondo/io/timer_heap.hpp>

#include <algorithm>

namespace rondo::inline v0 {

void timer_heap::arm(timer& t, clock::time_point deadline) {
    const entry added{deadline, &t};
    entries_.push_back(added);
    t.deadline_ = deadline;
    sift_up(entries_.size() - 1, added);
}

void timer_heap::disarm(timer& t) noexcept {
    const std::size_t hole = t.position_;
    t.position_ = timer::unarmed;
    const entry last = entries_.back();
    entries_.pop_back();
    if (hole == entries_.size()) return;
    if (hole > 0 && last.deadline < entries_[(hole - 1) / arity].deadline) {
        sift_up(hole, last);
    } else {
        sift_down(hole, last);
    }
}

timer* timer_heap::pop_due(clock::time_point now) noexcept {
    if (entries_.empty() || entries_.front().deadline > now) return nullptr;
    timer* due = entries_.front().owner;
    disarm(*due);
    return due;
}

void timer_heap::place(std::size_t position, entry e) noexcept {
    entries_[position] = e;
    e.owner->position_ = position;
}

void timer_heap::sift_up(std::size_t position, entry e) noexcept {
    while (position > 0) {
        const std::size_t parent = (position - 1) / arity;
        if (entries_[parent].deadline <= e.deadline) break;
        place(position, entries_[parent]);
        position = parent;
    }
    place(position, e);
}

void timer_heap::sift_down(std::size_t position, entry e) noexcept {
    const std::size_t size = entries_.size();
    for (;;) {
        const std::size_t first = position * arity + 1;
        if (first >= size) break;
        const std::size_t end = std::min(first + arity, size);
        std::size_t earliest = first;
        for (std::size_t child = first + 1; child < end; ++child) {
            if (entries_[child].deadline < entries_[earliest].deadline) earliest = child;
        }
        if (e.deadline <= entries_[earliest].deadline) break;
        place(position, entries_[earliest]);
        position = earliest;
    }
    place(position, e);
}

}  // namespace rondo::inline v0
