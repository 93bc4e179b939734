// Answers of sock_diag: the kernel's own macros find the same messages in the same bytes.
#include <fuzz/fuzz.hpp>

#include <rondo/net/connection_info.hpp>
#include <rondo/net/socket_error.hpp>

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include <optional>
#include <vector>

namespace rondo::fuzz {

namespace {

struct expected {
    std::vector<inet_diag_msg> messages;
    bool more = true;
    bool fails = false;
};

std::uint16_t port(std::uint16_t wire) noexcept { return ntohs(wire); }

bool wanted(const inet_diag_msg& message, const connection_filter& filter) {
    return filter.local_port.value_or(port(message.id.idiag_sport)) ==
               port(message.id.idiag_sport) &&
           filter.remote_port.value_or(port(message.id.idiag_dport)) ==
               port(message.id.idiag_dport);
}

// netlink(3), on a copy that is aligned as the macros want it.
expected by_macros(std::span<const std::byte> block, const connection_filter& filter) {
    std::vector<nlmsghdr> room(block.size() / sizeof(nlmsghdr) + 2);
    if (!block.empty()) std::memcpy(room.data(), block.data(), block.size());
    expected made;
    auto left = static_cast<unsigned>(block.size());
    const nlmsghdr* at = room.data();
    for (; NLMSG_OK(at, left); at = NLMSG_NEXT(at, left)) {
        const auto* body = reinterpret_cast<const std::byte*>(at) + NLMSG_HDRLEN;
        const std::size_t size = at->nlmsg_len - NLMSG_HDRLEN;
        if (at->nlmsg_type == NLMSG_DONE || at->nlmsg_type == NLMSG_ERROR) {
            int result = 0;
            std::memcpy(&result, body, std::min(size, sizeof result));
            made.fails = result < 0;
            made.more = false;
            return made;
        }
        if (at->nlmsg_type == SOCK_DIAG_BY_FAMILY && size >= sizeof(inet_diag_msg)) {
            inet_diag_msg message;
            std::memcpy(&message, body, sizeof message);
            if (wanted(message, filter)) made.messages.push_back(message);
        }
        if (NLMSG_ALIGN(at->nlmsg_len) >= left) return made;
    }
    made.fails = left >= sizeof(nlmsghdr);
    return made;
}

void compare(const connection_info& got, const inet_diag_msg& wire) {
    check(got.local.port() == port(wire.id.idiag_sport), "a local port is read wrongly");
    check(got.remote.port() == port(wire.id.idiag_dport), "a remote port is read wrongly");
    check(got.local.address().is_v4() == (wire.idiag_family == AF_INET),
          "a family is read wrongly");
    const std::size_t size = got.local.address().is_v4() ? 4 : 16;
    check(std::memcmp(got.remote.address().to_v6_bytes().data(), wire.id.idiag_dst, size) == 0,
          "an address is read wrongly");
    check(got.inode == wire.idiag_inode && got.user == wire.idiag_uid, "an owner is read wrongly");
    check(to_string(got.state) != std::string_view(), "a state without a name");
    check(got.timer <= connection_timer::window_probe, "a timer of no kind");
    check(got.timer_left.count() == wire.idiag_expires, "a time is read wrongly");
    check(endpoint::parse(got.local.to_string()) == got.local, "an end that cannot be written");
}

}  // namespace

void feed_connection_info(input in) {
    connection_filter filter;
    const unsigned asked = in.byte();
    if (asked % 2 == 1) filter.local_port = in.value<std::uint16_t>();
    if (asked % 4 >= 2) filter.remote_port = in.value<std::uint16_t>();
    const exact_copy block(in.rest());
    const expected wanted = by_macros(block.bytes(), filter);
    std::vector<rondo::connection_info> found;
    bool more = true;
    bool fails = false;
    try {
        more = rondo::detail::read_diag_block(block.bytes(), filter, found);
    } catch (const socket_error& error) {
        fails = true;
        check(error.code().value() > 0, "a failure without an error");
    }
    check(fails == wanted.fails, "a bad answer is taken, or a good one is not");
    check(fails || more == wanted.more, "the end of an answer is not seen, or too early");
    check(found.size() == wanted.messages.size(), "not the messages that the macros find");
    for (std::size_t i = 0; i != found.size(); ++i) compare(found[i], wanted.messages[i]);
}

}  // namespace rondo::fuzz
