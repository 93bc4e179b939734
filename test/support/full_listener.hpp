// A listener whose backlog is full: who connects now waits without an answer.
#pragma once

#include <rondo/net/tcp.hpp>

#include <support/raw_peer.hpp>

#include <optional>

namespace rondo::test {

class full_listener {
public:
    explicit full_listener(const endpoint& local = endpoint(ip_address::v4_loopback(), 0))
        : listener_(local.address().is_v4() ? ip_version::v4 : ip_version::v6) {
        listener_.bind(local);
        listener_.listen(0);
        first_.emplace(raw_peer::connect_to(where()));
    }
    endpoint where() const { return listener_.local_endpoint(); }
    tcp_listener& listener() { return listener_; }

private:
    tcp_listener listener_;
    std::optional<raw_peer> first_;
};

}  // namespace rondo::test
