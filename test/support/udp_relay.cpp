#include <support/udp_relay.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace rondo::test {

namespace {

void check(bool done, const char* call) {
    if (!done) throw std::system_error(errno, std::generic_category(), call);
}

detail::unique_fd new_socket(const endpoint& local) {
    const int family = local.address().is_v4() ? AF_INET : AF_INET6;
    detail::unique_fd made(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    check(static_cast<bool>(made), "socket");
    const socket_address name(local);
    check(::bind(made.get(), name.data(), name.size()) == 0, "bind");
    return made;
}

endpoint any_port_of(const endpoint& server) {
    return server.address().is_v4() ? endpoint(ip_address::v4_loopback(), 0)
                                    : endpoint(ip_address::v6_loopback(), 0);
}

endpoint name_of(const detail::unique_fd& socket) {
    socket_address name;
    check(::getsockname(socket.get(), name.data(), name.size_pointer()) == 0, "getsockname");
    return *name.to_endpoint();
}

}  // namespace

udp_relay::udp_relay(const endpoint& server, const relay_plan& plan)
    : server_(server),
      plan_(plan),
      front_(new_socket(any_port_of(server))),
      stop_event_(::eventfd(0, EFD_CLOEXEC)),
      where_(name_of(front_)),
      random_(plan.seed),
      thread_([this] { run(); }) {}

udp_relay::~udp_relay() { stop(); }

relay_counts udp_relay::stop() {
    if (thread_.joinable()) {
        const std::uint64_t one = 1;
        check(::write(stop_event_.get(), &one, sizeof one) == sizeof one, "write");
        thread_.join();
    }
    return counts_;
}

void udp_relay::run() {
    for (;;) {
        std::vector<pollfd> watched = {{stop_event_.get(), POLLIN, 0}, {front_.get(), POLLIN, 0}};
        for (const auto& [client, socket] : upstream_) watched.push_back({socket.get(), POLLIN, 0});
        int patience = -1;
        if (!waiting_.empty()) {
            const auto earliest = std::ranges::min(waiting_, {}, &parcel::due).due;
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(earliest - clock::now());
            patience = static_cast<int>(std::max<std::int64_t>(left.count(), 0));
        }
        ::poll(watched.data(), watched.size(), patience);
        if (watched[0].revents != 0) return;
        for (std::size_t i = 1; i < watched.size(); ++i) {
            if (watched[i].revents != 0) receive(watched[i].fd);
        }
        send_due();
    }
}

void udp_relay::receive(int socket) {
    std::string bytes(65536, '\0');
    socket_address name;
    const ssize_t n = ::recvfrom(socket, bytes.data(), bytes.size(), 0, name.data(),
                                 name.size_pointer());
    if (n < 0) return;
    bytes.resize(static_cast<std::size_t>(n));
    if (socket == front_.get()) {
        forward(upstream_of(*name.to_endpoint()), bytes, server_);
    } else {
        forward(front_.get(), bytes, clients_.at(socket));
    }
}

int udp_relay::upstream_of(const endpoint& client) {
    detail::unique_fd& socket = upstream_[client];
    if (!socket) {
        socket = new_socket(any_port_of(server_));
        clients_[socket.get()] = client;
    }
    return socket.get();
}

void udp_relay::forward(int socket, const std::string& bytes, const endpoint& to) {
    if (happens(plan_.drop)) {
        ++counts_.dropped;
        return;
    }
    const bool twice = happens(plan_.twice);
    counts_.doubled += twice ? 1 : 0;
    for (int i = 0; i < (twice ? 2 : 1); ++i) {
        auto due = clock::now();
        if (happens(plan_.delay)) {
            const auto longest = static_cast<std::uint64_t>(plan_.longest_delay.count());
            due += std::chrono::milliseconds(1 + random_() % longest);
            ++counts_.delayed;
        }
        ++counts_.passed;
        waiting_.push_back({due, socket, bytes, to});
    }
}

void udp_relay::send_due() {
    const auto now = clock::now();
    std::erase_if(waiting_, [&](const parcel& each) {
        if (each.due > now) return false;
        const socket_address name(each.to);
        // Who is gone gets nothing, as on any network.
        ::sendto(each.socket, each.bytes.data(), each.bytes.size(), MSG_NOSIGNAL, name.data(),
                 name.size());
        return true;
    });
}

}  // namespace rondo::test
