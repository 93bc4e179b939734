// Reading lines and other records from a stream.
#pragma once

#include <rondo/detail/misuse.hpp>
#include <rondo/stream/piece_source.hpp>
#include <rondo/stream/read_window.hpp>
#include <rondo/stream/record.hpp>
#include <rondo/stream/stream.hpp>
#include <rondo/task/sleep.hpp>

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstring>
#include <memory>
#include <source_location>
#include <span>
#include <string_view>
#include <utility>

namespace rondo::inline v0 {

namespace detail {

/// One read: at once where what it looks for is there, by a task where it must wait.
template <typename Reader, typename Request>
class buffered_read {
public:
    using value_type = typename Request::value_type;

    buffered_read(Reader& reader, const Request& request) noexcept
        : reader_(&reader), request_(request) {}
    buffered_read(const buffered_read&) = delete;
    buffered_read& operator=(const buffered_read&) = delete;
    ~buffered_read() {
        if (waits_) std::destroy_at(&waiting_);
    }

    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    std::coroutine_handle<> await_suspend(
        std::coroutine_handle<Promise> awaiting,
        std::source_location place = std::source_location::current()) {
        const bool cancelled = awaiting.promise().task_context().cancelled();
        if (!cancelled && request_.take(*reader_)) [[likely]] return awaiting;
        ::new (static_cast<void*>(&waiting_)) task<value_type>(reader_->wait_for(request_));
        waits_ = true;
        return std::move(waiting_).operator co_await().await_suspend(awaiting, place);
    }
    value_type await_resume() {
        if (!waits_) [[likely]] return request_.taken();
        return std::move(waiting_).operator co_await().await_resume();
    }

private:
    Reader* reader_;
    Request request_;
    bool waits_ = false;
    union {
        task<value_type> waiting_;
    };
};

template <typename Record>
class record_request {
public:
    using value_type = typename Record::value_type;

    explicit record_request(const Record& wanted) noexcept : record(wanted) {}

    template <typename Reader>
    bool take(Reader& reader) noexcept {
        return reader.take_record(record, value_);
    }
    value_type taken() const noexcept { return value_; }

    Record record;

private:
    value_type value_;
};

class fill_request {
public:
    using value_type = void;

    explicit fill_request(std::span<std::byte> wanted) noexcept : buffer(wanted) {}

    template <typename Reader>
    bool take(Reader& reader) noexcept {
        return reader.copy_all(buffer);
    }
    void taken() const noexcept {}

    std::span<std::byte> buffer;
};

class some_request {
public:
    using value_type = std::size_t;

    explicit some_request(std::span<std::byte> wanted) noexcept : buffer(wanted) {}

    template <typename Reader>
    bool take(Reader& reader) noexcept {
        size_ = reader.copy_some(buffer);
        return size_ != 0 || buffer.empty();
    }
    std::size_t taken() const noexcept { return size_; }

    std::span<std::byte> buffer;

private:
    std::size_t size_ = 0;
};

}  // namespace detail

/// Reads records from a stream that delivers bytes in pieces of any size. What it returns are
/// views, valid until the next call on the reader. Where the stream has leases, a record that came
/// in one piece is a view of that piece; what must be kept over a wait is copied out first, so that
/// a waiting reader holds no lease.
///
/// A read that fails or is cancelled takes nothing: what had come stays buffered, and the same or
/// another read goes on from there. It throws what the stream throws, limit_exceeded for a record
/// longer than the limit, and unexpected_end where the stream ends within a record.
///
///     buffered_reader reader(socket);
///     while (auto line = co_await reader.read_line()) handle(*line);
///
/// The stream must outlive the reader. While bytes are buffered, who receives from the stream
/// itself misses them. At most one read at a time.
template <readable_stream Stream>
class buffered_reader {
public:
    static constexpr std::size_t default_limit = 64 * 1024;

    /// `limit`: the most bytes of a record, its delimiter not counted.
    explicit buffered_reader(Stream& stream, std::size_t limit = default_limit) noexcept
        : source_(stream), limit_(limit) {}
    buffered_reader(const buffered_reader&) = delete;
    buffered_reader& operator=(const buffered_reader&) = delete;

    /// Completes when a line is there; returns it without its end, LF or CR LF, as a
    /// std::optional<std::string_view>: none at the end of the stream. A last line without an end
    /// is a line too. Throws limit_exceeded, or as the stream does, and has taken nothing then.
    auto read_line() noexcept { return read_record(detail::line_record()); }

    /// Completes when `delimiter` is there, of at least one byte, which must live until then;
    /// returns everything up to its end, delimiter included, as a
    /// std::optional<std::string_view>: none where the stream ends before a first byte. Throws
    /// unexpected_end, limit_exceeded, or as the stream does, and has taken nothing then.
    auto read_until(std::string_view delimiter) noexcept {
        return read_record(delimited(delimiter));
    }

    /// Completes when `size` bytes are there, at most the limit; returns them as a received_view.
    /// Throws unexpected_end, limit_exceeded, or as the stream does, and has taken nothing then.
    auto read_exactly(std::size_t size) noexcept {
        return read_record(detail::sized_record(size));
    }

    /// Completes when `buffer` is full, which may be longer than the limit and must live until
    /// then. Throws unexpected_end, or as the stream does. Cut short it leaves rubbish in `buffer`:
    /// the bytes are buffered again.
    auto read_exactly(std::span<std::byte> buffer) noexcept {
        return read_by(detail::fill_request(buffer));
    }

    /// Completes when `size` bytes are there, at most the limit, or the stream has ended; returns
    /// them as a received_view, fewer at the end. They stay unread. Throws limit_exceeded, or as
    /// the stream does.
    auto peek(std::size_t size) noexcept { return read_record(detail::peeked_record(size)); }

    /// Completes when there is anything; returns all that is there as a received_view, false at the
    /// end of the stream. Throws as the stream does, and has taken nothing then. So a reader is a
    /// lease_stream itself, one that has looked ahead.
    auto recv() noexcept { return read_record(detail::any_record()); }

    /// As recv(), but copies what is there into `buffer`, which must live until it completes;
    /// returns the count, 0 at the end of the stream.
    auto recv(std::span<std::byte> buffer) noexcept {
        return read_by(detail::some_request(buffer));
    }

    /// Completes when everything up to the end of `delimiter`, which must live until then, is read
    /// and forgotten, whatever its length: the way on after limit_exceeded. Returns false when the
    /// stream ended before. Cancelled, it may be called again to go on.
    task<bool> skip_until(std::string_view delimiter) {
        const detail::delimited_record record = delimited(delimiter);
        co_await yield_if_cancelled();
        std::size_t end = record.end_in({}, window_.unread());
        while (end == detail::no_end) {
            const std::size_t size = window_.unread().size();
            // The last bytes may begin the delimiter.
            window_.consume(size - std::min(size, delimiter.size() - 1));
            keep();
            const std::string_view piece = co_await source_.next();
            if (piece.empty()) {
                window_.consume(window_.unread().size());
                co_return false;
            }
            const std::size_t head = window_.unread().size();
            end = record.end_in(window_.unread(), piece);
            if (end != detail::no_end) end += head;
            window_.append(piece);
            source_.release();
        }
        window_.consume(end);
        co_return true;
    }
    /// As skip_until(), to the end of a line.
    auto skip_line() { return skip_until("\n"); }

    /// What has come and is unread; does not wait. consume() makes the first `size` bytes of it
    /// read: for parsers that say how much they took.
    received_view buffered() const noexcept { return received_view(window_.unread()); }
    void consume(std::size_t size) noexcept {
        detail::require(size <= window_.unread().size(), "consumed more than is buffered");
        window_.consume(size);
    }

    std::size_t limit() const noexcept { return limit_; }
    Stream& stream() const noexcept { return source_.stream(); }

private:
    template <typename Reader, typename Request>
    friend class detail::buffered_read;
    template <typename Record>
    friend class detail::record_request;
    friend class detail::fill_request;
    friend class detail::some_request;

    static detail::delimited_record delimited(std::string_view delimiter) noexcept {
        detail::require(!delimiter.empty(), "a delimiter without a byte");
        return detail::delimited_record(delimiter);
    }

    template <typename Request>
    auto read_by(const Request& request) noexcept {
        return detail::buffered_read<buffered_reader, Request>(*this, request);
    }
    template <typename Record>
    auto read_record(const Record& record) noexcept {
        return read_by(detail::record_request<Record>(record));
    }

    // --- what is there already ---

    template <typename Record>
    bool take_record(const Record& record, typename Record::value_type& value) noexcept {
        const std::string_view unread = window_.unread();
        const std::size_t end = record.end_in({}, unread);
        if (end == detail::no_end || record.too_long({}, unread, end, limit_)) return false;
        value = take(record, end);
        return true;
    }
    template <typename Record>
    auto take(const Record& record, std::size_t end) noexcept {
        const std::string_view taken = window_.unread().substr(0, end);
        if (Record::consumed) window_.consume(end);
        return record.value(taken);
    }
    std::size_t copy_some(std::span<std::byte> buffer) noexcept {
        const std::string_view unread = window_.unread();
        const std::size_t size = std::min(unread.size(), buffer.size());
        if (size != 0) std::memcpy(buffer.data(), unread.data(), size);
        window_.consume(size);
        return size;
    }
    bool copy_all(std::span<std::byte> buffer) noexcept {
        if (window_.unread().size() < buffer.size()) return false;
        copy_some(buffer);
        return true;
    }

    // --- what must be waited for ---

    // A cancelled scope lets nothing be read, not even what is there.
    static task<> yield_if_cancelled() {
        const context& here = co_await this_context();
        if (here.cancelled()) co_await yield();
    }
    void keep() {
        window_.keep();
        source_.release();
    }

    template <typename Record>
    task<typename Record::value_type> wait_for(detail::record_request<Record>& request) {
        const Record& record = request.record;
        co_await yield_if_cancelled();
        // Complete or not: a shorter one would have been taken.
        const std::string_view first = window_.unread();
        if (record.too_long({}, first, record.end_in({}, first), limit_)) record.fail(limit_);
        for (;;) {
            keep();
            const std::string_view piece = co_await source_.next();
            if (piece.empty()) co_return end_of(record);
            const std::string_view head = window_.unread();
            const std::size_t before = head.size();
            const std::size_t end = record.end_in(head, piece);
            const bool fails = record.too_long(head, piece, end, limit_);
            if (before == 0) {
                window_.show(piece);
            } else if (end != detail::no_end && !fails && Record::consumed) {
                co_return record.value(window_.splice(piece, end));
            } else {
                window_.append(piece);
                source_.release();
            }
            if (fails) record.fail(limit_);
            if (end != detail::no_end) co_return take(record, before + end);
        }
    }
    template <typename Record>
    auto end_of(const Record& record) {
        const std::string_view rest = window_.unread();
        auto value = record.at_end(rest, limit_);
        if (Record::consumed) window_.consume(rest.size());
        return value;
    }

    task<> wait_for(detail::fill_request& request) {
        const std::span<std::byte> buffer = request.buffer;
        co_await yield_if_cancelled();
        std::size_t got = copy_some(buffer);
        keep();
        try {
            while (got < buffer.size()) {
                const std::size_t n = co_await stream().recv(buffer.subspan(got));
                if (n == 0) detail::throw_ended_early(got, buffer.size(), 0);
                got += n;
            }
        } catch (...) {
            window_.put_back(detail::as_text(buffer.first(got)));
            throw;
        }
    }

    task<std::size_t> wait_for(detail::some_request& request) {
        const std::span<std::byte> buffer = request.buffer;
        co_await yield_if_cancelled();
        keep();
        const std::size_t n = co_await stream().recv(buffer);
        co_return n;
    }

    detail::read_window window_;
    detail::piece_source<Stream> source_;
    std::size_t limit_;
};

}  // namespace rondo::inline v0
