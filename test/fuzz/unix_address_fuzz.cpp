// Addresses of Unix sockets: text, value and the form for the kernel lead to each other.
#include <fuzz/fuzz.hpp>

#include <rondo/net/socket_error.hpp>
#include <rondo/net/unix_address.hpp>

#include <sys/socket.h>

#include <optional>
#include <string>

namespace rondo::fuzz {

namespace {

using value = rondo::unix_address;

bool is_escaped(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < ' ' || byte == 0x7f || c == '\\';
}

void check_value(const value& from) {
    check(from.is_unnamed() + from.is_abstract() + from.is_path() == 1, "an address of two kinds");
    check(from.name().size() <= value::max_size + 1, "a name longer than its room");
    const std::string text = from.to_string();
    check(std::ranges::none_of(text, [](char c) { return c != '\\' && is_escaped(c); }),
          "a text of more than a line");
    if (std::ranges::none_of(from.name(), is_escaped) && !from.name().empty() &&
        from.name().size() + 2 <= value::max_size) {
        const auto again = value::parse(text);
        const bool prefixed = from.is_path() && text.starts_with("./") && again.has_value() &&
                              again->name().substr(2) == from.name();
        check(again == from || prefixed, "parse does not read what to_string has written");
    }
    if (from.name().size() > value::max_size) return;  // a path the kernel gave, without its NUL
    const unix_socket_address wire(from);
    check(wire.to_address() == from, "the form for the kernel does not keep an address");
}

bool refused(std::string_view text) {
    try {
        const value made(text);
        check_value(made);
        return false;
    } catch (const argument_error& error) {
        const std::string_view sentence = error.what();
        check(std::ranges::none_of(sentence, [](char c) { return c != '\\' && is_escaped(c); }),
              "a refusal is not one line");
        check(sentence.size() < 400, "a refusal repeats a long input");
        return true;
    }
}

void check_text(std::string_view text) {
    const auto parsed = value::parse(text);
    check(parsed.has_value() == !refused(text), "parse and the constructor differ");
    const bool is_name = text.starts_with('@');
    const std::string_view rest = text.substr(is_name ? 1 : 0);
    const bool valid = text == "*" || (!rest.empty() && rest.size() <= value::max_size &&
                                       rest.find('\0') == rest.npos);
    check(parsed.has_value() == valid, "parse and a plain reading differ");
    if (!parsed || text == "*") return;
    check(parsed->is_abstract() == is_name && parsed->name() == rest, "a name is changed");
}

void check_wire(input in) {
    unix_socket_address wire;
    const std::size_t room = wire.size();
    const std::uint32_t told = in.byte();  // the kernel tells a size beyond the room, too
    const auto bytes = in.bytes(room);
    if (!bytes.empty()) std::memcpy(wire.data(), bytes.data(), bytes.size());
    *wire.size_pointer() = told;
    if (const auto read = wire.to_address()) check_value(*read);
}

}  // namespace

void feed_unix_address(input in) {
    const unsigned kind = in.below(4);
    if (kind == 0) return check_wire(in);
    const exact_copy text(in.rest());
    if (kind != 1) return check_text(text.text());
    const auto made = value::abstract(text.text());
    check(made.has_value() == (text.text().size() <= value::max_size),
          "an abstract name is refused");
    if (made) check_value(*made);
}

}  // namespace rondo::fuzz
