#include <rondo/stream/read_window.hpp>

#include <utility>

namespace rondo::inline v0::detail {

void read_window::show_storage() noexcept {
    cursor_ = storage_.data();
    end_ = cursor_ + storage_.size();
    stored_ = true;
}

void read_window::keep() {
    if (stored_) {
        storage_.erase(0, storage_.size() - unread().size());
    } else {
        storage_.assign(unread());
    }
    if (storage_.empty() && storage_.capacity() > most_idle) std::string().swap(storage_);
    show_storage();
}

void read_window::append(std::string_view piece) {
    storage_.append(piece);
    show_storage();
}

std::string_view read_window::splice(std::string_view piece, std::size_t size) {
    storage_.append(piece.substr(0, size));
    show(piece.substr(size));
    return storage_;
}

void read_window::put_back(std::string_view bytes) {
    storage_.assign(bytes);
    show_storage();
}

}  // namespace rondo::inline v0::detail
