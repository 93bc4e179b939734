#include <rondo/stream/record.hpp>

#include <rondo/stream/stream_error.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace rondo::inline v0::detail {

void line_record::fail(std::size_t limit) const {
    throw limit_exceeded(fmt::format("read_line: a line longer than {} bytes", limit), limit);
}

line_record::value_type line_record::at_end(std::string_view rest, std::size_t limit) const {
    if (rest.empty()) return std::nullopt;
    // A return that no line feed follows belongs to the line.
    if (rest.size() > limit) fail(limit);
    return rest;
}

std::size_t delimited_record::end_in(std::string_view head,
                                     std::string_view tail) const noexcept {
    // Where the border cuts a delimiter, the one that began first counts.
    for (std::size_t before = std::min(delimiter_.size() - 1, head.size()); before > 0; --before) {
        const std::string_view behind = delimiter_.substr(before);
        if (head.ends_with(delimiter_.substr(0, before)) && tail.starts_with(behind)) {
            return behind.size();
        }
    }
    const std::size_t at = tail.find(delimiter_);
    return at == no_end ? no_end : at + delimiter_.size();
}

void delimited_record::fail(std::size_t limit) const {
    throw limit_exceeded(fmt::format("read_until: no delimiter within {} bytes", limit), limit);
}

delimited_record::value_type delimited_record::at_end(std::string_view rest, std::size_t) const {
    if (rest.empty()) return std::nullopt;
    throw unexpected_end(fmt::format("read_until: the stream ended after {} bytes, before a "
                                     "delimiter", rest.size()), 0);
}

void sized_record::fail(std::size_t limit) const {
    throw limit_exceeded(
        fmt::format("read_exactly: {} bytes, and the reader's limit is {}", size_, limit), limit);
}

sized_record::value_type sized_record::at_end(std::string_view rest, std::size_t) const {
    if (size_ == 0) return {};
    throw_ended_early(rest.size(), size_, 0);
}

void peeked_record::fail(std::size_t limit) const {
    throw limit_exceeded(
        fmt::format("peek: {} bytes, and the reader's limit is {}", size_, limit), limit);
}

void throw_ended_early(std::size_t got, std::size_t wanted, std::size_t transferred) {
    throw unexpected_end(
        fmt::format("read_exactly: the stream ended after {} of {} bytes", got, wanted),
        transferred);
}

}  // namespace rondo::inline v0::detail
