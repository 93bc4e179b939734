// Control messages: of well-formed ones every descriptor in order, of others none from beyond.
#include <fuzz/fuzz.hpp>

#include <rondo/detail/control_message.hpp>

#include <sys/socket.h>

#include <vector>

namespace rondo::fuzz {

namespace {

std::vector<int> read(std::span<const std::byte> control) {
    std::vector<int> found;
    rondo::detail::each_descriptor(control, [&found](int each) { found.push_back(each); });
    return found;
}

// As cmsg(3) has it: what a kernel writes.
void check_well_formed(input in) {
    std::vector<std::byte> control;
    std::vector<int> expected;
    while (!in.empty()) {
        const bool is_other = in.below(4) == 0;
        std::vector<int> carried(in.below(6));
        for (int& each : carried) each = in.byte();
        cmsghdr header{};
        header.cmsg_level = SOL_SOCKET;
        header.cmsg_type = is_other ? SCM_CREDENTIALS : SCM_RIGHTS;
        const std::size_t size = carried.size() * sizeof(int);
        header.cmsg_len = CMSG_LEN(size);
        const std::size_t begin = control.size();
        control.resize(begin + CMSG_SPACE(size));
        std::memcpy(control.data() + begin, &header, sizeof header);
        if (size != 0) std::memcpy(control.data() + begin + CMSG_LEN(0), carried.data(), size);
        if (!is_other) expected.insert(expected.end(), carried.begin(), carried.end());
    }
    const exact_copy whole(control);
    check(read(whole.bytes()) == expected, "not the descriptors that were sent");
    // Cut anywhere, it is the beginning of them.
    for (std::size_t size = 0; size < control.size(); size += 1 + control.size() / 64) {
        const exact_copy cut(std::span<const std::byte>(control).first(size));
        const std::vector<int> found = read(cut.bytes());
        check(found.size() <= expected.size() &&
                  std::equal(found.begin(), found.end(), expected.begin()),
              "descriptors that were not sent");
    }
}

}  // namespace

void feed_descriptors(input in) {
    if (in.below(2) == 0) return check_well_formed(in);
    const exact_copy control(in.rest());
    check(read(control.bytes()).size() <= control.bytes().size() / sizeof(int),
          "more descriptors than there is room for");
    check(!rondo::detail::find_credentials(control.bytes()) ||
              control.bytes().size() >= sizeof(cmsghdr) + sizeof(ucred),
          "credentials that were not there");
}

}  // namespace rondo::fuzz
