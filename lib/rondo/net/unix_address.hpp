// The address of a Unix socket as a value, its text, and its form for the kernel.
#pragma once

#include <fmt/core.h>

#include <array>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

struct sockaddr;

namespace rondo::inline v0 {

/// Where a Unix socket is found, unix(7): a file at a path, a name in the abstract namespace (no
/// file; it goes with its socket, and permissions do not guard it), or nowhere: unnamed, as most
/// sockets that connect are.
class unix_address {
public:
    static constexpr std::size_t max_size = 107;  ///< of a path or a name, in bytes

    /// Unnamed.
    constexpr unix_address() noexcept = default;
    /// What `parse` reads. Throws argument_error with one line that tells what is wrong with it.
    template <std::convertible_to<std::string_view> Text>
    unix_address(const Text& text) : unix_address(checked(std::string_view(text))) {}

    /// `/run/app.sock` or any other path, `@name` in the abstract namespace, `*` for unnamed. A
    /// relative path that begins with one of these is written as `./@file`. Nothing where it is
    /// empty, too long or holds a NUL.
    static constexpr std::optional<unix_address> parse(std::string_view text) noexcept;
    /// A name of the abstract namespace, of any bytes, at most `max_size`.
    static constexpr std::optional<unix_address> abstract(std::string_view name) noexcept;

    [[nodiscard]] constexpr bool is_unnamed() const noexcept { return size_ == 0; }
    [[nodiscard]] constexpr bool is_abstract() const noexcept {
        return size_ != 0 && bytes_[0] == '\0';
    }
    [[nodiscard]] constexpr bool is_path() const noexcept {
        return size_ != 0 && bytes_[0] != '\0';
    }

    /// The path, or the abstract name without its mark; empty where it is unnamed.
    [[nodiscard]] constexpr std::string_view name() const noexcept {
        const std::size_t mark = is_abstract() ? 1 : 0;
        return std::string_view(bytes_.data(), size_).substr(mark);
    }

    /// What `parse` reads; but control characters and backslashes are written as in `\x00`, so that
    /// a line stays a line.
    [[nodiscard]] std::string to_string() const;

    [[nodiscard]] std::size_t hash() const noexcept;

    friend constexpr bool operator==(const unix_address& a, const unix_address& b) noexcept {
        return a.raw() == b.raw();
    }
    friend constexpr std::strong_ordering operator<=>(const unix_address& a,
                                                      const unix_address& b) noexcept {
        return a.raw() <=> b.raw();
    }

private:
    friend class unix_socket_address;

    static unix_address checked(std::string_view text);
    static constexpr unix_address copied(std::string_view mark, std::string_view text) noexcept;
    constexpr std::string_view raw() const noexcept { return {bytes_.data(), size_}; }

    // As the kernel has it: a NUL before an abstract name, none behind a path.
    std::array<char, max_size + 1> bytes_{};
    std::uint8_t size_ = 0;
};

/// A unix_address as bind(2), connect(2) and getsockname(2) take and give it: a sockaddr_un and its
/// size. A new one is all room for the kernel to write into.
class unix_socket_address {
public:
    unix_socket_address() noexcept = default;
    explicit unix_socket_address(const unix_address& from) noexcept;

    /// Nothing where the family is not AF_UNIX.
    [[nodiscard]] std::optional<unix_address> to_address() const noexcept;

    [[nodiscard]] sockaddr* data() noexcept;
    [[nodiscard]] const sockaddr* data() const noexcept;
    [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
    /// A socklen_t for the kernel to read the room from and to write the size to.
    [[nodiscard]] std::uint32_t* size_pointer() noexcept { return &size_; }

private:
    static constexpr std::size_t capacity = 110;

    alignas(2) std::array<char, capacity> bytes_{};
    std::uint32_t size_ = capacity;
};

constexpr unix_address unix_address::copied(std::string_view mark, std::string_view text) noexcept {
    unix_address made;
    for (const char c : mark) made.bytes_[made.size_++] = c;
    for (const char c : text) made.bytes_[made.size_++] = c;
    return made;
}

constexpr std::optional<unix_address> unix_address::abstract(std::string_view name) noexcept {
    if (name.size() > max_size) return std::nullopt;
    return copied(std::string_view("\0", 1), name);
}

constexpr std::optional<unix_address> unix_address::parse(std::string_view text) noexcept {
    if (text == "*") return unix_address();
    const bool is_name = text.starts_with('@');
    const std::string_view rest = is_name ? text.substr(1) : text;
    if (rest.empty() || rest.size() > max_size || rest.find('\0') != std::string_view::npos) {
        return std::nullopt;
    }
    return copied(is_name ? std::string_view("\0", 1) : std::string_view(), rest);
}

}  // namespace rondo::inline v0

template <>
struct std::hash<rondo::unix_address> {
    std::size_t operator()(const rondo::unix_address& value) const noexcept { return value.hash(); }
};

/// Takes the format specification of a string: width, fill, alignment.
template <>
struct fmt::formatter<rondo::unix_address> : fmt::formatter<fmt::string_view> {
    auto format(const rondo::unix_address& value, fmt::format_context& context) const
        -> fmt::format_context::iterator;
};
