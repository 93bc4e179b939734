#include <rondo/net/unix_address.hpp>

#include <rondo/net/socket_error.hpp>

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

namespace rondo::inline v0 {

namespace {

constexpr std::size_t name_offset = offsetof(sockaddr_un, sun_path);

void append_escaped(std::string& to, std::string_view text) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < ' ' || byte == 0x7f || c == '\\') {
            to += fmt::format("\\x{:02x}", byte);
        } else {
            to += c;
        }
    }
}

}  // namespace

unix_address unix_address::checked(std::string_view text) {
    if (const auto parsed = parse(text)) return *parsed;
    const bool is_name = text.starts_with('@');
    const std::size_t size = text.size() - (is_name ? 1 : 0);
    if (size == 0) throw argument_error("a unix address is a path, or @ and a name, not nothing");
    const char* kind = is_name ? "name" : "path";
    std::string shown;
    append_escaped(shown, text.substr(0, 40));
    if (size > max_size) {
        throw argument_error(fmt::format("unix address \"{}...\": a {} of {} bytes, at most {}",
                                         shown, kind, size, max_size));
    }
    throw argument_error(fmt::format("unix address \"{}\": a {} with a NUL in it", shown, kind));
}

std::string unix_address::to_string() const {
    if (is_unnamed()) return "*";
    std::string text;
    if (is_abstract()) {
        text = "@";
    } else if (name() == "*" || name().starts_with('@')) {
        text = "./";
    }
    append_escaped(text, name());
    return text;
}

std::size_t unix_address::hash() const noexcept { return std::hash<std::string_view>()(raw()); }

static_assert(sizeof(sockaddr_un) == 110 && alignof(sockaddr_un) <= 2);
static_assert(sizeof(socklen_t) == sizeof(std::uint32_t));

unix_socket_address::unix_socket_address(const unix_address& from) noexcept {
    const sa_family_t family = AF_UNIX;
    std::memcpy(bytes_.data(), &family, sizeof family);
    const std::string_view raw = from.raw();
    std::ranges::copy(raw, bytes_.begin() + name_offset);
    // A path ends with its NUL; an abstract name with its size.
    size_ = static_cast<std::uint32_t>(name_offset + raw.size() + (from.is_path() ? 1 : 0));
}

std::optional<unix_address> unix_socket_address::to_address() const noexcept {
    sa_family_t family = AF_UNSPEC;
    if (size_ < sizeof family) return std::nullopt;
    std::memcpy(&family, bytes_.data(), sizeof family);
    if (family != AF_UNIX) return std::nullopt;
    // The kernel counts a NUL behind a path, for which there may have been no room.
    const std::size_t end = std::min<std::size_t>(size_, capacity);
    std::string_view raw(bytes_.data() + name_offset, end - name_offset);
    if (!raw.starts_with('\0')) raw = raw.substr(0, raw.find('\0'));
    return unix_address::copied({}, raw);
}

sockaddr* unix_socket_address::data() noexcept {
    return reinterpret_cast<sockaddr*>(bytes_.data());
}

const sockaddr* unix_socket_address::data() const noexcept {
    return reinterpret_cast<const sockaddr*>(bytes_.data());
}

}  // namespace rondo::inline v0

auto fmt::formatter<rondo::unix_address>::format(const rondo::unix_address& value,
                                                 fmt::format_context& context) const
    -> fmt::format_context::iterator {
    return fmt::formatter<fmt::string_view>::format(value.to_string(), context);
}
