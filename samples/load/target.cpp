#include "target.hpp"

#include <rondo/rondo.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>

namespace load {

using namespace std::chrono_literals;

namespace {

// An option of one's own: the kernel chooses the port when it knows the other end, so that a port
// serves connections to several of these (IP_BIND_ADDRESS_NO_PORT, ip(7)).
struct late_port {
    static constexpr const char* title = "late_port";
    bool enabled = true;

    std::error_code apply(int descriptor) const noexcept {
        const int value = enabled ? 1 : 0;
        const int failed = ::setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &value,
                                        sizeof value);
        return failed == 0 ? std::error_code() : std::error_code(errno, std::generic_category());
    }
    static late_port read(int descriptor) {
        int value = 0;
        socklen_t size = sizeof value;
        if (::getsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &value, &size) != 0)
            throw std::system_error(errno, std::generic_category(), title);
        return late_port{value != 0};
    }
};

// One datagram to whoever is there; a connected socket learns when that is nobody.
rondo::task<> ask_for(rondo::endpoint there) {
    const bool is_v4 = there.address().is_v4();
    rondo::udp_socket socket(is_v4 ? rondo::ip_version::v4 : rondo::ip_version::v6);
    socket.connect(there);
    co_await socket.send("?");
    const rondo::datagram answer = co_await socket.recv();
}

// The first of `candidates` where an answer comes, or at least no refusal.
rondo::task<rondo::endpoint> find_udp(std::vector<rondo::endpoint> candidates) {
    for (std::size_t i = 0;; ++i) {
        auto asked = co_await rondo::as_result(
            rondo::with_timeout(500ms, ask_for(candidates[i])));
        const bool is_there = asked || asked.error() == std::errc::timed_out;
        if (is_there) co_return candidates[i];
        if (i + 1 == candidates.size()) asked.value();  // throws
    }
}

rondo::task<rondo::endpoint> find_tcp(std::vector<rondo::endpoint> candidates) {
    rondo::tcp_socket first = co_await rondo::tcp_connect(std::move(candidates));
    const rondo::endpoint there = first.remote_endpoint();
    co_await first.close();
    co_return there;
}

}  // namespace

rondo::task<target> target::find(std::string name, bool udp) {
    target found;
    const std::string scheme = "unix:";
    if (name.starts_with(scheme)) {
        found.local_.emplace(name.substr(scheme.size()));
        co_return found;
    }
    std::vector<rondo::endpoint> candidates = co_await rondo::resolve(name);
    if (candidates.size() == 1) {
        found.internet_ = candidates.front();
    } else if (udp) {
        found.internet_ = co_await find_udp(std::move(candidates));
    } else {
        found.internet_ = co_await find_tcp(std::move(candidates));
    }
    co_return found;
}

bool target::is_loopback() const noexcept {
    return !local_ && internet_.address().is_v4() && internet_.address().is_loopback();
}

std::optional<rondo::endpoint> target::source(std::size_t number) const {
    const std::size_t index = number / connections_per_source;
    if (index == 0 || !is_loopback()) return std::nullopt;
    const auto last = static_cast<std::uint8_t>(1 + index % 250);
    return rondo::endpoint(rondo::ip_address(rondo::ip_address::v4_bytes{127, 0, 0, last}), 0);
}

rondo::task<rondo::stream_socket> target::connect(std::size_t number) const {
    if (local_) {
        rondo::unix_socket made = co_await rondo::unix_connect(*local_);
        co_return made;
    }
    const bool is_v4 = internet_.address().is_v4();
    rondo::tcp_socket made(is_v4 ? rondo::ip_version::v4 : rondo::ip_version::v6);
    if (const auto from = source(number)) {
        made.set(late_port{});
        made.bind(*from);
    }
    made.set(rondo::no_delay{true});
    co_await made.connect(internet_);
    co_return made;
}

rondo::udp_socket target::connect_udp(std::size_t number) const {
    const bool is_v4 = internet_.address().is_v4();
    const auto from = source(number);
    rondo::udp_socket made =
        from ? rondo::udp_socket::bind(*from, late_port{})
             : rondo::udp_socket(is_v4 ? rondo::ip_version::v4 : rondo::ip_version::v6);
    made.connect(internet_);
    return made;
}

}  // namespace load
