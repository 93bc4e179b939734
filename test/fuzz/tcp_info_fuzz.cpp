// TCP_INFO of kernels of any age: what one has not written is 0, and the rest is where it was.
#include <fuzz/fuzz.hpp>

#include <rondo/net/tcp_info.hpp>

#include <linux/tcp.h>

#include <chrono>

namespace rondo::fuzz {

void feed_tcp_info(input in) {
    const exact_copy bytes(in.rest());
    const auto got = rondo::detail::tcp_info_from_wire(bytes.bytes());
    const auto wire = input(bytes.bytes()).value<::tcp_info>();
    check(got.state == rondo::detail::tcp_state_of(wire.tcpi_state), "the state is read wrongly");
    check(!to_string(got.state).empty(), "a state without a name");
    check(got.rtt == std::chrono::microseconds(wire.tcpi_rtt), "the round trip is read wrongly");
    const bool known = wire.tcpi_min_rtt != ~0u;
    check(got.min_rtt == std::chrono::microseconds(known ? wire.tcpi_min_rtt : 0),
          "the shortest round trip is read wrongly");
    check(!got.slow_start_threshold || *got.slow_start_threshold < 0x7fffffffu,
          "a threshold without a loss");
    check(got.unsent == wire.tcpi_notsent_bytes && got.bytes_sent == wire.tcpi_bytes_sent &&
              got.bytes_received == wire.tcpi_bytes_received,
          "bytes are read wrongly");
    check(got.queued == 0 && got.unread == 0, "queues that were not asked for");
}

}  // namespace rondo::fuzz
