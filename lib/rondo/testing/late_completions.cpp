#include <rondo/testing/late_completions.hpp>

#include <algorithm>
#include <utility>

namespace rondo::inline v0::testing {

void late_completions::stage(const completion& arrived, bool hold, std::uint64_t now) {
    std::uint64_t due = now;
    if (hold || dice_.roll(fault::held_completion)) {
        due += 1 + dice_.below(dice_.plan().longest_hold);
        dice_.count(fault::held_completion);
    }
    const auto before = held_by_request_.find(arrived.user_data);
    if (due == now && before == held_by_request_.end()) {
        due_.push_back(arrived);
        return;
    }
    // Not before what the same request has waiting.
    hold_of_request& all = before != held_by_request_.end() ? before->second
                                                            : held_by_request_[arrived.user_data];
    all.due = std::max(all.due, due);
    ++all.count;
    held_.push_back({arrived, all.due});
}

void late_completions::release(std::uint64_t now) {
    std::erase_if(held_, [this, now](const held_completion& each) {
        if (each.due > now) return false;
        due_.push_back(each.what);
        const auto all = held_by_request_.find(each.what.user_data);
        if (--all->second.count == 0) held_by_request_.erase(all);
        return true;
    });
}

std::size_t late_completions::line_up() {
    for (std::size_t i = 1; i < due_.size(); ++i) {
        if (due_[i - 1].user_data == due_[i].user_data) continue;
        if (!dice_.roll(fault::swapped_completions)) continue;
        dice_.count(fault::swapped_completions);
        std::swap(due_[i - 1], due_[i]);
    }
    line_.insert(line_.end(), due_.begin(), due_.end());
    const std::size_t added = due_.size();
    due_.clear();
    return added;
}

completion late_completions::take() {
    const completion first = line_.front();
    line_.pop_front();
    return first;
}

}  // namespace rondo::inline v0::testing
