// The errors of streams in memory and of the algorithms over streams.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <system_error>

namespace rondo::inline v0 {

/// What can be wrong with the bytes of a stream that works.
enum class stream_errc {
    unexpected_end = 1,  ///< the stream ended within what was to be read
    limit_exceeded,      ///< what was to be read is longer than the reader's limit
};

/// Named "rondo.stream".
const std::error_category& stream_category() noexcept;
std::error_code make_error_code(stream_errc error) noexcept;

/// A failure whose `what()` is a sentence. Copying does not throw.
class stream_error : public std::system_error {
public:
    stream_error(std::error_code code, const std::string& sentence, std::size_t transferred = 0)
        : std::system_error(code), sentence_(sentence), transferred_(transferred) {}
    stream_error(const stream_error&) noexcept = default;
    stream_error& operator=(const stream_error&) noexcept = default;
    ~stream_error() override;

    const char* what() const noexcept override { return sentence_.what(); }

    /// How many bytes went through before an all-or-nothing operation was cut short.
    std::size_t transferred() const noexcept { return transferred_; }

private:
    // Holds the text because its copies do not throw.
    std::runtime_error sentence_;
    std::size_t transferred_;
};

/// The stream ended within what was to be read: `read_exactly: the stream ended after 3 of 10
/// bytes`. code() is stream_errc::unexpected_end.
class unexpected_end final : public stream_error {
public:
    unexpected_end(const std::string& sentence, std::size_t transferred);
    unexpected_end(const unexpected_end&) noexcept = default;
    unexpected_end& operator=(const unexpected_end&) noexcept = default;
    ~unexpected_end() override;
};

/// What was to be read is longer than the reader's limit: `read_line: a line longer than 1024
/// bytes`. code() is stream_errc::limit_exceeded.
class limit_exceeded final : public stream_error {
public:
    limit_exceeded(const std::string& sentence, std::size_t limit);
    limit_exceeded(const limit_exceeded&) noexcept = default;
    limit_exceeded& operator=(const limit_exceeded&) noexcept = default;
    ~limit_exceeded() override;

    /// In bytes.
    std::size_t limit() const noexcept { return limit_; }

private:
    std::size_t limit_;
};

}  // namespace rondo::inline v0

template <>
struct std::is_error_code_enum<rondo::stream_errc> : std::true_type {};
