// The entry of libFuzzer, which brings main(): RONDO_FUZZER names the fuzzer to be run. An
// environment variable, because libFuzzer starts itself again with arguments of its own.
#include <fuzz/fuzz.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

const rondo::fuzz::fuzzer& chosen() {
    const char* const value = std::getenv("RONDO_FUZZER");
    const std::string_view name = value != nullptr ? value : "";
    for (const rondo::fuzz::fuzzer& each : rondo::fuzz::fuzzers) {
        if (each.name == name) return each;
    }
    std::fprintf(stderr, "RONDO_FUZZER is to be one of:");
    for (const rondo::fuzz::fuzzer& each : rondo::fuzz::fuzzers) {
        std::fprintf(stderr, " %.*s", static_cast<int>(each.name.size()), each.name.data());
    }
    std::fprintf(stderr, "\n");
    std::exit(2);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const rondo::fuzz::fuzzer& fuzzer = chosen();
    fuzzer.run(rondo::fuzz::input({reinterpret_cast<const std::byte*>(data), size}));
    return 0;
}
