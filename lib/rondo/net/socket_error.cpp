#include <rondo/detail/holds.hpp>
#include <rondo/net/option_hint.hpp>
#include <rondo/net/socket_error.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <memory>
#include <string_view>

namespace rondo::inline v0 {

namespace {

/// A failed call as its hint is looked up by.
struct failure {
    std::string_view verb;
    int error;
    const endpoint* where;

    [[nodiscard]] bool is_local() const { return verb == "bind" || verb == "listen"; }
    [[nodiscard]] bool is_connect() const { return verb == "connect"; }
    // The verbs of established streams are never refused.
    [[nodiscard]] bool is_datagram() const {
        return verb == "send_to" || verb == "recv_from" || verb == "send" || verb == "recv";
    }
};

std::string hint_route(const failure& failed) {
    if (!failed.where) {
        return "no route to it; see ip route";
    }
    return fmt::format("no route to it; see ip route get {}", failed.where->address());
}

std::string hint_timeout(const failure& failed) {
    std::string text =
        failed.is_connect()
            ? "no answer: the host is down, a firewall drops the packets, or its backlog is full"
            : "the peer stopped answering: its host or the network between is down";
    if (failed.where) text += fmt::format("; see ping {}", failed.where->address());
    return text;
}

std::string hint_permission(const failure& failed) {
    if (failed.is_local() && failed.where && failed.where->port() > 0) {
        return "ports below net.ipv4.ip_unprivileged_port_start, 1024 unless changed, are for "
               "root or CAP_NET_BIND_SERVICE; see sysctl net.ipv4.ip_unprivileged_port_start";
    }
    if (failed.error == EACCES && failed.is_datagram()) {
        return "to a broadcast address only with allow_broadcast{true}; else a firewall or a "
               "security policy forbids it, see nft list ruleset";
    }
    return "a firewall or a security policy forbids it; see nft list ruleset";
}

std::string hint_refused(const failure& failed) {
    return failed.is_datagram() ? "no socket has this port there; see ss -lun"
                                : "nothing listens there; see ss -ltn";
}

std::string hint_in_use(const failure& failed) {
    return failed.is_connect() ? "no free local port to this peer; see ss -tan"
                               : "another socket has this address; see ss -tulnp";
}

std::string hint_address(const failure& failed) {
    if (failed.is_connect()) {
        const bool is_v4 = failed.where != nullptr && failed.where->address().is_v4();
        return fmt::format("no local {} address to connect from, see ip {} addr; or no local port "
                           "is left, see ss -s",
                           is_v4 ? "IPv4" : "IPv6", is_v4 ? "-4" : "-6");
    }
    return "no interface here has this address; see ip address";
}

std::string hint_invalid(const failure& failed) {
    if (failed.verb == "send descriptors") {
        return "1 to 253 descriptors go along, and on a stream with at least one byte";
    }
    if (failed.where && failed.where->address().is_v6() &&
        failed.where->address().is_link_local() && failed.where->address().scope_id() == 0) {
        return fmt::format("a link-local address needs its interface, as in [{}%eth0]:{}",
                           failed.where->address(), failed.where->port());
    }
    return {};
}

/// The same where a Unix socket is concerned; empty where nothing is different for it.
std::string hint_for_unix(const failure& failed, const unix_address& where) {
    const bool is_local = failed.is_local();
    switch (failed.error) {
        case ECONNREFUSED:
            return where.is_path() ? "nobody listens there: its server has ended and left the file "
                                     "behind, or it is no socket; see ss -xl"
                                   : "nobody listens there; see ss -xl";
        case ENOENT:
            return is_local ? "there is no such directory"
                            : "there is no such socket: its server does not run, or listens "
                              "elsewhere; see ss -xl";
        case EADDRINUSE: return "another socket has this address; see ss -xlp";
        case EEXIST: return "this file is no socket, and is left alone";
        case EACCES:
        case EPERM:
            return is_local ? "it takes the right to write in the directory; see ls -ld"
                            : "it takes the right to write to the socket's file, and to search "
                              "its directories; see ls -l";
        case EAGAIN: return "its backlog is full";
        case EMSGSIZE: return "longer than a datagram can be; see send_buffer";
        case EPROTOTYPE: return "a socket of another type has this address; see ss -xa";
        case ECONNRESET: return "the peer has ended with data unread";
        case EPIPE: return "the peer is gone, or the socket was shut down here; see ss -xa";
        default: return {};
    }
}

/// What to check; empty where there is nothing to add to the system's own message.
std::string hint_for(const failure& failed) {
    if (failed.verb == "sock_diag" && failed.error == ENOENT) {
        return "the kernel lists no such sockets; see modprobe tcp_diag udp_diag";
    }
    switch (failed.error) {
        case ECONNREFUSED: return hint_refused(failed);
        case ETIMEDOUT: return hint_timeout(failed);
        case EADDRINUSE: return hint_in_use(failed);
        case EACCES:
        case EPERM: return hint_permission(failed);
        case ENETUNREACH: return hint_route(failed);
        case EHOSTUNREACH:
            return "no host answers at this address; see ip neigh, or a firewall rejects it";
        case EADDRNOTAVAIL: return hint_address(failed);
        case EAFNOSUPPORT:
            return "an IPv4 socket takes no IPv6 address and the other way round; or this system "
                   "has no IPv6: see sysctl net.ipv6.conf.all.disable_ipv6";
        case ECONNRESET:
            return "the peer aborted the connection: it ended early, or closed with data unread";
        case EPIPE:
            return "the connection cannot send any more: the peer is gone, or it was shut down "
                   "here; see ss -tan";
        case EMFILE: return "this process has no descriptor left; see ulimit -n";
        case ENFILE: return "the system has no file left; see sysctl fs.file-max";
        case EMSGSIZE:
            return failed.where != nullptr
                       ? "longer than a datagram can be: 65507 bytes over IPv4, and less where it "
                         "may not be fragmented"
                       : "longer than a datagram can be; see send_buffer";
        case EINVAL: return hint_invalid(failed);
        case ETOOMANYREFS: return "too many descriptors are on their way; see ulimit -n";
        default: return {};
    }
}

}  // namespace

socket_error::socket_error(const char* verb, int error, const endpoint* where,
                           std::size_t transferred)
    : std::system_error(error, std::generic_category()),
      verb_(verb),
      transferred_(transferred),
      where_(where != nullptr ? socket_place(*where) : socket_place()) {}

socket_error::socket_error(const char* verb, int error, const socket_place& where,
                           std::size_t transferred)
    : std::system_error(error, std::generic_category()),
      verb_(verb),
      transferred_(transferred),
      where_(where) {}

socket_error::socket_error(const socket_error& other) noexcept
    : std::system_error(other),
      verb_(other.verb_),
      transferred_(other.transferred_),
      where_(other.where_) {}

socket_error& socket_error::operator=(const socket_error& other) noexcept {
    if (this != &other) {
        std::system_error::operator=(other);
        verb_ = other.verb_;
        transferred_ = other.transferred_;
        where_ = other.where_;
        delete text_.exchange(nullptr, std::memory_order_acq_rel);
    }
    return *this;
}

socket_error::~socket_error() { delete text_.load(std::memory_order_acquire); }

const char* socket_error::what() const noexcept {
    const std::string* made = text_.load(std::memory_order_acquire);
    if (made == nullptr) {
        try {
            auto mine = std::make_unique<const std::string>(text());
            // The text another thread made meanwhile stands: its reader may hold it already.
            if (text_.compare_exchange_strong(made, mine.get(), std::memory_order_acq_rel)) {
                made = mine.release();
            }
        } catch (...) {
            return std::system_error::what();
        }
    }
    return made->c_str();
}

std::string socket_error::text() const {
    const auto* ip = std::get_if<endpoint>(&where_);
    const auto* local = std::get_if<unix_address>(&where_);
    std::string result = verb_;
    if (ip != nullptr) result += ' ' + ip->to_string();
    if (local != nullptr) result += ' ' + local->to_string();
    result += ": ";
    result += code().message();
    if (transferred_ > 0) {
        result += fmt::format(" after {} {}", transferred_, transferred_ == 1 ? "byte" : "bytes");
    }
    const failure failed{verb_, code().value(), ip};
    std::string hint = local != nullptr ? hint_for_unix(failed, *local) : std::string();
    if (hint.empty()) hint = detail::option_hint(failed.verb, failed.error);
    if (hint.empty()) hint = hint_for(failed);
    if (!hint.empty()) {
        result += fmt::format(" ({})", hint);
    }
    return result;
}

connection_lost::~connection_lost() = default;

bool is_connection_lost(const std::exception_ptr& failure) noexcept {
    return detail::holds<connection_lost>(failure);
}

void throw_socket_error(const char* verb, int error, const endpoint* where,
                        std::size_t transferred) {
    throw socket_error(verb, error, where, transferred);
}

void throw_socket_error(const char* verb, int error, const socket_place& where,
                        std::size_t transferred) {
    throw socket_error(verb, error, where, transferred);
}

argument_error::argument_error(const std::string& sentence)
    : std::system_error(std::make_error_code(std::errc::invalid_argument)), sentence_(sentence) {}

}  // namespace rondo::inline v0
