#include <rondo/testing/scripted_stream.hpp>

#include <rondo/detail/misuse.hpp>
#include <rondo/detail/quoted.hpp>
#include <rondo/stream/stream_error.hpp>
#include <rondo/task/event_loop.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace rondo::inline v0::testing {

namespace {

std::string_view text_of(const const_buffer& data) noexcept {
    return {reinterpret_cast<const char*>(data.data()), data.size()};
}

/// A little of what stands before `at`, and what follows.
std::string quoted_around(std::string_view bytes, std::size_t at) {
    constexpr std::size_t before = 20;
    const std::size_t from = at > before ? at - before : 0;
    return (from > 0 ? "..." : "") + detail::quoted(bytes.substr(from));
}

std::error_code canceled() { return std::make_error_code(std::errc::operation_canceled); }

[[noreturn]] void throw_failure(const char* verb, const std::error_code& why,
                                std::size_t transferred) {
    if (why == std::errc::operation_canceled) detail::throw_canceled(transferred);
    throw stream_error(why, fmt::format("{} of a scripted_stream: {}", verb, why.message()),
                       transferred);
}

}  // namespace

script_error::~script_error() = default;

// --- the script ----------------------------------------------------------------------------------

scripted_stream::scripted_stream() : leases_(std::make_shared<int>(0)) {}

scripted_stream::~scripted_stream() {
    detail::require(reader_ == nullptr && sender_ == nullptr,
                    "a scripted_stream destroyed while it is awaited");
}

scripted_stream& scripted_stream::add_receive(action what, std::string bytes,
                                              std::error_code why) {
    receives_.push_back({what, ++steps_, sending_steps_, std::move(bytes), why});
    return *this;
}

scripted_stream& scripted_stream::add_send(action what, std::string bytes, std::error_code why) {
    sends_.push_back({what, ++steps_, sending_steps_++, std::move(bytes), why});
    return *this;
}

scripted_stream& scripted_stream::expect(std::string bytes) {
    detail::require(!bytes.empty(), "a script that expects nothing to be sent");
    return add_send(action::bytes, std::move(bytes));
}
scripted_stream& scripted_stream::expect_end() { return add_send(action::end); }
scripted_stream& scripted_stream::fail_send(std::error_code why) {
    return add_send(action::fail, {}, why);
}
scripted_stream& scripted_stream::stall_send() { return add_send(action::stall); }

scripted_stream& scripted_stream::answer(std::string bytes) {
    detail::require(!bytes.empty(), "a script with an answer of no bytes; end() is the end");
    return add_receive(action::bytes, std::move(bytes));
}
scripted_stream& scripted_stream::answer_in_pieces(std::string_view bytes, std::size_t size) {
    detail::require(size != 0, "a script with an answer in pieces of no bytes");
    for (; !bytes.empty(); bytes.remove_prefix(std::min(size, bytes.size()))) {
        answer(std::string(bytes.substr(0, size)));
    }
    return *this;
}
scripted_stream& scripted_stream::end() { return add_receive(action::end); }
scripted_stream& scripted_stream::fail_recv(std::error_code why) {
    return add_receive(action::fail, {}, why);
}
scripted_stream& scripted_stream::stall_recv() { return add_receive(action::stall); }

// --- what came of it -----------------------------------------------------------------------------

void scripted_stream::leave(const std::string& sentence) {
    if (failure_.empty()) failure_ = "scripted_stream: " + sentence;
    // It would wait for what never comes.
    if (reader_ != nullptr && reader_->where().waited_for_by(*reader_)) {
        reader_->where().loop().make_ready(*reader_);
    }
}

void scripted_stream::throw_if_left() const {
    if (!failure_.empty()) throw script_error(failure_);
}

std::string scripted_stream::described(const step& open, const char* sending) {
    switch (open.what) {
        case action::bytes:
            return fmt::format("step {} {} {}", open.number, sending, detail::quoted(open.bytes));
        case action::end: return fmt::format("step {} {} the end", open.number, sending);
        case action::fail: return fmt::format("step {} fails", open.number);
        case action::stall: return fmt::format("step {} stalls", open.number);
    }
    return {};
}

std::string scripted_stream::left_over() const {
    const bool sends = !sends_.empty();
    const bool receives = !receives_.empty();
    if (sends && (!receives || sends_.front().number < receives_.front().number)) {
        std::string text = described(sends_.front(), "expects");
        if (send_offset_ != 0) text += fmt::format(", of which {} bytes were sent", send_offset_);
        return text;
    }
    if (!receives) return {};
    std::string text = described(receives_.front(), "delivers");
    if (offset_ != 0) text += fmt::format(", of which {} bytes were received", offset_);
    return text;
}

void scripted_stream::verify() const {
    throw_if_left();
    const std::string left = left_over();
    if (left.empty()) return;
    throw script_error(fmt::format("scripted_stream: not all {} steps were reached: {}", steps_,
                                   left));
}

// --- receiving -----------------------------------------------------------------------------------

bool scripted_stream::receive_stalls() const noexcept {
    return !receives_.empty() && receives_.front().what == action::stall &&
           receives_.front().after <= sending_steps_done_;
}

bool scripted_stream::can_receive() const noexcept {
    if (!failure_.empty() || at_end_ || receives_.empty()) return true;
    return receives_.front().after <= sending_steps_done_ && !receive_stalls();
}

std::string_view scripted_stream::next_piece(std::error_code& why) {
    throw_if_left();
    if (at_end_) return {};
    if (receives_.empty()) {
        leave(fmt::format("a receive behind the last of {} steps; end() would be the end of the "
                          "stream", steps_));
        throw_if_left();
    }
    const step& next = receives_.front();
    if (next.what == action::bytes) return std::string_view(next.bytes).substr(offset_);
    if (next.what == action::end) at_end_ = true;
    why = next.why;
    pass_receive();
    return {};
}

void scripted_stream::piece_taken(std::size_t size) {
    offset_ += size;
    if (offset_ == receives_.front().bytes.size()) pass_receive();
}

void scripted_stream::pass_receive() noexcept {
    receives_.pop_front();
    offset_ = 0;
}

bool scripted_receive::begin(std::coroutine_handle<> awaiting, context& where) {
    detail::require(stream_->reader_ == nullptr, "two receives at once on one scripted_stream");
    cancelled_ = where.cancelled();
    const bool ready = cancelled_ || stream_->can_receive();
    if (ready && !cancelled_ && !where.loop().must_yield()) return false;
    stream_->reader_ = this;
    where.wait_for(*this, awaiting);
    if (ready) where.loop().make_ready(*this);
    return true;
}

void scripted_receive::cancel() noexcept {
    cancelled_ = true;
    if (stream_->receive_stalls()) stream_->pass_receive();
    where().loop().make_ready(*this);
}

void scripted_receive::collect() {
    if (collected_) return;
    collected_ = true;
    if (stream_->reader_ == this) stream_->reader_ = nullptr;
    if (cancelled_) {
        why_ = canceled();
    } else {
        piece_ = stream_->next_piece(why_);
    }
}

std::string_view scripted_receive::delivered() {
    collect();
    if (why_) throw_failure("recv", why_, 0);
    return piece_;
}

std::size_t scripted_receive_bytes::await_resume() {
    const std::string_view piece = delivered();
    const std::size_t size = std::min(piece.size(), buffer_.size());
    if (size == 0) return 0;
    std::memcpy(buffer_.data(), piece.data(), size);
    stream_->piece_taken(size);
    return size;
}

scripted_lease scripted_receive_lease::await_resume() {
    const std::string_view piece = delivered();
    if (piece.empty()) return scripted_lease();
    scripted_lease lease(piece, stream_->leases_);
    stream_->piece_taken(piece.size());
    return lease;
}

// --- sending -------------------------------------------------------------------------------------

bool scripted_stream::match_expected(std::string_view data, std::size_t& done) {
    const step& next = sends_.front();
    const std::string_view expected = std::string_view(next.bytes).substr(send_offset_);
    const std::string_view sent = data.substr(0, expected.size());
    const auto differ = std::mismatch(sent.begin(), sent.end(), expected.begin());
    const auto same = static_cast<std::size_t>(differ.first - sent.begin());
    if (same != sent.size()) {
        leave(fmt::format("step {} expects {}, and {} was sent: they differ at byte {} of the "
                          "step, byte {} of all that was sent",
                          next.number, quoted_around(next.bytes, send_offset_ + same),
                          quoted_around(data, same), send_offset_ + same, sent_ + same));
        return false;
    }
    done += same;
    sent_ += same;
    send_offset_ += same;
    if (send_offset_ == next.bytes.size()) pass_send();
    return true;
}

void scripted_stream::pass_send() noexcept {
    sends_.pop_front();
    send_offset_ = 0;
    ++sending_steps_done_;
    if (reader_ != nullptr && reader_->where().waited_for_by(*reader_) && can_receive()) {
        reader_->where().loop().make_ready(*reader_);
    }
}

bool scripted_stream::match(std::span<const const_buffer> list, std::size_t& done,
                            std::error_code& why) {
    std::size_t skip = done;
    for (const const_buffer& buffer : list) {
        std::string_view data = text_of(buffer);
        const std::size_t skipped = std::min(skip, data.size());
        data.remove_prefix(skipped);
        skip -= skipped;
        while (!data.empty() && failure_.empty()) {
            if (sends_.empty()) {
                leave(fmt::format("{} was sent behind the last step that expects anything, at byte "
                                  "{} of all that was sent", detail::quoted(data), sent_));
                return true;
            }
            const step& next = sends_.front();
            if (next.what == action::stall) return false;
            if (next.what == action::end) {
                leave(fmt::format("step {} expects the end, and {} was sent at byte {} of all that "
                                  "was sent", next.number, detail::quoted(data), sent_));
                return true;
            }
            if (next.what == action::fail) {
                why = next.why;
                pass_send();
                return true;
            }
            const std::size_t before = done;
            if (!match_expected(data, done)) return true;
            data.remove_prefix(done - before);
        }
    }
    return true;
}

void scripted_stream::shutdown(shutdown_mode mode) {
    throw_if_left();
    if (mode != shutdown_mode::send) {
        at_end_ = true;
        if (reader_ != nullptr && reader_->where().waited_for_by(*reader_)) {
            reader_->where().loop().make_ready(*reader_);
        }
    }
    if (mode == shutdown_mode::receive) return;
    if (sends_.empty() || sends_.front().what != action::end) {
        leave(sends_.empty() ? "the sending side was shut down behind the last step"
                             : "the sending side was shut down, and " +
                                   described(sends_.front(), "expects"));
        throw_if_left();
    }
    pass_send();
}

bool scripted_send::begin(std::coroutine_handle<> awaiting, context& where) {
    detail::require(stream_->sender_ == nullptr, "two sends at once on one scripted_stream");
    const bool cancelled = where.cancelled();
    bool ready = true;
    if (cancelled) {
        why_ = canceled();
    } else {
        ready = stream_->match(list_, transferred_, why_);
    }
    if (ready && !cancelled && !where.loop().must_yield()) return false;
    stream_->sender_ = this;
    where.wait_for(*this, awaiting);
    if (ready) where.loop().make_ready(*this);
    return true;
}

// Only a stalled send waits.
void scripted_send::cancel() noexcept {
    why_ = canceled();
    stream_->pass_send();
    where().loop().make_ready(*this);
}

void scripted_send::leave() noexcept {
    if (stream_->sender_ == this) stream_->sender_ = nullptr;
}

void scripted_send::await_resume() {
    leave();
    if (why_) throw_failure("send", why_, transferred_);
    stream_->throw_if_left();
}

}  // namespace rondo::inline v0::testing
