#include <rondo/stream/pipe.hpp>

#include <rondo/detail/misuse.hpp>
#include <rondo/stream/stream_error.hpp>
#include <rondo/task/event_loop.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace rondo::inline v0 {

namespace detail {

namespace {

[[noreturn]] void throw_broken(std::size_t transferred) {
    const std::error_code code = std::make_error_code(std::errc::broken_pipe);
    std::string sentence = "send into a pipe: " + code.message();
    if (transferred != 0) sentence += fmt::format(" after {} bytes", transferred);
    throw stream_error(code, sentence + " (nobody will receive it)", transferred);
}

}  // namespace

// --- one direction -------------------------------------------------------------------------------

void pipe_direction::end() noexcept {
    ended_ = true;
    wake_reader();
    wake_writer();
}

void pipe_direction::refuse() noexcept {
    refused_ = true;
    wake_reader();
    wake_writer();
}

void pipe_direction::drop() noexcept {
    refuse();
    size_ = 0;
    ring_.reset();
}

void pipe_direction::wake_reader() noexcept {
    if (reader_ != nullptr && reader_->where().waited_for_by(*reader_)) {
        reader_->where().loop().make_ready(*reader_);
    }
}

void pipe_direction::wake_writer() noexcept {
    if (writer_ != nullptr && writer_->where().waited_for_by(*writer_)) {
        if (broken()) {
            writer_->fail();
        } else if (!writer_->advance()) {
            return;
        }
        writer_->where().loop().make_ready(*writer_);
    }
}

std::size_t pipe_direction::put(const_buffer data) {
    const std::size_t size = std::min(data.size(), capacity_ - size_);
    if (size == 0) return 0;
    if (!ring_) ring_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
    const std::size_t end = (first_ + size_) % capacity_;
    const std::size_t straight = std::min(size, capacity_ - end);
    std::memcpy(ring_.get() + end, data.data(), straight);
    std::memcpy(ring_.get(), data.data() + straight, size - straight);
    size_ += size;
    return size;
}

std::size_t pipe_direction::take(std::span<std::byte> buffer) noexcept {
    const std::size_t size = std::min(buffer.size(), size_);
    if (size == 0) return 0;
    const std::size_t straight = std::min(size, capacity_ - first_);
    std::memcpy(buffer.data(), ring_.get() + first_, straight);
    std::memcpy(buffer.data() + straight, ring_.get(), size - straight);
    size_ -= size;
    first_ = size_ == 0 ? 0 : (first_ + size) % capacity_;
    return size;
}

// --- receiving -----------------------------------------------------------------------------------

bool pipe_receive::begin(std::coroutine_handle<> awaiting, context& where) {
    require(from_->reader_ == nullptr, "two receives at once on one end of a pipe");
    cancelled_ = where.cancelled();
    const bool ready = cancelled_ || from_->can_receive() || buffer_.empty();
    if (ready && !cancelled_ && !where.loop().must_yield()) return false;
    from_->reader_ = this;
    where.wait_for(*this, awaiting);
    if (ready) where.loop().make_ready(*this);
    return true;
}

void pipe_receive::cancel() noexcept {
    cancelled_ = true;
    where().loop().make_ready(*this);
}

void pipe_receive::leave() noexcept {
    if (from_->reader_ == this) from_->reader_ = nullptr;
}

std::error_code pipe_receive::error() noexcept {
    leave();
    return cancelled_ ? std::make_error_code(std::errc::operation_canceled) : std::error_code();
}

std::size_t pipe_receive::await_resume() {
    leave();
    if (cancelled_) throw_canceled();
    const std::size_t size = from_->take(buffer_);
    if (size != 0) from_->wake_writer();
    return size;
}

// --- sending -------------------------------------------------------------------------------------

bool pipe_send::advance() {
    while (!list_.empty()) {
        const const_buffer& first = list_.front();
        const std::span<const std::byte> rest(first.data() + offset_, first.size() - offset_);
        const std::size_t size = to_->put(rest);
        offset_ += size;
        transferred_ += size;
        if (size != 0) to_->wake_reader();
        if (offset_ != first.size()) return false;
        list_ = list_.subspan(1);
        offset_ = 0;
    }
    return true;
}

void pipe_send::fail() noexcept { why_ = std::errc::broken_pipe; }

bool pipe_send::begin(std::coroutine_handle<> awaiting, context& where) {
    require(to_->writer_ == nullptr, "two sends at once on one end of a pipe");
    bool ready = true;
    if (where.cancelled()) {
        why_ = std::errc::operation_canceled;
    } else if (to_->broken()) {
        fail();
    } else {
        ready = advance();
    }
    // Only what is cancelled must go by way of the queue each time.
    if (ready && why_ != std::errc::operation_canceled && !where.loop().must_yield()) return false;
    to_->writer_ = this;
    where.wait_for(*this, awaiting);
    if (ready) where.loop().make_ready(*this);
    return true;
}

void pipe_send::cancel() noexcept {
    why_ = std::errc::operation_canceled;
    where().loop().make_ready(*this);
}

void pipe_send::leave() noexcept {
    if (to_->writer_ == this) to_->writer_ = nullptr;
}

std::error_code pipe_send::error() noexcept {
    leave();
    return why_ == std::errc{} ? std::error_code() : std::make_error_code(why_);
}

void pipe_send::await_resume() {
    leave();
    if (why_ == std::errc::operation_canceled) throw_canceled(transferred_);
    if (why_ != std::errc{}) throw_broken(transferred_);
}

}  // namespace detail

// --- the ends ------------------------------------------------------------------------------------

pipe_end& pipe_end::operator=(pipe_end&& other) noexcept {
    if (this != &other) {
        close();
        in_ = std::move(other.in_);
        out_ = std::move(other.out_);
    }
    return *this;
}

void pipe_end::close() noexcept {
    if (!is_open()) return;
    detail::require(!in_->awaited_by_receiver() && !out_->awaited_by_sender(),
                    "an end of a pipe destroyed while it is awaited");
    in_->drop();
    out_->end();
    in_.reset();
    out_.reset();
}

void pipe_end::shutdown(shutdown_mode mode) noexcept {
    if (mode != shutdown_mode::receive) out_->end();
    if (mode != shutdown_mode::send) in_->refuse();
}

pipe::pipe(std::size_t capacity) {
    detail::require(capacity != 0, "a pipe with room for nothing");
    auto forth = std::make_shared<detail::pipe_direction>(capacity);
    auto back = std::make_shared<detail::pipe_direction>(capacity);
    a = pipe_end(back, forth);
    b = pipe_end(std::move(forth), std::move(back));
}

}  // namespace rondo::inline v0
