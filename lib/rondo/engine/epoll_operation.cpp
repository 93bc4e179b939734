#include <rondo/engine/epoll_operation.hpp>

#include <utility>

namespace rondo::inline v0::detail {

epoll_operation_store::epoll_operation_store() : buckets_(block_size, nullptr) {}

void epoll_operation_store::grow() {
    if (live_ >= buckets_.size()) {
        std::vector<epoll_operation*> old(buckets_.size() * 2, nullptr);
        old.swap(buckets_);
        for (epoll_operation* chain : old) {
            while (chain != nullptr) {
                epoll_operation& operation = *std::exchange(chain, chain->index_next);
                link(operation);
            }
        }
    }
    if (free_ != nullptr) return;
    blocks_.push_back(std::make_unique<epoll_operation[]>(block_size));
    epoll_operation* block = blocks_.back().get();
    for (std::size_t i = block_size; i-- > 0;) {
        block[i].next = free_;
        free_ = &block[i];
    }
}

std::size_t epoll_operation_store::bucket_of(std::uint64_t user_data) const noexcept {
    // user_data is mostly an address: multiplying spreads its low, equal bits over the high ones.
    const std::uint64_t mixed = user_data * 0x9e3779b97f4a7c15u;
    return static_cast<std::size_t>(mixed >> 32) & (buckets_.size() - 1);
}

void epoll_operation_store::link(epoll_operation& operation) noexcept {
    epoll_operation*& first = buckets_[bucket_of(operation.user_data)];
    operation.index_next = first;
    operation.index_link = &first;
    if (first != nullptr) first->index_link = &operation.index_next;
    first = &operation;
}

void epoll_operation_store::add_to_index(epoll_operation& operation) noexcept {
    link(operation);
    ++waiting_;
}

void epoll_operation_store::remove_from_index(epoll_operation& operation) noexcept {
    *operation.index_link = operation.index_next;
    if (operation.index_next != nullptr) operation.index_next->index_link = operation.index_link;
    operation.index_link = nullptr;
    --waiting_;
}

epoll_operation* epoll_operation_store::find(std::uint64_t user_data) const noexcept {
    epoll_operation* operation = buckets_[bucket_of(user_data)];
    while (operation != nullptr && operation->user_data != user_data) {
        operation = operation->index_next;
    }
    return operation;
}

}  // namespace rondo::inline v0::detail
