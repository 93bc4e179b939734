// Records: however the input is cut into pieces, with leases and without, a buffered_reader reads
// what a plain search in the whole text finds, and fails where that fails, taking nothing.
#include <fuzz/fuzz.hpp>
#include <fuzz/plain_loop.hpp>

#include <rondo/stream/buffered_reader.hpp>
#include <rondo/stream/stream_error.hpp>

#include <coroutine>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace rondo::fuzz {

namespace {

using text = std::string_view;

template <typename Value>
class at_once {
public:
    explicit at_once(Value value) noexcept : value_(std::move(value)) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    Value await_resume() noexcept { return std::move(value_); }

private:
    Value value_;
};

/// A piece in an allocation of its own, so that a view of it that is used too late is seen.
class lease {
public:
    lease() noexcept = default;
    explicit lease(text piece) : bytes_(std::make_unique<std::byte[]>(piece.size())),
                                 size_(piece.size()) {
        std::memcpy(bytes_.get(), piece.data(), size_);
    }
    explicit operator bool() const noexcept { return size_ != 0; }
    std::span<const std::byte> bytes() const noexcept { return {bytes_.get(), size_}; }

private:
    std::unique_ptr<std::byte[]> bytes_;
    std::size_t size_ = 0;
};

/// Pieces without end() behind them are followed by the end of the stream, again and again.
class piece_stream {
public:
    explicit piece_stream(std::deque<std::string> pieces) : pieces_(std::move(pieces)) {}

    at_once<std::size_t> recv(std::span<std::byte> buffer) {
        if (pieces_.empty()) return at_once<std::size_t>(0);
        std::string& piece = pieces_.front();
        const std::size_t size = std::min(piece.size(), buffer.size());
        if (size != 0) std::memcpy(buffer.data(), piece.data(), size);
        piece.erase(0, size);
        if (piece.empty()) pieces_.pop_front();
        return at_once(size);
    }

protected:
    std::deque<std::string> pieces_;
};

class leased_pieces : public piece_stream {
public:
    using piece_stream::piece_stream;
    using piece_stream::recv;

    at_once<lease> recv() {
        if (pieces_.empty()) return at_once(lease());
        lease made(pieces_.front());
        pieces_.pop_front();
        return at_once(std::move(made));
    }
};

enum class outcome : std::uint8_t { value, nothing, too_long, ended_early };

/// What a read gave, or is expected to give.
struct answer {
    outcome how = outcome::value;
    std::string bytes = {};

    friend bool operator==(const answer&, const answer&) = default;
};

// --- the reference: a search in what has not been read -------------------------------------------

struct found {
    answer what;
    std::size_t taken = 0;
};

found line_in(text rest, std::size_t limit) {
    const std::size_t end = rest.find('\n');
    if (end == rest.npos) {
        if (rest.empty()) return {{outcome::nothing}};
        if (rest.size() > limit) return {{outcome::too_long}};
        return {{outcome::value, std::string(rest)}, rest.size()};
    }
    text line = rest.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.size() > limit) return {{outcome::too_long}};
    return {{outcome::value, std::string(line)}, end + 1};
}

found record_in(text rest, text delimiter, std::size_t limit) {
    const std::size_t at = rest.find(delimiter);
    if (at == rest.npos) {
        if (rest.empty()) return {{outcome::nothing}};
        // Its last bytes may begin the delimiter.
        const bool is_long = rest.size() > limit + delimiter.size() - 1;
        return {{is_long ? outcome::too_long : outcome::ended_early}};
    }
    if (at > limit) return {{outcome::too_long}};
    const std::size_t size = at + delimiter.size();
    return {{outcome::value, std::string(rest.substr(0, size))}, size};
}

found sized_in(text rest, std::size_t size, std::size_t limit) {
    if (size > limit) return {{outcome::too_long}};
    if (size > rest.size()) return {{outcome::ended_early}};
    return {{outcome::value, std::string(rest.substr(0, size))}, size};
}

found peeked_in(text rest, std::size_t size, std::size_t limit) {
    if (size > limit) return {{outcome::too_long}};
    return {{outcome::value, std::string(rest.substr(0, size))}, 0};
}

found skipped_in(text rest, text delimiter) {
    const std::size_t at = rest.find(delimiter);
    if (at == rest.npos) return {{outcome::nothing}, rest.size()};
    return {{outcome::value}, at + delimiter.size()};
}

// --- the reader ----------------------------------------------------------------------------------

struct plan {
    std::string whole;
    std::deque<std::string> pieces;
    std::string delimiter;
    std::size_t limit = 0;
    input steps;
};

plan plan_of(input in) {
    const std::size_t limit = in.below(32);
    std::string delimiter(in.text(1 + in.below(4)));
    if (delimiter.empty()) delimiter = "\n";
    const input steps = in.part(in.below(64));
    plan made{.whole = {}, .pieces = {}, .delimiter = delimiter, .limit = limit, .steps = steps};
    while (!in.empty()) {
        std::string piece(in.text(1 + in.below(32)));
        made.whole += piece;
        if (!piece.empty()) made.pieces.push_back(std::move(piece));
    }
    return made;
}

template <typename Operation, typename Bytes>
task<answer> outcome_of(Operation&& operation, Bytes bytes) {
    context& here = co_await this_context();
    std::exception_ptr failure = co_await operation.settle(here);
    if (!failure) co_return bytes(operation.take());
    answer failed;
    try {
        std::rethrow_exception(failure);
    } catch (const limit_exceeded&) {
        failed.how = outcome::too_long;
    } catch (const unexpected_end&) {
        failed.how = outcome::ended_early;
    }
    co_return failed;
}

answer of_optional(const std::optional<text>& got) {
    if (!got) return {outcome::nothing};
    return {outcome::value, std::string(*got)};
}
answer of_view(const received_view& got) { return {outcome::value, std::string(got.text())}; }
answer of_skip(bool reached) { return {reached ? outcome::value : outcome::nothing}; }

template <typename Stream>
class session {
public:
    session(const plan& made, Stream& stream)
        : plan_(&made), rest_(made.whole), reader_(stream, made.limit) {}

    task<> play() {
        input steps = plan_->steps;
        while (!steps.empty()) {
            const unsigned what = steps.below(10);
            auto work = step(what, steps.below(48));
            co_await std::move(work);
            check_buffered();
        }
    }

private:
    task<> step(unsigned what, std::size_t size) {
        switch (what) {
            case 0: return line();
            case 1: return until();
            case 2: return sized(size);
            case 3: return filled(size);
            case 4: return peeked(size);
            case 5: return any();
            case 6: return some(size);
            case 7: return skip(plan_->delimiter);
            case 8: return skip("\n");
            default: return consume(size);
        }
    }

    void check_buffered() const {
        check(rest_.starts_with(reader_.buffered().text()), "what is buffered is not what is next");
    }
    void compare(const answer& got, const found& expected) {
        check(got == expected.what, "the reader and a plain search differ");
        rest_.remove_prefix(expected.taken);
    }

    task<> line() {
        auto got = co_await outcome_of(detail::as_task(reader_.read_line()), of_optional);
        compare(got, line_in(rest_, plan_->limit));
    }
    task<> until() {
        auto got = co_await outcome_of(detail::as_task(reader_.read_until(plan_->delimiter)),
                                       of_optional);
        compare(got, record_in(rest_, plan_->delimiter, plan_->limit));
    }
    task<> sized(std::size_t size) {
        auto got = co_await outcome_of(detail::as_task(reader_.read_exactly(size)), of_view);
        compare(got, sized_in(rest_, size, plan_->limit));
    }
    task<> peeked(std::size_t size) {
        auto got = co_await outcome_of(detail::as_task(reader_.peek(size)), of_view);
        compare(got, peeked_in(rest_, size, plan_->limit));
    }
    task<> skip(text delimiter) {
        auto got = co_await outcome_of(reader_.skip_until(delimiter), of_skip);
        compare(got, skipped_in(rest_, delimiter));
    }
    task<> filled(std::size_t size) {
        std::string room(size, '\0');
        const auto bytes = std::as_writable_bytes(std::span(room));
        bool early = false;
        try {
            co_await reader_.read_exactly(bytes);
        } catch (const unexpected_end&) {
            early = true;
        }
        const answer got = early ? answer{outcome::ended_early} : answer{outcome::value, room};
        compare(got, sized_in(rest_, size, size));
    }
    // How much is there depends on the pieces.
    task<> any() {
        const received_view got = co_await reader_.recv();
        check(rest_.starts_with(got.text()), "recv returns what is not next");
        check(got.empty() == rest_.empty(), "recv returns nothing before the end, or ever after");
        rest_.remove_prefix(got.size());
    }
    task<> some(std::size_t size) {
        std::string room(size, '\0');
        const std::size_t n = co_await reader_.recv(std::as_writable_bytes(std::span(room)));
        check(n <= size && rest_.starts_with(text(room).substr(0, n)),
              "recv(buffer) returns what is not next");
        check((n == 0) == (rest_.empty() || size == 0), "recv(buffer) ends too early or too late");
        rest_.remove_prefix(n);
    }
    task<> consume(std::size_t size) {
        const std::size_t there = std::min(size, reader_.buffered().size());
        reader_.consume(there);
        rest_.remove_prefix(there);
        co_return;
    }

    const plan* plan_;
    text rest_;
    buffered_reader<Stream> reader_;
};

template <typename Stream>
void read_all(const plan& made) {
    Stream stream(made.pieces);
    session<Stream> reading(made, stream);
    plain_loop().run(reading.play());
}

}  // namespace

void feed_reader(input in) {
    const plan made = plan_of(in);
    read_all<piece_stream>(made);
    read_all<leased_pieces>(made);
}

}  // namespace rondo::fuzz
