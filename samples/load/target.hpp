// Whom to load, and how to connect there.
#pragma once

#include <rondo/net/endpoint.hpp>
#include <rondo/net/stream_socket.hpp>
#include <rondo/net/udp.hpp>
#include <rondo/net/unix_address.hpp>
#include <rondo/task/task.hpp>

#include <optional>
#include <string>
#include <vector>

namespace load {

class target {
public:
    // Takes the name apart, asks for its addresses, and keeps the one where somebody listens.
    // Throws where there is none.
    static rondo::task<target> find(std::string name, bool udp);

    // `number` chooses the source address where the ports of one would not do.
    rondo::task<rondo::stream_socket> connect(std::size_t number) const;
    rondo::udp_socket connect_udp(std::size_t number) const;

    // On a loopback address there are more source addresses than one.
    bool is_loopback() const noexcept;

private:
    std::optional<rondo::endpoint> source(std::size_t number) const;

    rondo::endpoint internet_;
    std::optional<rondo::unix_address> local_;
};

// How many connections one source address is good for: an ordinary range of ports has 28,000.
inline constexpr std::size_t connections_per_source = 20'000;

}  // namespace load
