// What these programs need before their first byte: arguments, addresses, listeners, signals.
#pragma once

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace net {

// ---- errors and descriptors

/// Throws what errno says, behind the call that failed.
[[noreturn]] inline void fail(const std::string& call) {
    throw std::system_error(errno, std::generic_category(), call);
}

inline int check(int result, const char* call) {
    if (result < 0) fail(call);
    return result;
}

/// Neither data nor a failure: the same call may succeed later.
inline bool is_temporary(int error) {
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/// Owns a descriptor, or none (-1).
class descriptor {
public:
    descriptor() = default;
    explicit descriptor(int number) : number_(number) {}
    descriptor(descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    descriptor& operator=(descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~descriptor() {
        if (number_ >= 0) ::close(number_);
    }

    [[nodiscard]] int get() const { return number_; }

private:
    int number_ = -1;
};

/// The soft limit of 1024 is for programs that use select(); the hard one is meant for the rest.
inline void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);  // without it there are fewer connections, no wrong ones
}

// ---- addresses

/// An address and a port, of IPv4 or IPv6.
struct address {
    sockaddr_storage bytes{};
    socklen_t size = sizeof bytes;

    sockaddr* data() { return reinterpret_cast<sockaddr*>(&bytes); }
    const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&bytes); }
};

struct host_and_port {
    std::string host;
    std::string port;
};

inline host_and_port numeric(const address& of) {
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    const int error = ::getnameinfo(of.data(), of.size, host, sizeof host, port, sizeof port,
                                    NI_NUMERICHOST | NI_NUMERICSERV);
    if (error != 0) throw std::runtime_error(std::string("getnameinfo: ") + ::gai_strerror(error));
    return {host, port};
}

/// `127.0.0.1:80`, `[::1]:80`
inline std::string to_string(const address& of) {
    const auto [host, port] = numeric(of);
    return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
}

/// `('127.0.0.1', 80)`, as the first programs of many a book print it
inline std::string to_pair(const address& of) {
    const auto [host, port] = numeric(of);
    return "('" + host + "', " + port + ")";
}

inline address local_address(int socket) {
    address local;
    check(::getsockname(socket, local.data(), &local.size), "getsockname");
    return local;
}

/// Splits at the last colon; brackets around an IPv6 address go. Throws where either part is wrong.
inline host_and_port split(const std::string& where) {
    const auto wrong = [&](const char* why) {
        throw std::runtime_error("\"" + where + "\": " + why);
    };
    const std::size_t colon = where.rfind(':');
    if (colon == std::string::npos) wrong("the port is missing, as in localhost:80");
    std::string host = where.substr(0, colon);
    const std::string port = where.substr(colon + 1);
    std::uint16_t number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size()) {
        wrong("the port is not a number between 0 and 65535");
    }
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string::npos) {
        wrong("an IPv6 address with a port is written in brackets, as in [::1]:80");
    }
    if (host == "*") host.clear();
    return {host, port};
}

/// All addresses of HOST:PORT, without doubles, in the order to try them; without HOST those of all
/// interfaces where `flags` is AI_PASSIVE, else of this host. `type` is SOCK_STREAM or SOCK_DGRAM.
inline std::vector<address> resolve(const std::string& where, int type, int flags = 0) {
    const auto [host, port] = split(where);
    // Many a hosts file has but one of localhost's two addresses. No name at all means both.
    const bool is_local = host == "localhost";
    addrinfo hints{};
    hints.ai_socktype = type;
    hints.ai_flags = (is_local ? 0 : flags) | AI_NUMERICSERV;
    const char* name = is_local || host.empty() ? nullptr : host.c_str();
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(name, port.c_str(), &hints, &found);
    if (error != 0) throw std::runtime_error(where + ": " + ::gai_strerror(error));
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
    std::vector<address> result;
    for (; found != nullptr; found = found->ai_next) {
        address each;
        std::memcpy(&each.bytes, found->ai_addr, found->ai_addrlen);
        each.size = found->ai_addrlen;
        const auto same = [&](const address& other) { return to_string(other) == to_string(each); };
        if (std::none_of(result.begin(), result.end(), same)) result.push_back(each);
    }
    return result;
}

// ---- bound sockets

/// The port stands behind the same offset in both families.
inline void copy_port(const address& from, address& to) {
    reinterpret_cast<sockaddr_in*>(&to.bytes)->sin_port =
        reinterpret_cast<const sockaddr_in*>(&from.bytes)->sin_port;
}

/// What `make(address)` returns for each of `addresses`, which is a bound socket. With port 0 all
/// get the port that the first one is given.
template <typename Make>
std::vector<descriptor> bind_each(std::vector<address> addresses, Make make) {
    std::vector<descriptor> made;
    for (address& each : addresses) {
        if (!made.empty()) copy_port(local_address(made.front().get()), each);
        try {
            made.push_back(make(each));
        } catch (const std::system_error& failure) {
            // A host without IPv6 may still have a name for it.
            const int error = failure.code().value();
            const bool has_none = error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
            if (!has_none || (made.empty() && &each == &addresses.back())) throw;
        }
    }
    return made;
}

/// The same for all addresses of HOST:PORT: `localhost` is ::1 and 127.0.0.1.
template <typename Make>
std::vector<descriptor> bind_all(const std::string& where, int type, Make make) {
    const std::vector<address> addresses = resolve(where, type, AI_PASSIVE);
    const bool any_port = split(where).port == "0";
    for (int attempt = 1;; ++attempt) {
        try {
            return bind_each(addresses, make);
        } catch (const std::system_error& failure) {
            // What is free for the first address need not be for the second.
            const bool clash = any_port && failure.code() == std::errc::address_in_use;
            if (!clash || attempt == 10) throw;
        }
    }
}

inline void set_option(int socket, int level, int option, int value) {
    check(::setsockopt(socket, level, option, &value, sizeof value), "setsockopt");
}

/// A socket that listens and does not block.
inline descriptor listen_at(const address& where) {
    const int family = where.data()->sa_family;
    const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    descriptor made(check(::socket(family, type, 0), "socket"));
    // Or a restart would have to wait until the connections of the last run have left TIME_WAIT.
    set_option(made.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    // Or [::] would take IPv4's port as well.
    if (family == AF_INET6) set_option(made.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    // Connections inherit it: an answer is not held back until the last one is acknowledged.
    set_option(made.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    if (::bind(made.get(), where.data(), where.size) != 0) fail("bind " + to_string(where));
    if (::listen(made.get(), SOMAXCONN) != 0) fail("listen " + to_string(where));
    return made;
}

/// Says on which addresses `listeners` listen.
inline void print_addresses(const std::vector<descriptor>& listeners) {
    for (const descriptor& each : listeners) {
        std::printf("listening on %s\n", to_string(local_address(each.get())).c_str());
    }
    std::fflush(stdout);
}

/// Listens on all addresses of HOST:PORT, and says so.
inline std::vector<descriptor> listen_on(const std::string& where) {
    raise_descriptor_limit();
    std::vector<descriptor> listeners = bind_all(where, SOCK_STREAM, listen_at);
    print_addresses(listeners);
    return listeners;
}

// ---- time

using steady = std::chrono::steady_clock;

/// How long poll() may wait for `when`: rounded up, so that it has come afterwards; 0 if it has.
inline int milliseconds_until(steady::time_point when) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(when - steady::now());
    return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

// ---- connections

/// The error of an accept() after which a server looks at its listener again later: somebody else's
/// connection may have failed before it was accepted, see accept(2).
inline bool is_of_connection(int error) {
    return error != EBADF && error != EINVAL && error != ENOTSOCK && error != EOPNOTSUPP;
}

/// Without a free descriptor accept() fails, the connection stays in the backlog and its listener
/// readable: to wait for the listener then is to spin. So it is left alone for a moment.
class accept_pause {
public:
    /// Whether this error of accept() calls for a pause; begins it, and says so now and then.
    bool begins_with(int error) {
        if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM) return false;
        const auto now = steady::now();
        if (now - end_ > std::chrono::seconds(10)) {
            std::fprintf(stderr, "accept: %s; newcomers wait in the backlog\n",
                         std::strerror(error));
        }
        end_ = now + std::chrono::milliseconds(100);
        return true;
    }
    [[nodiscard]] bool is_on() const { return steady::now() < end_; }
    [[nodiscard]] steady::time_point end() const { return end_; }

private:
    steady::time_point end_{-std::chrono::minutes(1)};
};

/// How much of `bytes` the socket has taken: 0 where it is full, -1 where the connection is broken.
/// Without MSG_NOSIGNAL, to send to a peer that is gone would end the process by SIGPIPE.
inline std::ptrdiff_t send_some(int socket, std::string_view bytes) {
    const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return n < 0 && is_temporary(errno) ? 0 : n;
}

// ---- stopping

/// SIGINT and SIGTERM as a descriptor: readable once one has come, so that they can be waited for
/// beside sockets. Threads that are started later do not get them.
class stop_signals {
public:
    stop_signals() {
        ::sigemptyset(&set_);
        ::sigaddset(&set_, SIGINT);
        ::sigaddset(&set_, SIGTERM);
        ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
        const int made = check(::signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
        readable_ = descriptor(made);
    }

    [[nodiscard]] int get() const { return readable_.get(); }

    /// After the first signal: from here on, a second one ends the process at once.
    void take() {
        signalfd_siginfo taken{};
        if (::read(readable_.get(), &taken, sizeof taken) < 0 && !is_temporary(errno)) fail("read");
        ::pthread_sigmask(SIG_UNBLOCK, &set_, nullptr);
    }

private:
    sigset_t set_{};
    descriptor readable_;
};

/// How long a server that is told to stop waits for its clients to take what is theirs.
constexpr std::chrono::seconds drain_time{10};

// ---- what the first programs print

/// At once, also where the output is no terminal.
inline void print_line(std::string_view begin, std::string_view rest = {}) {
    std::fwrite(begin.data(), 1, begin.size(), stdout);
    std::fwrite(rest.data(), 1, rest.size(), stdout);
    std::fputc('\n', stdout);
    std::fflush(stdout);
}

/// What came from the network, as a line that is fit for a terminal: nc sends its line ends along,
/// and control bytes, which would act on the terminal, are written as \x1b is.
inline std::string printable(std::string_view text) {
    while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
    constexpr const char* digits = "0123456789abcdef";
    std::string shown;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < 0x20 && c != '\t') || byte == 0x7f) {
            shown += "\\x";
            shown += digits[byte >> 4];
            shown += digits[byte & 15];
        } else {
            shown += c;
        }
    }
    return shown;
}

/// HOST:PORT as it was given, with the port that stands for 0.
inline std::string with_real_port(const std::string& where, int socket) {
    return where.substr(0, where.rfind(':') + 1) + numeric(local_address(socket)).port;
}

// ---- main()

/// What a program tells about itself, and what its arguments are unless given.
struct usage {
    const char* sentence;
    const char* where = "localhost:8000";
    const char* more = "";    ///< what may follow HOST:PORT
    const char* option = "";  ///< what may stand beside them, and changes nothing
    int* number = nullptr;    ///< unless it is followed by a number, which goes here
};

inline void print_help(const char* name, const usage& about) {
    std::string option;
    if (*about.option) {
        option = std::string("[") + about.option + (about.number ? " NUMBER" : "") + "] ";
    }
    std::printf(
        "%s\n\nusage: %s %s[HOST:PORT]%s%s\n\n"
        "  HOST:PORT   default %s; :PORT is every address of this host\n",
        about.sentence, name, option.c_str(), *about.more ? " " : "", about.more, about.where);
    if (about.number) std::printf("  NUMBER      default %d\n", *about.number);
    std::printf("  -h, --help  prints this\n");
}

/// Takes the option out of `arguments`, with its number.
inline void take_option(std::vector<std::string>& arguments, const usage& about) {
    auto found = std::find(arguments.begin(), arguments.end(), about.option);
    if (!*about.option || found == arguments.end()) return;
    found = arguments.erase(found);
    if (!about.number) return;
    const std::string text = found == arguments.end() ? "" : *found;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, *about.number);
    if (text.empty() || error != std::errc() || end != last || *about.number < 1) {
        throw std::runtime_error(std::string(about.option) + " is followed by a number from 1 on");
    }
    arguments.erase(found);
}

/// Calls `body(where, more)` with the arguments and prints what it throws as one line. Returns the
/// exit code.
template <typename Body>
int run(int argc, char** argv, const usage& about, Body body) {
    const char* slash = std::strrchr(argv[0], '/');
    const char* name = slash ? slash + 1 : argv[0];
    std::vector<std::string> arguments(argv + 1, argv + argc);
    if (!arguments.empty() && (arguments[0] == "--help" || arguments[0] == "-h")) {
        print_help(name, about);
        return 0;
    }
    try {
        take_option(arguments, about);
        std::string where = about.where;
        if (!arguments.empty()) {
            where = arguments[0];
            arguments.erase(arguments.begin());
        }
        if (where.starts_with('-') || (!arguments.empty() && !*about.more)) {
            throw std::runtime_error("arguments are not understood; see --help");
        }
        body(where, arguments);
        return 0;
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "%s: %s\n", name, failure.what());
        return 1;
    }
}

}  // namespace net
