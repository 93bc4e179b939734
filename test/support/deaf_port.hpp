// A port that refuses: bound and not listening, so that nobody else gets it meanwhile.
#pragma once

#include <rondo/net/tcp.hpp>

namespace rondo::test {

class deaf_port {
public:
    explicit deaf_port(const endpoint& local = endpoint(ip_address::v4_loopback(), 0))
        : holder_(local.address().is_v4() ? ip_version::v4 : ip_version::v6) {
        holder_.bind(local);
    }
    endpoint where() const { return holder_.local_endpoint(); }

private:
    tcp_socket holder_;
};

}  // namespace rondo::test
