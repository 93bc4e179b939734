#include <fuzz/fuzz.hpp>

#include <cstdio>
#include <cstdlib>

namespace rondo::fuzz {

void fail(std::string_view sentence) {
    std::fprintf(stderr, "fuzz: %.*s\n", static_cast<int>(sentence.size()), sentence.data());
    std::abort();
}

}  // namespace rondo::fuzz
