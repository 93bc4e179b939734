// The entry of libFuzzer, which brings main(): RONDO_FUZZER names the fuzzer to be run. An
// environment variable, because libFuzzer starts itself again with arguments of its own.
#include <fuzz/fuzz.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

const rondo::fuzz::fuzzer* chosen() {
    const char* const value = std::getenv("RONDO_FUZZER");
    const std::string_view name = value != nullptr ? value : "";
    for (const rondo::fuzz::fuzzer& each : rondo::fuzz::fuzzers) {
        if (each.name == name) return &each;
    }
    return nullptr;
}

const rondo::fuzz::fuzzer* fuzzer = nullptr;

}  // namespace

// Before libFuzzer runs anything: an end within an input would count as a crash of that input.
extern "C" int LLVMFuzzerInitialize(int* /*count*/, char*** /*arguments*/) {
    fuzzer = chosen();
    if (fuzzer != nullptr) return 0;
    std::fprintf(stderr, "RONDO_FUZZER is to be one of:");
    for (const rondo::fuzz::fuzzer& each : rondo::fuzz::fuzzers) {
        std::fprintf(stderr, " %.*s", static_cast<int>(each.name.size()), each.name.data());
    }
    std::fprintf(stderr, "\n");
    std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzzer->run(rondo::fuzz::input({reinterpret_cast<const std::byte*>(data), size}));
    return 0;
}
