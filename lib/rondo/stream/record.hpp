// What one read of a buffered_reader looks for.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace rondo::inline v0 {

/// A view of bytes that a reader holds. False when it has none.
class received_view {
public:
    received_view() noexcept = default;
    explicit received_view(std::string_view text) noexcept : text_(text) {}

    explicit operator bool() const noexcept { return !text_.empty(); }
    bool empty() const noexcept { return text_.empty(); }
    std::size_t size() const noexcept { return text_.size(); }
    std::string_view text() const noexcept { return text_; }
    std::span<const std::byte> bytes() const noexcept {
        return std::as_bytes(std::span<const char>(text_));
    }

private:
    std::string_view text_;
};

namespace detail {

// Each kind of record answers the same questions. What was received is a `head` in which the
// record does not end, and a `tail` behind it.

inline constexpr std::size_t no_end = std::string_view::npos;

class line_record {
public:
    using value_type = std::optional<std::string_view>;
    static constexpr bool consumed = true;

    /// How many bytes of `tail` belong to the record, or no_end.
    std::size_t end_in(std::string_view, std::string_view tail) const noexcept {
        const std::size_t at = tail.find('\n');
        return at == no_end ? no_end : at + 1;
    }
    /// Whether it is, or must become, longer than `limit`.
    bool too_long(std::string_view head, std::string_view tail, std::size_t end,
                  std::size_t limit) const noexcept {
        const std::size_t size = head.size() + (end == no_end ? tail.size() : end - 1);
        if (size <= limit) [[likely]] return false;
        return size > limit + 1 || !ends_in_return(head, tail.substr(0, size - head.size()));
    }
    [[noreturn]] void fail(std::size_t limit) const;
    value_type value(std::string_view record) const noexcept {
        record.remove_suffix(1);
        if (record.ends_with('\r')) record.remove_suffix(1);
        return record;
    }
    /// What the end of the stream behind `rest` means; all of `rest` is consumed with a value.
    value_type at_end(std::string_view rest, std::size_t limit) const;

private:
    static bool ends_in_return(std::string_view head, std::string_view tail) noexcept {
        return tail.empty() ? head.ends_with('\r') : tail.ends_with('\r');
    }
};

class delimited_record {
public:
    using value_type = std::optional<std::string_view>;
    static constexpr bool consumed = true;

    explicit delimited_record(std::string_view delimiter) noexcept : delimiter_(delimiter) {}

    std::size_t end_in(std::string_view head, std::string_view tail) const noexcept;
    bool too_long(std::string_view head, std::string_view tail, std::size_t end,
                  std::size_t limit) const noexcept {
        const std::size_t size = head.size() + (end == no_end ? tail.size() : end);
        // Without an end in sight, all but its last byte may have come.
        const std::size_t room = end == no_end ? delimiter_.size() - 1 : delimiter_.size();
        return size > room && size - room > limit;
    }
    [[noreturn]] void fail(std::size_t limit) const;
    value_type value(std::string_view record) const noexcept { return record; }
    value_type at_end(std::string_view rest, std::size_t limit) const;

    std::string_view delimiter() const noexcept { return delimiter_; }

private:
    std::string_view delimiter_;
};

class sized_record {
public:
    using value_type = received_view;
    static constexpr bool consumed = true;

    explicit sized_record(std::size_t size) noexcept : size_(size) {}

    std::size_t end_in(std::string_view head, std::string_view tail) const noexcept {
        const std::size_t missing = size_ - head.size();
        return missing <= tail.size() ? missing : no_end;
    }
    bool too_long(std::string_view, std::string_view, std::size_t,
                  std::size_t limit) const noexcept {
        return size_ > limit;
    }
    [[noreturn]] void fail(std::size_t limit) const;
    value_type value(std::string_view record) const noexcept { return received_view(record); }
    value_type at_end(std::string_view rest, std::size_t limit) const;

protected:
    std::size_t size_;
};

/// As a sized_record, but it stays unread, and the end of the stream may cut it short.
class peeked_record : public sized_record {
public:
    static constexpr bool consumed = false;
    using sized_record::sized_record;

    [[noreturn]] void fail(std::size_t limit) const;
    value_type at_end(std::string_view rest, std::size_t) const noexcept {
        return received_view(rest);
    }
};

/// Whatever is there.
class any_record {
public:
    using value_type = received_view;
    static constexpr bool consumed = true;

    std::size_t end_in(std::string_view, std::string_view tail) const noexcept {
        return tail.empty() ? no_end : tail.size();
    }
    bool too_long(std::string_view, std::string_view, std::size_t, std::size_t) const noexcept {
        return false;
    }
    void fail(std::size_t) const noexcept {}
    value_type value(std::string_view record) const noexcept { return received_view(record); }
    value_type at_end(std::string_view, std::size_t) const noexcept { return {}; }
};

/// Throws unexpected_end for a read_exactly() that the stream gave `got` of `wanted` bytes, of
/// which `transferred` are the caller's.
[[noreturn]] void throw_ended_early(std::size_t got, std::size_t wanted, std::size_t transferred);

}  // namespace detail

}  // namespace rondo::inline v0
