// Buffers of a multishot RECVMSG: whatever the header says, name and payload are inside.
#include <fuzz/fuzz.hpp>

#include <rondo/net/datagram.hpp>

#include <vector>

namespace rondo::fuzz {

void feed_raw_datagram(input in) {
    const std::uint32_t room = in.below(2) == 0 ? 28 : in.below(256);
    const auto bytes = in.rest();
    std::vector<std::byte> whole(bytes.begin(), bytes.end());
    whole.shrink_to_fit();
    const auto parts = rondo::raw_datagram::parts_of(whole, room);
    const auto header = input(whole).value<abi::received_message>();
    if (whole.size() < sizeof header + room) {
        check(parts.name.empty() && parts.payload.empty() && parts.true_size == 0,
              "parts of what is too short for a header");
        return;
    }
    check(parts.name.data() == whole.data() + sizeof header, "the name begins elsewhere");
    check(parts.name.size() == std::min(header.name_size, room), "the name has another size");
    check(parts.payload.data() == parts.name.data() + room, "the payload begins elsewhere");
    check(parts.payload.size() == whole.size() - sizeof header - room,
          "the payload ends elsewhere");
    check(parts.true_size == header.payload_size, "the true size is not what was told");
    const auto from = rondo::detail::datagram_address<rondo::endpoint>::from_wire(parts.name);
    check(rondo::endpoint::parse(from.to_string()) == from, "a sender that cannot be written");
}

}  // namespace rondo::fuzz
