#include <rondo/detail/misuse.hpp>

#include <cstdio>
#include <cstdlib>

namespace rondo::inline v0::detail {

void misuse(const char* sentence) noexcept {
    std::fprintf(stderr, "rondo: misuse: %s\n", sentence);
    std::abort();
}

}  // namespace rondo::inline v0::detail
